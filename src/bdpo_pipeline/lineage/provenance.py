"""When, from which code and on what a page was made."""

from datetime import UTC, datetime
from importlib import metadata
from pathlib import Path

from bdpo_pipeline.lineage.environment import KEY_PACKAGES, git_state, machine


def provenance() -> dict[str, str]:
    """Return labels and texts: date, git commit, packages, machine."""
    state = git_state(Path(__file__).parent)
    if state is None:
        commit = "not a git checkout"
    else:
        commit = f"{state.commit} ({state.branch}{', with uncommitted changes' if state.dirty else ''})"
    return {
        "made": datetime.now(UTC).strftime("%Y-%m-%d %H:%M UTC"),
        "git commit": commit,
        **{package: metadata.version(package) for package in KEY_PACKAGES},
        **machine(),
    }
