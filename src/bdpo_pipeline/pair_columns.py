"""From tables of pairs to what an objective takes: its columns, and the pairs that its own policy keeps, swaps or drops."""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import pandas as pd
    from torch import Tensor

    from bdpo_pipeline.objectives import BoundObjective

# Where a column of a batch comes from; `*_unsafe` is the negation of a label.
_TABLE_COLUMNS = {
    "reference_chosen": "reference_chosen_logp",
    "reference_rejected": "reference_rejected_logp",
    "chosen_coefficient": "chosen_coefficient",
    "rejected_coefficient": "rejected_coefficient",
    "chosen_unsafe": "chosen_is_safe",
    "rejected_unsafe": "rejected_is_safe",
}
_FIXES = {
    "reference": "the tables are of different runs: run `kedro run --pipelines reference` again",
    "coefficient": "the tables are of different runs: run `kedro run --pipelines reference` again",
    "unsafe": "it takes labelled data: leave out sources without labels, or state chosen_is_safe and rejected_is_safe "
    "for a source in ingestion.sources",
}


class MissingColumnError(ValueError):
    """Pairs lack what the objective needs."""


def batch_columns(table: "pd.DataFrame", objective: "BoundObjective") -> dict[str, Any]:
    """Return the columns of a batch that the objective needs, as numpy arrays ``[pairs]`` by their names there.

    Args:
        table: pairs with the columns of ``tokenised_pairs``, ``reference_logps`` and ``comprehension`` (docs/artifacts.md).
        objective: what needs them.

    Raises:
        MissingColumnError: pairs lack a value; the message names column, pairs and fix.
    """
    return {name: _column(table, name, objective.name) for name in objective.columns}


def relabel_pairs(
    table: "pd.DataFrame", objective: "BoundObjective"
) -> tuple["pd.DataFrame", dict[str, float]]:
    """Return the pairs after the objective's own policy, and what there is to report: how many it swapped and dropped, and more.

    Raises:
        MissingColumnError: a pair has no label that the policy needs.
        ValueError: no training pair is left.
    """
    import numpy as np

    from bdpo_pipeline.objectives import PairLabels

    if objective.relabel is None:
        return table, {}
    labels = PairLabels(
        _tensor(_column(table, "chosen_unsafe", objective.name)),
        _tensor(_column(table, "rejected_unsafe", objective.name)),
        _tensor(table["chosen_severity"].to_numpy(dtype="float64", na_value=np.nan)),
        _tensor(table["rejected_severity"].to_numpy(dtype="float64", na_value=np.nan)),
        _tensor((table["split"] == "train").to_numpy()),
    )
    relabelling = objective.relabel(labels)
    decisions = relabelling.decisions.numpy()
    swapped = _swap(table, decisions < 0)[decisions != 0].reset_index(drop=True)
    if not (swapped["split"] == "train").any():
        raise ValueError(
            f"objective {objective.name!r} drops every training pair: all of them have two unsafe responses"
        )
    return swapped, {
        "swapped_pairs": int((decisions < 0).sum()),
        "dropped_pairs": int((decisions == 0).sum()),
        **relabelling.facts,
    }


def implicit_rewards(scores: "pd.DataFrame", objective: "BoundObjective") -> tuple[Any, Any]:
    """Return the implicit rewards of chosen and rejected responses, as numpy arrays ``[pairs]``, from scored pairs.

    Args:
        scores: the policy's log-probs, ``policy_chosen_logp`` and ``policy_rejected_logp``, with the columns of ``reference_logps``.
        objective: whose rewards.

    Raises:
        MissingColumnError: a pair lacks the reference log-prob that the reward is made of.
    """
    from dataclasses import fields

    import numpy as np

    from bdpo_pipeline.objectives import PairBatch

    columns = {
        "policy_chosen": scores["policy_chosen_logp"].to_numpy(),
        "policy_rejected": scores["policy_rejected_logp"].to_numpy(),
        "chosen_tokens": scores["chosen_tokens"].to_numpy(dtype="float64"),
        "rejected_tokens": scores["rejected_tokens"].to_numpy(dtype="float64"),
    }
    if objective.needs_reference:
        for name in ("reference_chosen", "reference_rejected"):
            columns[name] = _column(scores, name, objective.name)
    unknown = np.full(len(scores), np.nan)
    batch = PairBatch(**{f.name: _tensor(columns.get(f.name, unknown)) for f in fields(PairBatch)})
    chosen, rejected = objective.rewards(batch)
    return chosen.numpy(), rejected.numpy()


def _column(table: "pd.DataFrame", name: str, objective: str) -> Any:
    import numpy as np

    source = _TABLE_COLUMNS[name]
    values = table[source].to_numpy(dtype="float64", na_value=np.nan)
    missing = np.isnan(values)
    if missing.any():
        fix = next(text for part, text in _FIXES.items() if part in name)
        raise MissingColumnError(
            f"objective {objective!r} needs {source}, and {missing.sum()} of {len(table)} pairs have none "
            f"(first: {', '.join(table.loc[missing, 'pair_id'].head(3))}): {fix}"
        )
    return 1 - values if name.endswith("_unsafe") else values


def _swap(table: "pd.DataFrame", rows: Any) -> "pd.DataFrame":
    """Exchange chosen and rejected in these rows, in every column that has both."""
    import pandas as pd

    exchanged = {name: name.replace("chosen", "rejected") for name in table.columns if "chosen" in name}
    exchanged = {ours: theirs for ours, theirs in exchanged.items() if theirs in table.columns}
    names = {**exchanged, **{theirs: ours for ours, theirs in exchanged.items()}}
    other = table.rename(columns=names)[table.columns]
    joined: pd.DataFrame = pd.concat([table[~rows], other[rows]])
    return joined.sort_index()


def _tensor(values: Any) -> "Tensor":
    import torch

    # A copy: what pandas hands out may not be written to, and torch warns of such arrays.
    return torch.tensor(values)
