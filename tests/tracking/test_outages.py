"""What answers of a server mean, asked through MLflow's own client."""

import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from bdpo_pipeline.tracking.outages import StoreOutageError, check_reachable, is_outage
from bdpo_pipeline.tracking.run_store import RunStore
from bdpo_pipeline.tracking.settings import TrackingSettings

INVALID = b'{"error_code": "INVALID_PARAMETER_VALUE", "message": "no"}'
GONE = b'{"error_code": "RESOURCE_DOES_NOT_EXIST", "message": "no run"}'
BUSY = b'{"error_code": "TEMPORARILY_UNAVAILABLE", "message": "locked"}'


class Answers(BaseHTTPRequestHandler):
    status, body, cut = 200, b"{}", 0

    def _answer(self) -> None:
        self.rfile.read(int(self.headers.get("Content-Length", 0)))
        cls = type(self)
        self.send_response(cls.status)
        self.send_header("Content-Length", str(len(cls.body) + cls.cut))
        self.end_headers()
        self.wfile.write(cls.body)
        self.close_connection = True

    do_GET = do_POST = do_PUT = do_PATCH = _answer  # noqa: N815

    def log_message(self, format: str, *args: object) -> None:
        pass


def settings(uri: str) -> TrackingSettings:
    return TrackingSettings(
        tracking_uri=uri, artifact_location="f", spool="s", experiment="e", registered_model="m"
    )


@pytest.fixture(scope="module")
def store() -> Iterator[RunStore]:
    server = ThreadingHTTPServer(("127.0.0.1", 0), Answers)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    store = RunStore(settings(f"http://127.0.0.1:{server.server_port}"))
    vars(store)["experiment_id"] = "1"
    yield store
    server.shutdown()
    server.server_close()


def error_of(store: RunStore, status: int, body: bytes, cut: int = 0) -> Exception:
    Answers.status, Answers.body, Answers.cut = status, body, cut
    with pytest.raises(Exception) as caught:  # noqa: PT011 - of any kind: that is the question
        store.set_tags("1" * 32, {"a": "b"})
    return caught.value


@pytest.mark.parametrize(
    ("status", "body", "cut"),
    [
        (500, b"<html>", 0),
        (502, b"", 0),
        (503, BUSY, 0),
        (401, b"who are you?", 0),
        (403, b"<html>", 0),
        (404, b"<html>a proxy that lost its server", 0),
        (429, b"", 0),
        (200, b"<html>please log in", 0),
        (200, b'{"half', 100),
        (200, b'{"half', 0),
    ],
)
def test_these_answers_may_be_others_later(store, status: int, body: bytes, cut: int) -> None:
    assert is_outage(error_of(store, status, body, cut))


@pytest.mark.parametrize(("status", "body"), [(400, INVALID), (404, GONE), (413, b"<html>"), (422, b"")])
def test_these_answers_are_for_good(store, status: int, body: bytes) -> None:
    assert not is_outage(error_of(store, status, body))


def test_a_run_without_a_name_is_an_outage(store) -> None:
    Answers.status, Answers.body, Answers.cut = 200, b"", 0
    with pytest.raises(StoreOutageError, match="did not name it"):
        store.create_run({"run": "x", "name": "n", "at": 1}, {}, None)


def test_files_of_ours_that_are_gone_are_not_the_stores_fault() -> None:
    assert not is_outage(FileNotFoundError("adapter"))
    assert not is_outage(KeyError("run"))
    assert is_outage(OSError(28, "No space left on device"))
    assert is_outage(ConnectionResetError())


def test_a_port_that_nobody_serves_is_found_out_at_once(tmp_path: Path) -> None:
    with pytest.raises(StoreOutageError, match="ConnectionRefusedError"):
        check_reachable(settings("http://127.0.0.1:9"))
    with pytest.raises(StoreOutageError, match="ConnectionRefusedError"):
        check_reachable(settings("postgresql+psycopg://me:pw@127.0.0.1:9/db"))
    broken = tmp_path / "mlflow.db"
    broken.write_bytes(b"no database" * 1000)
    with pytest.raises(StoreOutageError, match="not a database"):
        check_reachable(settings(f"sqlite:///{broken}"))
    broken.unlink()
    check_reachable(settings(f"sqlite:///{broken}"))
    assert not broken.exists()
