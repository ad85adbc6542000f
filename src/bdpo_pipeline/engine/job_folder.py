"""The folder of a job below ``compute.scratch``: named by what is asked for, used by one run at a time, kept while it may be needed.

``job.json`` (what is asked for, of which code and packages), ``tokens.safetensors``, ``events-<process>.jsonl``, ``worker.log``, of a
training also ``checkpoint-<step>/`` and, when it is done, ``adapter/``, of a pass that was cut off ``kept.jsonl``; ``result.json`` last
of all.
"""

import hashlib
import json
import logging
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bdpo_pipeline.durable import sync, write_whole
from bdpo_pipeline.engine.jobs import Job, TrainJob, job_from_dict, to_dict
from bdpo_pipeline.engine.kept import gather, has_results, items_of, read_kept
from bdpo_pipeline.engine.made_by import made_by
from bdpo_pipeline.engine.sealed import DamagedError, seal, unseal
from bdpo_pipeline.locks import alone
from bdpo_pipeline.models.fingerprints import hash_file

logger = logging.getLogger(__name__)
# Asks the processes of a training to end after the step in hand.
STOP = "stop"


class AlteredJobError(RuntimeError):
    """What a job's folder holds is not what it was made for."""


@dataclass(frozen=True)
class Order:
    """What is asked for.

    Attributes:
        described: the job, the hash of its tokens, the code and packages that are to do it and, of a pass, the files that it loads,
            JSON-ready.
        tokens: content of its file of tokens.
    """

    described: dict[str, Any]
    tokens: bytes

    @classmethod
    def of(cls, job: Job, tokens: bytes) -> "Order":
        """Return the order of a job that is done by the code of now."""
        described: dict[str, Any] = {
            "job": to_dict(job),
            "made_by": made_by(),
            "tokens_sha256": hashlib.sha256(tokens).hexdigest(),
        }
        if not isinstance(job, TrainJob):
            described["files"] = [
                _as_it_stands(path) for path in (job.model, job.adapter) if path is not None
            ]
        return cls(described, tokens)

    @property
    def text(self) -> str:
        """Content of ``job.json``."""
        return json.dumps(self.described, sort_keys=True, indent=1)

    @property
    def folder_name(self) -> str:
        """The same for the same order, and for no other."""
        return f"{self.described['job']['task']}-{hashlib.sha256(self.text.encode()).hexdigest()[:16]}"


def prepare(folder: Path, order: Order) -> None:
    """Lay down what the processes of a job read; what an earlier run of it left to go on from stays.

    Raises:
        AlteredJobError: the folder holds another job or other tokens than its name says.
        NoSpaceError: there is no room.
    """
    folder.mkdir(exist_ok=True)
    sync(folder.parent)
    known = folder / "job.json"
    if known.exists():
        _check_unaltered(folder, order)
    gather(folder)
    for path in (folder / "worker.log", folder / STOP, folder / "result.json"):
        path.unlink(missing_ok=True)
    for torn in [*folder.glob(".checkpoint-*"), *folder.glob(".adapter")]:
        shutil.rmtree(torn)
    # The job last: where it lies, the tokens are there, too.
    if not known.exists():
        write_whole(folder / "tokens.safetensors", order.tokens)
        write_whole(known, order.text)


def read_job(folder: Path) -> Job:
    """Return the job that a folder was made for."""
    return job_from_dict(read_order(folder)["job"])


def read_order(folder: Path) -> dict[str, Any]:
    """Return what was asked for; see `Order.described`."""
    described: dict[str, Any] = json.loads((folder / "job.json").read_text())
    return described


def write_result(folder: Path, result: dict[str, Any]) -> None:
    """Say that the job is done: its result, with the hashes of the files that go with it."""
    trained = (path for path in sorted((folder / "adapter").rglob("*")) if path.is_file())
    files = {path.relative_to(folder).as_posix(): hash_file(path) for path in trained}
    write_whole(folder / "result.json", seal({"result": result, "files": files}))


def read_result(folder: Path) -> dict[str, Any]:
    """Return the result of a job that is done.

    Raises:
        DamagedError: it is not what was written.
    """
    result: dict[str, Any] = unseal(folder / "result.json")["result"]
    return result


def finished_result(folder: Path) -> dict[str, Any] | None:
    """Return the result of a job that was done before and of which nothing is lost; None if there is none.

    Of a training its adapter must be whole, of a pass all results, which are then kept; see :mod:`bdpo_pipeline.engine.kept`.
    """
    if not (folder / "result.json").exists():
        return None
    gather(folder)
    try:
        for name, sha256 in unseal(folder / "result.json")["files"].items():
            path = folder / name
            if not path.exists() or hash_file(path) != sha256:
                raise DamagedError(f"{name} is missing or was altered")
        result = read_result(folder)
        missing = result.get("results", 0) - len(items_of(read_kept(folder)))
        if missing:
            raise DamagedError(f"{missing} of its results are missing")
    except DamagedError as error:
        logger.warning("What a finished job left in %s cannot be used: %s. It is done again", folder, error)
        return None
    return result


def remove_left_over(scratch: Path) -> None:
    """Remove what killed runs left of passes that have computed nothing to go on from, and locks of folders that are gone."""
    found = {path.with_suffix("") for path in scratch.glob("*.lock") if not path.with_suffix("").exists()}
    found |= {
        path
        for task in ("score", "generate", "diverge", "rate", "attack")
        for path in scratch.glob(f"{task}-*")
        if path.is_dir()
    }
    for folder in sorted(found):
        with alone(folder, wait=False) as mine:
            if mine and folder.exists() and not has_results(folder):
                shutil.rmtree(folder)


def _as_it_stands(path: str) -> list[list[Any]]:
    """Return names, sizes and times of the files in a folder: another model may stand there by the next run."""
    found = [(file, file.stat()) for file in sorted(Path(path).rglob("*")) if file.is_file()]
    return [[str(file), stat.st_size, stat.st_mtime_ns] for file, stat in found]


def _check_unaltered(folder: Path, order: Order) -> None:
    remedy = f"remove {folder} to start anew"
    if (folder / "job.json").read_bytes() != order.text.encode():
        raise AlteredJobError(
            f"{folder / 'job.json'} was altered: it does not describe the job that its folder is named by; {remedy}"
        )
    tokens = folder / "tokens.safetensors"
    if not tokens.exists() or hash_file(tokens) != order.described["tokens_sha256"]:
        raise AlteredJobError(
            f"{tokens} is missing or was altered: it does not hold the job's token ids; {remedy}"
        )
