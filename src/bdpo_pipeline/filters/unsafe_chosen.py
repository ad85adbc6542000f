"""What is done with a pair whose chosen response is labelled unsafe."""

from collections.abc import Mapping
from typing import Any

from bdpo_pipeline.filters.parameters import UnsafeChosenPolicy
from bdpo_pipeline.preferences.rows import compute_pair_id


def apply_unsafe_policy(row: Mapping[str, Any], policy: UnsafeChosenPolicy) -> Mapping[str, Any] | None:
    """Return the canonical row as it is to be used, or None where it is not.

    Args:
        row: canonical row (docs/artifacts.md).
        policy: ``keep`` uses it as it is, ``drop`` does not use it, ``swap`` exchanges the responses where the rejected one is
            labelled safe (a new pair, with an id of its own) and else does not use it.
    """
    if row["chosen_is_safe"] is not False or policy == "keep":
        return row
    if policy == "swap" and row["rejected_is_safe"] is True:
        return _swap(row)
    return None


def _swap(row: Mapping[str, Any]) -> dict[str, Any]:
    swapped = dict(row)
    for chosen, rejected in (
        ("chosen", "rejected"),
        ("chosen_is_safe", "rejected_is_safe"),
        ("chosen_severity", "rejected_severity"),
    ):
        swapped[chosen], swapped[rejected] = row[rejected], row[chosen]
    swapped["pair_id"] = compute_pair_id(row["prompt"], swapped["chosen"], swapped["rejected"])
    return swapped
