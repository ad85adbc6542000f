"""The raw layer as one catalog entry, so that every run and the graph name where the data came from."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from kedro.io import AbstractDataset, DatasetError

from bdpo_pipeline.files_read import note_file


@dataclass(frozen=True)
class RawFolder:
    """A folder of raw files; relative paths of sources start here."""

    root: Path

    def find(self, path: str, owner: str) -> Path:
        """Return the file that a source names.

        Args:
            path: absolute, or relative to the folder.
            owner: what names the file, for the message.

        Raises:
            ValueError: there is no such file.
        """
        found = self.root / Path(path).expanduser()
        if not found.is_file():
            raise ValueError(
                f"{owner}: no file {path!r} in {self.root}; give a path below raw_root (conf/base/globals.yml) or an absolute one"
            )
        note_file(f"raw data {path}", found)
        return found


class RawFolderDataset(AbstractDataset[None, RawFolder]):
    """Gives the folder of raw data; it is never written."""

    def __init__(self, *, filepath: str, metadata: dict[str, Any] | None = None):
        """Bind the data set to a folder; ``metadata`` is for plugins such as Kedro-Viz."""
        self._filepath = Path(filepath)
        self.metadata = metadata

    def load(self) -> RawFolder:
        """Return the folder.

        Raises:
            DatasetError: it does not exist.
        """
        if not self._filepath.is_dir():
            raise DatasetError(f"no folder {self._filepath}: set raw_root in globals.yml")
        return RawFolder(self._filepath)

    def save(self, data: None) -> None:  # noqa: ARG002
        """Refuse: raw data is not written by runs."""
        raise DatasetError("raw data is never written by a run")

    def _exists(self) -> bool:
        return self._filepath.is_dir()

    def _describe(self) -> dict[str, Any]:
        return {"filepath": self._filepath}
