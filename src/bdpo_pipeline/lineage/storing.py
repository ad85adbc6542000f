"""The same bytes kept once."""

import filecmp
import os
from collections.abc import Mapping
from pathlib import Path
from uuid import uuid4


def link_alike(
    artifact: Path, before: Path, files: Mapping[str, str], files_before: Mapping[str, str]
) -> None:
    """Let the files of an artifact that an earlier version has with the same bytes be those of that version.

    Args:
        artifact: a file, or a folder of files.
        before: the earlier version.
        files: SHA-256 of the artifact's files, by path within it.
        files_before: those of the earlier version.
    """
    for name in (name for name, sha256 in files.items() if files_before.get(name) == sha256):
        new, old = (place / name if place.is_dir() else place for place in (artifact, before))
        # The hashes are what was recorded; what is linked must be the same now.
        if old.is_file() and not old.samefile(new) and filecmp.cmp(new, old, shallow=False):
            _replace_by_link(new, old)


def _replace_by_link(new: Path, old: Path) -> None:
    partial = new.with_name(f".{new.name}.{uuid4().hex}.partial")
    try:
        os.link(old, partial)
    except OSError:  # some file systems have no hard links
        return
    partial.replace(new)
