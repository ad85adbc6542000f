"""Named arrays with the facts that they need, as a versioned folder of safetensors and JSON: what is fitted and is no model of torch."""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Any

from kedro.io import AbstractVersionedDataset, Version

from bdpo_pipeline.io.staging import staged

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

_WEIGHTS, _FACTS = "weights.safetensors", "facts.json"


class DamagedTensorsError(ValueError):
    """A folder of tensors is not what was written; the message names the file and the fix."""


@dataclass(frozen=True, eq=False)
class StoredTensors:
    """Arrays by name, and what they mean as JSON-ready data."""

    arrays: "Mapping[str, NDArray[np.generic]]"
    facts: Mapping[str, Any]

    def __deepcopy__(self, memo: dict[int, Any]) -> "StoredTensors":
        """Return itself: nobody writes into it."""
        return self


class TensorsDataset(AbstractVersionedDataset[StoredTensors, StoredTensors]):
    """Keeps `StoredTensors` by version, each in ``weights.safetensors`` and ``facts.json`` of a folder. Nothing is pickled.

    ``facts.json`` carries the SHA-256 of the weights and of itself, and loading compares them: bytes that were altered are refused.
    """

    def __init__(
        self, *, filepath: str, version: Version | None = None, metadata: dict[str, Any] | None = None
    ) -> None:
        """Set where the versions live; ``metadata`` is for plugins such as Kedro-Viz."""
        super().__init__(PurePosixPath(filepath), version)
        self.metadata = metadata

    def save(self, data: StoredTensors) -> None:
        """Write arrays and facts into the version, whole or not at all.

        Raises:
            NoSpaceError: (as the cause of Kedro's DatasetError) the file system is full.
        """
        from safetensors.numpy import save

        weights = save({name: data.arrays[name] for name in sorted(data.arrays)})
        target = Path(self._get_save_path())
        with staged(target, versioned=self._version is not None, needed=len(weights)) as partial:
            partial.mkdir()
            (partial / _WEIGHTS).write_bytes(weights)
            (partial / _FACTS).write_text(
                _sealed(data.facts, hashlib.sha256(weights).hexdigest()), encoding="utf-8"
            )

    def load(self) -> StoredTensors:
        """Return what was saved.

        Raises:
            DamagedTensorsError: (as the cause of Kedro's DatasetError) a file is missing or was altered.
        """
        return load_tensors(Path(self._get_load_path()))

    def _exists(self) -> bool:
        return (Path(self._get_load_path()) / _FACTS).is_file()

    def _describe(self) -> dict[str, Any]:
        return {"filepath": self._filepath, "version": self._version}


def load_tensors(folder: Path) -> StoredTensors:
    """Return the arrays and facts of a folder that :class:`TensorsDataset` wrote.

    Raises:
        DamagedTensorsError: a file is missing or was altered.
    """
    from safetensors.numpy import load

    try:
        text, weights = (folder / _FACTS).read_bytes().decode(), (folder / _WEIGHTS).read_bytes()
        found = json.loads(text)
        facts, noted = found["facts"], found["weights_sha256"]
    except FileNotFoundError as error:
        raise DamagedTensorsError(f"{error.filename} is missing; {_FIX}") from error
    except (ValueError, TypeError, KeyError) as error:
        raise DamagedTensorsError(f"{folder / _FACTS} is torn or was altered ({error}); {_FIX}") from error
    if text != _sealed(facts, noted):
        raise DamagedTensorsError(
            f"{folder / _FACTS} was altered: its content does not have the SHA-256 in it; {_FIX}"
        )
    if hashlib.sha256(weights).hexdigest() != noted:
        raise DamagedTensorsError(f"{folder / _WEIGHTS} was altered: {_FACTS} names another SHA-256; {_FIX}")
    return StoredTensors(load(weights), facts)


_FIX = "run the node that makes it again"


def _sealed(facts: Mapping[str, Any], weights_sha256: str) -> str:
    content = {"facts": facts, "weights_sha256": weights_sha256}
    body = json.dumps(content, sort_keys=True, ensure_ascii=False)
    return json.dumps(
        {**content, "sha256": hashlib.sha256(body.encode()).hexdigest()}, sort_keys=True, ensure_ascii=False
    )
