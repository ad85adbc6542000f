"""Files that are small and ask for much memory, each read in a process of its own."""

import gzip
import io
import json
import subprocess
import sys
import zlib
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path

ONE = Path(__file__).with_name("one.py")
MB = 1_000_000


@dataclass(frozen=True)
class Bomb:
    """A file to be made.

    Attributes:
        name: of the file.
        what: for the page.
        format: how the source is configured.
        write: writes it to a path.
    """

    name: str
    what: str
    format: str
    write: Callable[[Path], None]


@dataclass(frozen=True)
class Burst:
    """What reading a bomb took.

    Attributes:
        how: see :class:`fuzzing.judge.Outcome`, and likewise ``rows`` and ``message``.
        peak_bytes: most resident memory of the process that reads for the run.
        reader_peak_bytes: of the process that it has read Parquet, 0 for other files.
        file_bytes: size of the file.
    """

    how: str
    rows: dict[str, int]
    message: str
    peak_bytes: int
    reader_peak_bytes: int
    file_bytes: int


def _gzip(chunks: Iterable[bytes]) -> Callable[[Path], None]:
    def write(path: Path) -> None:
        packer = zlib.compressobj(1, wbits=31)
        with path.open("wb") as file:
            for chunk in chunks:
                file.write(packer.compress(chunk))
            file.write(packer.flush())

    return write


def _plain(chunks: Iterable[bytes]) -> Callable[[Path], None]:
    def write(path: Path) -> None:
        with path.open("wb") as file:
            file.writelines(chunks)

    return write


def _row(number: int, size: int) -> bytes:
    row = {"prompt": f"question {number}", "chosen": "c" * size, "rejected": "r"}
    return json.dumps(row).encode() + b"\n"


def _members() -> Callable[[Path], None]:
    member = gzip.compress(_row(1, 200), mtime=0)
    return _plain([member] * 20_000)


def _parquet(value: Callable[[], str], rows: int, *, dictionary: bool) -> Callable[[Path], None]:
    def write(path: Path) -> None:
        import pyarrow as pa
        from pyarrow import parquet

        indices = pa.array([0] * rows, pa.int32())
        text = pa.DictionaryArray.from_arrays(indices, pa.array([value()]))
        column = text if dictionary else text.dictionary_decode()
        table = pa.table(
            {"prompt": column, "chosen": pa.array(["c"] * rows), "rejected": pa.array(["r"] * rows)}
        )
        options = {} if dictionary else {"use_dictionary": False}
        parquet.write_table(
            table, path, compression="zstd", store_schema=False, write_statistics=False, **options
        )

    return write


def _many_rows(rows: int) -> Callable[[Path], None]:
    def write(path: Path) -> None:
        import pyarrow as pa
        from pyarrow import parquet

        names = ("prompt", "chosen", "rejected")
        parquet.write_table(
            pa.table({name: pa.nulls(rows, pa.string()) for name in names}), path, compression="zstd"
        )

    return write


def _declared(rows: int) -> Callable[[Path], None]:
    """Let the footer of a good file declare more rows than there are: its row count is a variable-length number."""

    def write(path: Path) -> None:
        import pyarrow as pa
        from pyarrow import parquet

        table = pa.table(
            {name: [f"{name} {i}" for i in range(8_191)] for name in ("prompt", "chosen", "rejected")}
        )
        sink = io.BytesIO()
        parquet.write_table(table, sink)
        content = sink.getvalue()
        length = int.from_bytes(content[-8:-4], "little")
        footer = content[-8 - length : -8].replace(_varint(2 * 8_191), _varint(2 * rows))
        path.write_bytes(content[: -8 - length] + footer + len(footer).to_bytes(4, "little") + b"PAR1")

    return write


def _varint(number: int) -> bytes:
    digits = bytearray()
    while number > 127:
        digits.append(number & 127 | 128)
        number >>= 7
    return bytes([*digits, number])


def make_bombs(scale: float) -> list[Bomb]:
    """Return the bombs; ``scale`` 1 is the size on the page, tests take less."""
    big = round(2_000 * scale)
    pcr = "prompt_chosen_rejected"
    return [
        Bomb("line.jsonl.gz", f"one line of {big} MB", "auto", _gzip(b"x" * MB for _ in range(big))),
        Bomb("line.csv.gz", f"one line of {big} MB", "auto", _gzip([b"a,b\n", *(b"x" * MB for _ in range(big))])),
        Bomb("record.csv.gz", f"one CSV record of {big // 4} MB in short lines", "auto",
             _gzip([b"a,b\n", *(b'"x\n",' * (MB // 5) for _ in range(big // 4))])),
        Bomb("quote.csv.gz", f"a quote that is never closed over {big // 4} MB of short lines", "auto",
             _gzip([b'a,b\n1,"', *(b"x\n" * (MB // 2) for _ in range(big // 4))])),
        Bomb("nested.jsonl.gz", f"{big // 40} rows of 0.9 MB, of empty lists", pcr,
             _gzip(b'{"prompt":[' + b"[]," * 300_000 + b"[]]}\n" for _ in range(big // 40))),
        Bomb("rows.jsonl.gz", f"{big // 2} whole rows of 0.9 MB", pcr, _gzip(_row(i, 900_000) for i in range(big // 2))),
        Bomb("members.jsonl.gz", "20,000 gzip members", pcr, _members()),
        Bomb("blank.jsonl.gz", f"{big // 20} MB of blank lines", pcr, _gzip(b"\n" * MB for _ in range(big // 20))),
        Bomb("repeated.parquet", f"a value of {big // 40} MB in each of {big:,} rows", pcr,
             _parquet(lambda: "p" * (big // 40 * MB), big, dictionary=True)),
        Bomb("large.parquet", f"{10 * big:,} rows of 0.9 MB, of one value", pcr,
             _parquet(lambda: "p" * 900_000, 10 * big, dictionary=True)),
        Bomb("page.parquet", f"one value of {big // 3} MB in one page", pcr,
             _parquet(lambda: "p" * (big // 3 * MB), 1, dictionary=False)),
        Bomb("nulls.parquet", f"{100 * big:,} rows of nothing", pcr, _many_rows(100 * big)),
        Bomb("declared.parquet", "8,191 rows, 10^15 declared", pcr, _declared(10**15)),
    ]  # fmt: skip


def burst(bomb: Bomb, folder: Path) -> Burst:
    """Make a bomb, read it in a process of its own, and return what that took."""
    path = folder / bomb.name
    bomb.write(path)
    try:
        done = subprocess.run(
            [sys.executable, str(ONE), str(path), bomb.format], capture_output=True, text=True, check=False
        )
        if done.returncode != 0:
            raise RuntimeError(f"{bomb.name}: exit code {done.returncode}\n{done.stderr[-2000:]}")
        return Burst(**json.loads(done.stdout), file_bytes=path.stat().st_size)
    finally:
        path.unlink()
