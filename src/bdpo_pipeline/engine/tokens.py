"""Token ids on disk: lists of lists as flat safetensors, read and written with numpy alone."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from safetensors.numpy import load_file, save

Ids = list[list[int]]


def pack_tokens(ragged: Mapping[str, Sequence[Sequence[int]]], flat: Mapping[str, NDArray[Any]]) -> bytes:
    """Return the content of a file with lists of id lists (``ragged``) and plain one-dimensional arrays (``flat``)."""
    tensors: dict[str, NDArray[Any]] = {f"flat/{name}": np.ascontiguousarray(a) for name, a in flat.items()}
    for name, lists in ragged.items():
        lengths = np.fromiter((len(ids) for ids in lists), np.int64, len(lists))
        values = np.fromiter((token for ids in lists for token in ids), np.int32, int(lengths.sum()))
        tensors |= {f"values/{name}": values, f"lengths/{name}": lengths}
    return save(tensors)


def load_tokens(path: Path) -> tuple[dict[str, Ids], dict[str, NDArray[Any]]]:
    """Read what :func:`pack_tokens` made: the lists of id lists, and the flat arrays."""
    tensors = load_file(path)
    names = [name.removeprefix("values/") for name in tensors if name.startswith("values/")]
    ragged = {name: _split(tensors[f"values/{name}"], tensors[f"lengths/{name}"]) for name in names}
    flat = {name.removeprefix("flat/"): array for name, array in tensors.items() if name.startswith("flat/")}
    return ragged, flat


def _split(values: NDArray[Any], lengths: NDArray[Any]) -> Ids:
    return [part.tolist() for part in np.split(values, np.cumsum(lengths)[:-1])] if len(lengths) else []
