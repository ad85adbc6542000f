"""Answers and scores that are cut off by SIGKILL, and go on: nothing is computed twice, and the outcome is that of one go."""

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from transformers import AutoConfig, AutoModelForSequenceClassification

from bdpo_pipeline import alignment
from bdpo_pipeline.engine import launcher
from bdpo_pipeline.engine.jobs import Compute, DivergeJob, GenerateJob, Job, RateJob, ScoreJob
from bdpo_pipeline.engine.kept import items_of
from bdpo_pipeline.engine.launcher import WorkerError, run_job
from bdpo_pipeline.models.tiny import build_tiny_model

from .conftest import make_pairs, wait_for
from .test_generation import save_adapter

PROMPTS = 100
# In so small batches that 40 of them are in the middle of a pass.
RESPONSES = 400
COMPUTE = Compute(threads=1, tokens_per_batch=50)
SETTINGS = {"max_new_tokens": 16, "batch_size": 4}
CALLER = """
import json, sys
from pathlib import Path
import pandas as pd
from bdpo_pipeline import alignment
from bdpo_pipeline.engine.jobs import Compute
base, adapter, prompts, scratch, settings = sys.argv[1:]
alignment.generate_responses(
    json.loads(base), Path(adapter), pd.read_json(prompts), compute=Compute(threads=1, processes=2),
    scratch=Path(scratch), **json.loads(settings)
)
"""


@pytest.fixture(scope="module")
def base(tiny_model):
    return tiny_model("llama")


