"""What a checkpoint's folder holds, and whether it is what was written; light, as it is asked without training, too.

``checkpoint-<step>/`` holds ``state.safetensors`` (weights, moments of the optimiser, best weights) and ``state.json`` (the rest, with
the SHA-256 of the tensors, under a SHA-256 of its own).
"""

from pathlib import Path
from typing import Any

from bdpo_pipeline.durable import write_whole
from bdpo_pipeline.engine.sealed import DamagedError, seal, unseal
from bdpo_pipeline.models.fingerprints import hash_file

PREFIX = "checkpoint-"
TENSORS = "state.safetensors"
PLAIN = "state.json"


def list_checkpoints(folder: Path) -> list[Path]:
    """Return the checkpoints of a job, oldest first."""
    return sorted(folder.glob(f"{PREFIX}*"))


def checkpoint_path(folder: Path, step: int) -> Path:
    """Return where a job's checkpoint of a step lies."""
    return folder / f"{PREFIX}{step:08d}"


def complete_checkpoint(written: Path, content: dict[str, Any]) -> None:
    """Write what goes with the tensors, which lie there already, and their hash."""
    tensors = written / TENSORS
    hashed = {"bytes": tensors.stat().st_size, "sha256": hash_file(tensors)}
    write_whole(written / PLAIN, seal({**content, "tensors": hashed}))


def read_checkpoint(folder: Path) -> dict[str, Any]:
    """Return what goes with the tensors of a checkpoint, after every byte of both was checked.

    Raises:
        DamagedError: a byte is not what was written, or the checkpoint is not of this job and step.
    """
    content = unseal(folder / PLAIN)
    step, path = int(content["state"]["step"]), folder / TENSORS
    if content["job"] != folder.parent.name or folder != checkpoint_path(folder.parent, step):
        raise DamagedError(f"it is step {step} of {content['job']}")
    if not path.exists():
        raise DamagedError(f"{TENSORS} is missing")
    written = content["tensors"]
    if path.stat().st_size != written["bytes"]:
        raise DamagedError(f"{TENSORS} has {path.stat().st_size} bytes instead of {written['bytes']}")
    if hash_file(path) != written["sha256"]:
        raise DamagedError(f"{TENSORS} was altered: it does not have the SHA-256 that {PLAIN} names")
    return content
