"""Results on disk, each as soon as it is measured, so that a run that was cut off goes on where it was."""

import datetime
import hashlib
import json
import os
import platform
import re
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]
Result = dict[str, Any]
# What a result depends on; how it is shown is not among it.
_SHOWING = ("page.py", "figure.py", "reference_page.py")
_CODE = ("src/bdpo_pipeline/engine", "src/bdpo_pipeline/models", "src/bdpo_pipeline/objectives")


def measured(
    folder: Path, key: Result, measure: Callable[[], Result], *, scripts: list[Path], again: bool
) -> Result:
    """Return what was measured before under this key with this code, or measure it now and keep it.

    Args:
        folder: of the results.
        key: what is measured and how.
        measure: measures it.
        scripts: folders of the benchmark's own code.
        again: whether to measure anew in any case.

    Returns:
        The key, what was measured, and where and when that was.
    """
    digest = hashlib.sha256(json.dumps([key, _code_digest(scripts)], sort_keys=True).encode()).hexdigest()
    name = re.sub(r"[^\w.]+", "-", "-".join(str(value) for value in list(key.values())[:3]))
    path = folder / f"{name}-{digest[:8]}.json"
    if path.exists() and not again:
        found: Result = json.loads(path.read_text())
        return found
    result = {**key, **measure(), "date": f"{datetime.date.today()}", "commit": _commit(), "cpu": _cpu()}
    folder.mkdir(parents=True, exist_ok=True)
    partial = path.with_suffix(".partial")
    partial.write_text(json.dumps(result, indent=1))
    partial.replace(path)
    return result


def _code_digest(scripts: list[Path]) -> str:
    folders = [*(ROOT / folder for folder in _CODE), *scripts]
    digest = hashlib.sha256()
    for path in sorted({path for folder in folders for path in folder.glob("*.py")}):
        if path.name not in _SHOWING:
            digest.update(path.read_bytes())
    return digest.hexdigest()


def _commit() -> str:
    """Return the commit that is checked out, and whether code differs from it; empty outside a repository."""
    command = ["git", "-C", str(ROOT), "describe", "--always", "--abbrev=10", "--exclude=*"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        return ""
    status = ["git", "-C", str(ROOT), "status", "--porcelain", "--", "src", "benchmarks"]
    changed = subprocess.run(status, capture_output=True, text=True, check=True).stdout
    return done.stdout.strip() + (" with changes" if changed else "")


def _cpu() -> str:
    path = Path("/proc/cpuinfo")
    names = re.findall(r"model name\s*: (.+)", path.read_text()) if path.exists() else []
    return f"{names[0] if names else platform.processor()}, {os.cpu_count()} cores"