@pytest.fixture(scope="module")
def adapter(base, tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("trained")
    save_adapter(base["path"], folder)
    return folder


@pytest.fixture(scope="module")
def prompts() -> pd.DataFrame:
    rows = [
        {
            "prompt_id": f"s/{i:04}",
            "prompt_set": "s",
            "prompt": f"{i} " * (1 + i % 7),
            "goal": None,
            "category": "c",
            "desired": "comply",
        }
        for i in range(PROMPTS)
    ]
    return pd.DataFrame(rows)


def generate(base, adapter, prompts, scratch, processes=1, **changes) -> pd.DataFrame:
    compute = Compute(threads=1, processes=processes)
    return alignment.generate_responses(
        base, adapter, prompts, compute=compute, scratch=scratch, **SETTINGS | changes
    )


@pytest.fixture(scope="module")
def whole(base, adapter, prompts, tmp_path_factory) -> pd.DataFrame:
    """The answers of each model alone, which nobody cut off."""
    scratch = tmp_path_factory.mktemp("whole")
    tables = [
        generate(base, None, prompts, scratch, models=["base"]),
        generate(base, adapter, prompts, scratch, models=["adapter"]),
    ]
    order = {"by": ["prompt_id", "model"], "ascending": [True, False]}
    return pd.concat(tables).sort_values(**order, ignore_index=True)


def reported(scratch: Path) -> list[dict]:
    """The results that the newest run of the job in a folder has reported."""
    lines = [
        line
        for path in scratch.glob("*/events-*.jsonl")
        for line in path.read_text().splitlines(keepends=True)
    ]
    found = [json.loads(line) for line in lines if line.endswith("}\n")]
    return [event["content"] for event in found if "content" in event]


def test_a_generation_that_was_killed_goes_on_and_answers_each_prompt_once(
    base, adapter, prompts, whole, tmp_path, worker_pids, hold_workers
):
    prompts.to_json(tmp_path / "prompts.json")
    scratch = tmp_path / "scratch"
    given = [json.dumps(base), adapter, tmp_path / "prompts.json", scratch, json.dumps(SETTINGS)]
    # In the middle of the second model's answers.
    with hold_workers(4, event="generations", model="adapter"):
        caller = subprocess.Popen([sys.executable, "-c", CALLER, *map(str, given)], start_new_session=True)
    wait_for(lambda: len(items_of(reported(scratch))) > PROMPTS + 6)
    os.killpg(caller.pid, signal.SIGKILL)
    caller.wait()
    wait_for(lambda: not worker_pids(scratch), 20)
    known = items_of(reported(scratch))
    pd.testing.assert_frame_equal(generate(base, adapter, prompts, scratch, processes=2), whole)
    after = reported(scratch)
    every = {(model, i) for model in ("base", "adapter") for i in range(PROMPTS)}
    assert 0 < len(known) < len(every)
    assert sum(len(event["prompts"]) for event in after) == len(every) - len(known)
    assert items_of(after) == every - known
    # And what is finished is taken as it is.
    [result] = scratch.glob("generate-*/result.json")
    written = result.stat().st_mtime_ns
    pd.testing.assert_frame_equal(generate(base, adapter, prompts, scratch, processes=2), whole)
    assert reported(scratch) == []
    assert result.stat().st_mtime_ns == written


def test_who_does_not_answer_has_no_part_in_what_job_it_is(base, adapter, prompts, tmp_path, monkeypatch):
    jobs: list[GenerateJob] = []
    monkeypatch.setattr(alignment, "run_job", lambda job, *_, **__: jobs.append(job))
    for models in (["base"], ["adapter"]):
        generate(base, adapter, prompts[:0], tmp_path, models=models)
    assert [job.adapter for job in jobs] == [None, str(adapter)]


@pytest.mark.parametrize(("models", "message"), [([], "accepted: base"), (["base", "base"], "at most once")])
def test_models_to_answer_are_checked(models, message, base, prompts, tmp_path):
    with pytest.raises(ValueError, match=message):
        generate(base, None, prompts, tmp_path, models=models)
    with pytest.raises(ValueError, match="the adapter is to answer, and none is given"):
        generate(base, None, prompts, tmp_path)


def test_another_adapter_at_the_same_place_is_another_job(base, adapter, prompts, tmp_path):
    job = GenerateJob(base["path"], Compute(threads=1), str(adapter), ["adapter"], 4, 4)
    before = launcher.Order.of(job, b"").folder_name
    assert launcher.Order.of(job, b"").folder_name == before
    os.utime(adapter / "adapter_model.safetensors")
    assert launcher.Order.of(job, b"").folder_name != before


def score_job(base, trained) -> tuple[Job, str, str]:
    return ScoreJob(base["path"], COMPUTE), "scores", "responses"


def divergence_job(base, trained) -> tuple[Job, str, str]:
    return DivergeJob(base["path"], COMPUTE, str(trained)), "divergences", "responses"


def whole_model_divergence_job(base, trained) -> tuple[Job, str, str]:
    folder = trained.parent / "whole model"
    if not folder.exists():
        folder.mkdir()
        build_tiny_model("llama", folder, seed=3)
    return DivergeJob(base["path"], COMPUTE, str(folder)), "divergences", "responses"


def rating_job(base, trained) -> tuple[Job, str, str]:
    folder = trained.parent / "rater"
    if not folder.exists():
        build_tiny_model("llama", folder)
        rater = AutoModelForSequenceClassification.from_config(
            AutoConfig.from_pretrained(folder, num_labels=1)
        )
        rater.save_pretrained(folder)
    return RateJob(str(folder), COMPUTE), "ratings", "texts"


@pytest.mark.parametrize("make_job", [score_job, divergence_job, whole_model_divergence_job, rating_job])
def test_a_pass_that_was_killed_goes_on_to_the_same_bytes(
    make_job, base, adapter, tmp_path, worker_pids, hold_workers
):
    pairs = make_pairs(RESPONSES // 2)
    job, kind, items = make_job(base, adapter)
    contexts = np.arange(RESPONSES // 2).repeat(2)
    tokens = {
        "score": {
            "ragged": {name: pairs.ragged[name] for name in ("contexts", "responses")},
            "flat": {"response_context": contexts},
        },
        "diverge": {
            "ragged": {
                "contexts": [pairs.ragged["contexts"][i] for i in contexts],
                "responses": pairs.ragged["responses"],
            }
        },
        "rate": {"ragged": {"texts": pairs.ragged["responses"]}},
    }[job.task]

    def run(scratch: Path, stop_after: int | None = None) -> dict[int, list[float]]:
        found: dict[int, list[float]] = {}

        def keep(event):
            if event["event"] == kind:
                values = [event[name] for name in sorted(event) if name not in ("event", items)]
                found.update(zip(event[items], zip(*values, strict=True), strict=True))
                if stop_after is not None and len(found) >= stop_after:
                    for pid in worker_pids(scratch):
                        os.kill(pid, signal.SIGKILL)

        run_job(job, scratch, **tokens, on_event=keep)
        return found

    expected = run(tmp_path / "whole")
    assert expected.keys() == set(range(RESPONSES))
    with hold_workers(40, event=kind), pytest.raises(WorkerError, match="signal 9"):
        run(tmp_path / "killed", stop_after=30)
    known = items_of(reported(tmp_path / "killed"))
    assert run(tmp_path / "killed") == expected
    again = items_of(reported(tmp_path / "killed"))
    assert 30 <= len(known) < RESPONSES
    assert again == {(None, i) for i in range(RESPONSES)} - known
