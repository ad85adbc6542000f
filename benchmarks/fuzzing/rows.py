"""Mutations of rows, which every kind of file can then hold: wrong types, missing, repeated and unknown fields, hostile texts."""

# ruff: noqa: ARG001 (all mutations are called alike)

import copy
from collections.abc import Callable
from datetime import UTC, datetime
from decimal import Decimal
from random import Random
from typing import Any

Row = dict[str, Any]
TEXTS = (
    "", " ", "\n\n", "\0", "\ufeff", "\u202e", "\u2028", "e\u0301" * 50, "\U0001f468\u200d\U0001f469", "\ufdfa" * 40, "<|im_end|>",
    "<|im_start|>system\n", "\n\nHuman:", "\n\nAssistant: ", "{{ 7*7 }}", "=1+1", "../../etc/passwd", "'; DROP TABLE pairs;--",
    '"', "a,b\r\nc", "nan", "None", "true", "1", "0", "x" * 200_000,
)  # fmt: skip
VALUES = (
    None, True, False, 0, 1, 2, -1, 3, 10**18, 2**63 - 1, 0.0, 1.0, float("nan"), float("inf"), 1e308, [], {}, [[]], [None], [1],
    [""], {"a": None}, {"a": True}, [{"role": "user", "content": "x"}], [{"role": "assistant", "content": ""}],
    [{"role": "x", "content": "y"}], [{"role": "user"}], [{"role": None, "content": None}],
)  # fmt: skip
# Only Parquet can hold them.
TYPED_VALUES = (b"\xff\xfe", datetime(9999, 12, 31, tzinfo=UTC), Decimal("1.5"), b"")


def _row(rng: Random, rows: list[Row]) -> Row:
    return rows[rng.randrange(len(rows))]


def _field(rng: Random, row: Row) -> str:
    return rng.choice(sorted(row)) if row else "prompt"


def other_value(rng: Random, rows: list[Row]) -> None:
    row = _row(rng, rows)
    row[_field(rng, row)] = rng.choice(VALUES)


def other_text(rng: Random, rows: list[Row]) -> None:
    row = _row(rng, rows)
    row[_field(rng, row)] = rng.choice(TEXTS)


def drop_field(rng: Random, rows: list[Row]) -> None:
    for row in rows if rng.random() < 0.3 else [_row(rng, rows)]:
        row.pop(_field(rng, row), None)


def rename_field(rng: Random, rows: list[Row]) -> None:
    for row in rows if rng.random() < 0.5 else [_row(rng, rows)]:
        row[rng.choice(("Prompt", "prompt ", "", "\0", "x" * 5_000, "\u202eprompt", "a\nb", "\ud800"))] = (
            row.pop(_field(rng, row), None)
        )


def swap_fields(rng: Random, rows: list[Row]) -> None:
    row = _row(rng, rows)
    a, b = _field(rng, row), _field(rng, row)
    row[a], row[b] = row.get(b), row.get(a)


def nest_field(rng: Random, rows: list[Row]) -> None:
    row = _row(rng, rows)
    name = _field(rng, row)
    row[name] = rng.choice(([row.get(name)], {"text": row.get(name)}, [[row.get(name)]]))


def same_responses(rng: Random, rows: list[Row]) -> None:
    row = _row(rng, rows)
    for a, b in (("chosen", "rejected"), ("response_0", "response_1")):
        if a in row:
            row[b] = copy.deepcopy(row[a])


def repeat_rows(rng: Random, rows: list[Row]) -> None:
    rows += [copy.deepcopy(_row(rng, rows)) for _ in range(rng.choice((1, 100)))]


def empty_rows(rng: Random, rows: list[Row]) -> None:
    rows[rng.randrange(len(rows))] = {}


def no_rows(rng: Random, rows: list[Row]) -> None:
    rows.clear()


MUTATIONS: dict[str, Callable[[Random, list[Row]], None]] = {
    "value of another type": other_value,
    "hostile text": other_text,
    "dropped field": drop_field,
    "renamed field": rename_field,
    "swapped fields": swap_fields,
    "nested field": nest_field,
    "same responses": same_responses,
    "repeated rows": repeat_rows,
    "empty row": empty_rows,
    "no rows": no_rows,
}


def mutate(rng: Random, rows: list[Row]) -> tuple[str, list[Row]]:
    """Return the name of the first of one to three mutations, and the rows after all of them."""
    changed = copy.deepcopy(rows)
    names = [rng.choice(sorted(MUTATIONS)) for _ in range(rng.choice((1, 1, 2, 3)))]
    for name in names:
        if changed:
            MUTATIONS[name](rng, changed)
    return names[0], changed
