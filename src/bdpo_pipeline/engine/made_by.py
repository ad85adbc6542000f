"""The code and the packages by which a job is computed: with others, a job that goes on would end with what neither of them makes."""

import hashlib
from importlib.metadata import version
from pathlib import Path

_PACKAGES = ("torch", "transformers", "peft", "accelerate")
_CODE = ("engine", "models", "objectives")


def made_by() -> dict[str, str]:
    """Return the hash of the engine's own source, and the versions of the packages that it computes with."""
    return {"code": _code(Path(__file__).parents[1]), **{name: version(name) for name in _PACKAGES}}


def _code(root: Path) -> str:
    digest = hashlib.sha256()
    for path in sorted(path for name in _CODE for path in (root / name).rglob("*.py")):
        digest.update(f"{path.relative_to(root).as_posix()}\0".encode() + path.read_bytes() + b"\0")
    return digest.hexdigest()[:16]
