"""What the store holds, each row with a checksum over all of it."""

import hashlib
import struct
from dataclasses import dataclass
from typing import Any, NamedTuple

# Of rows that were written before rows knew their model.
UNKNOWN_MODEL = 0
# By name: a damaged file may say that a table has other columns.
SELECT = {
    "logps": "SELECT key, logp, model, computed_at, used_at, checksum FROM logps",
    "models": "SELECT number, weights_sha256, precision, checksum FROM models",
    "lookups": "SELECT at, model, requested, found, computed, checksum FROM lookups",
}
INSERT = {
    "logps": "INSERT OR REPLACE INTO logps VALUES (?, ?, ?, ?, ?, ?)",
    "models": "INSERT OR REPLACE INTO models VALUES (?, ?, ?, ?)",
    "lookups": "INSERT INTO lookups VALUES (?, ?, ?, ?, ?, ?)",
}
_ROW = struct.Struct("<16sdqqq")
_LOOKUP = struct.Struct("<qqqqq")
_KEY_BYTES = 16


@dataclass(frozen=True)
class Model:
    """What log-probs belong to: weights, and the precision that they are held in."""

    weights_sha256: str
    precision: str


class Row(NamedTuple):
    """A log-prob (nats), the number of its model in the store, and times in seconds since 1970."""

    key: bytes
    logp: float
    model: int
    computed_at: int
    used_at: int

    def with_checksum(self) -> tuple[Any, ...]:
        """Return the values as they are stored."""
        return (*self, _digest(_ROW.pack(*self)))


class Lookup(NamedTuple):
    """What one pass asked the store for: how many different log-probs, how many were there, how many it computed itself."""

    at: int
    model: int
    requested: int
    found: int
    computed: int

    def with_checksum(self) -> tuple[Any, ...]:
        """Return the values as they are stored."""
        return (*self, _digest(_LOOKUP.pack(*self)))


def numbered(number: int, model: Model) -> tuple[Any, ...]:
    """Return a model's values as they are stored, with its number and a checksum."""
    content = f"{number}/{model.weights_sha256}/{model.precision}"
    return number, model.weights_sha256, model.precision, _digest(content.encode())


def whole_row(stored: tuple[Any, ...]) -> Row | None:
    """Return the row of these values; None if they are not what was written: a damaged file gives anything, of any type."""
    *values, checksum = stored
    try:
        intact = _digest(_ROW.pack(*values)) == checksum and len(values[0]) == _KEY_BYTES
    except struct.error:
        return None
    return Row._make(values) if intact else None


def whole_lookup(stored: tuple[Any, ...]) -> Lookup | None:
    """Return the lookup of these values; None if they are not what was written."""
    *values, checksum = stored
    try:
        intact = _digest(_LOOKUP.pack(*values)) == checksum
    except struct.error:
        return None
    return Lookup._make(values) if intact else None


def whole_model(stored: tuple[Any, ...]) -> tuple[int, Model] | None:
    """Return the number and the model of these values; None if they are not what was written."""
    number, weights_sha256, precision, _ = stored
    model = Model(weights_sha256, precision)
    return (number, model) if numbered(number, model) == stored else None


def _digest(content: bytes) -> int:
    return int.from_bytes(hashlib.blake2b(content, digest_size=8).digest(), "little", signed=True)
