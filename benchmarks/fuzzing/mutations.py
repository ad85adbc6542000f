"""Mutations of the bytes of a file. Each takes a generator of random numbers, the file, and another file to borrow from."""

# ruff: noqa: ARG001 (all mutations are called alike)

import gzip
import re
from collections.abc import Callable
from random import Random

Mutation = Callable[[Random, bytes, bytes], bytes]
LONG_BYTES = 3_000_000
DEPTH = 100_000

# What stands where a JSON value, a CSV cell or a YAML scalar did.
HOSTILE_VALUES = (
    b"NaN", b"-Infinity", b"1e999999", b"-0.0", b"9" * 5_000, b"18446744073709551616", b"1e-400", b"null", b"true", b"[]",
    b"{}", b'""', b'" "', b'"\\ud800"', b'"\\udc00\\ud800"', b'"\\u0000"', b'"<|im_end|>"', b'"\\n\\nHuman:"', b"[[]]", b'{"a":{}}',
    b'{"role":"user"}', b"0x10", b"\xff\xfe", "\u202e\u2066\ufeff".encode(), b'"', b"'", b",", b"\t", b"!!python/object:os.system",
)  # fmt: skip
_ENCODINGS = ("utf-16", "utf-16-be", "utf-32", "utf-7", "cp500", "latin-1", "utf-8-sig")


def _place(rng: Random, data: bytes) -> int:
    return rng.randrange(len(data) + 1)


def _block(rng: Random, data: bytes) -> tuple[int, int]:
    start = _place(rng, data)
    return start, min(len(data), start + 2 ** rng.randrange(14))


def flip_bits(rng: Random, data: bytes, other: bytes) -> bytes:
    changed = bytearray(data)
    for _ in range(rng.choice((1, 1, 2, 8, 64)) if data else 0):
        changed[rng.randrange(len(changed))] ^= 1 << rng.randrange(8)
    return bytes(changed)


def set_bytes(rng: Random, data: bytes, other: bytes) -> bytes:
    changed = bytearray(data)
    for _ in range(rng.choice((1, 2, 16)) if data else 0):
        changed[rng.randrange(len(changed))] = rng.choice(
            (0, 10, 13, 34, 44, 92, 127, 128, 255, rng.randrange(256))
        )
    return bytes(changed)


def insert_bytes(rng: Random, data: bytes, other: bytes) -> bytes:
    at = _place(rng, data)
    return data[:at] + rng.randbytes(2 ** rng.randrange(10)) + data[at:]


def delete_block(rng: Random, data: bytes, other: bytes) -> bytes:
    start, end = _block(rng, data)
    return data[:start] + data[end:]


def duplicate_block(rng: Random, data: bytes, other: bytes) -> bytes:
    start, end = _block(rng, data)
    return data[:end] + data[start:end] * rng.choice((1, 2, 20)) + data[end:]


def truncate(rng: Random, data: bytes, other: bytes) -> bytes:
    return data[: _place(rng, data)]


def splice(rng: Random, data: bytes, other: bytes) -> bytes:
    return data[: _place(rng, data)] + other[_place(rng, other) :]


def insert_nuls(rng: Random, data: bytes, other: bytes) -> bytes:
    at = _place(rng, data)
    return data[:at] + b"\0" * rng.choice((1, 3, 4096)) + data[at:]


def insert_bom(rng: Random, data: bytes, other: bytes) -> bytes:
    at = rng.choice((0, _place(rng, data)))
    return data[:at] + rng.choice((b"\xef\xbb\xbf", b"\xff\xfe", b"\xfe\xff")) + data[at:]


def insert_hostile_value(rng: Random, data: bytes, other: bytes) -> bytes:
    at = _place(rng, data)
    return data[:at] + rng.choice(HOSTILE_VALUES) + data[at:]


def replace_value(rng: Random, data: bytes, other: bytes) -> bytes:
    """Put a hostile value in the place of what stands between two separators."""
    places = [i for i, byte in enumerate(data) if byte in b":,\n"]
    if len(places) < 2:
        return insert_hostile_value(rng, data, other)
    k = rng.randrange(len(places) - 1)
    return data[: places[k] + 1] + rng.choice(HOSTILE_VALUES) + data[places[k + 1] :]


def insert_long_line(rng: Random, data: bytes, other: bytes) -> bytes:
    at = _place(rng, data)
    return (
        data[:at]
        + rng.choice((b"x", b'"', b",", b"\\", b"[", b"\r", "\U0001f600".encode())) * LONG_BYTES
        + data[at:]
    )


def nest_deeply(rng: Random, data: bytes, other: bytes) -> bytes:
    lines = data.splitlines(keepends=True) or [b""]
    k = rng.randrange(len(lines))
    opening, closing = rng.choice(((b"[", b"]"), (b'{"a":', b"}"), (b'{"prompt":[', b"]}")))
    depth = rng.choice((100, 900, 990, DEPTH))
    lines[k] = b'{"prompt":' + opening * depth + b"1" + closing * depth + b',"chosen":"a","rejected":"b"}\n'
    return b"".join(lines)


def repeat_name(rng: Random, data: bytes, other: bytes) -> bytes:
    """Give a word of a line, such as the name of a column or field, the place of another one."""
    lines = data.splitlines(keepends=True) or [b""]
    k = rng.choice((0, rng.randrange(len(lines))))
    words = sorted(set(re.findall(rb"[A-Za-z_0-9]{3,}", lines[k])))
    if len(words) > 1:
        first, second = rng.sample(words, 2)
        lines[k] = re.sub(rb"\b%s\b" % first, second, lines[k], count=1)
    return b"".join(lines)


def recode(rng: Random, data: bytes, other: bytes) -> bytes:
    return data.decode("utf-8", errors="replace").encode(rng.choice(_ENCODINGS), errors="replace")


def mix_line_ends(rng: Random, data: bytes, other: bytes) -> bytes:
    return data.replace(b"\n", rng.choice((b"\r\n", b"\r", b"\n\n\n", b"\x0b\n", "\u2028".encode())))


def append_other(rng: Random, data: bytes, other: bytes) -> bytes:
    return data + rng.choice((other, other[: _place(rng, other)], b"\0" * 512, rng.randbytes(64)))


def empty(rng: Random, data: bytes, other: bytes) -> bytes:
    return rng.choice((b"", b"\n", b"\0", b"{}", b"[]", b'"', b"\xef\xbb\xbf"))


ANY_BYTES: dict[str, Mutation] = {
    "flipped bits": flip_bits,
    "set bytes": set_bytes,
    "inserted bytes": insert_bytes,
    "deleted block": delete_block,
    "duplicated block": duplicate_block,
    "truncated": truncate,
    "spliced with another file": splice,
    "another file appended": append_other,
    "NUL bytes": insert_nuls,
    "byte order mark": insert_bom,
    "nothing or next to nothing": empty,
}
TEXT: dict[str, Mutation] = ANY_BYTES | {
    "hostile value inserted": insert_hostile_value,
    "value replaced by a hostile one": replace_value,
    "extremely long line": insert_long_line,
    "deep nesting": nest_deeply,
    "name repeated": repeat_name,
    "another encoding": recode,
    "other line ends": mix_line_ends,
}


def of_gzip(rng: Random, data: bytes, other: bytes, name: str) -> bytes:
    """Mutate what a gzip file holds, keeping the gzip stream whole; ``data`` and ``other`` are gzip files."""
    return gzip.compress(TEXT[name](rng, gzip.decompress(data), gzip.decompress(other)), 1, mtime=0)
