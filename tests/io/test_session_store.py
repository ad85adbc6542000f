"""Identifiers of sessions, by real sessions and by processes that ask at once."""

import re
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path

from kedro.framework.session import KedroSession, session
from kedro.framework.startup import bootstrap_project
from kedro.io.core import generate_timestamp

from bdpo_pipeline.io.session_store import unique_timestamp

ROOT = Path(__file__).resolve().parents[2]


def take(number: int) -> list[str]:
    return [unique_timestamp() for _ in range(number)]


def test_no_two_processes_get_the_same(tmp_path):
    with ProcessPoolExecutor(4, mp_context=get_context("fork")) as pool:
        taken = [name for names in pool.map(take, [50] * 8) for name in names]
    assert len(taken) == len(set(taken)) == 400
    assert all(re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d\.\d\d\.\d\d\.\d{3}Z", name) for name in taken)


def test_sessions_of_one_moment_have_identifiers_apart(monkeypatch):
    bootstrap_project(ROOT)
    moment = generate_timestamp()
    monkeypatch.setattr(session, "generate_timestamp", lambda: moment)
    with KedroSession.create(ROOT, env="test") as first, KedroSession.create(ROOT, env="test") as second:
        assert moment < first.store["session_id"] < second.store["session_id"]
