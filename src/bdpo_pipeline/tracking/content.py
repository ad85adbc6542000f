"""What is logged of the tables and summaries that nodes save, by what they are called."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from bdpo_pipeline.lineage.artifacts import Artifact
from bdpo_pipeline.lineage.parameter_names import flatten
from bdpo_pipeline.tracking.dataset_inputs import source_input
from bdpo_pipeline.tracking.journal import Journal
from bdpo_pipeline.tracking.metrics import group_means, history_points, summary_metrics, table_metrics
from bdpo_pipeline.tracking.stages import StageSpec

# Of summaries every number, told apart by the columns that are named here.
SCORE_TABLES = {
    "heldout_metrics": ("heldout", ("slice",)),
    "safety_metrics": ("safety", ("prompt_set", "desired", "model", "judge")),
    "ability_metrics": ("ability", ("task", "measure", "model")),
}
# Of tables with a row an item their means, which an arm has no summary of: its own is made with those of all arms.
ITEM_TABLES = {
    "judgements": (
        "safety",
        ("prompt_set", "desired", "model", "judge"),
        {"positive": "rate", "score": "score"},
    ),
    "ability_results": ("ability", ("task", "measure", "model"), {"score": "value"}),
    "pair_scores": ("pairs", ("split",), {"correct": "accuracy", "margin": "margin"}),
}
# What a trial was settled on stands in data sets, as it follows from others.
SETTLED = ("trial_settings", "chosen_point")


@dataclass
class Stage:
    """A run while it is open.

    Attributes:
        run: its id in the journal.
        spec: which nodes share it.
        to_come: outputs that its nodes have yet to save, each with the node's name.
        inputs: what its nodes used, by name.
        outputs: what they made, by name.
        parameters: those that were logged.
        logged: metrics that were logged, by name and step.
        sessions: earlier ones that it goes on from.
        continued: nodes that ran in these, and whose outcome was logged here, too.
        dtype: of the weights in training.
        quantisation: of the base weights in training.
    """

    run: str
    spec: StageSpec
    to_come: set[tuple[str, str]] = field(default_factory=set)
    inputs: dict[str, Artifact] = field(default_factory=dict)
    outputs: dict[str, Artifact] = field(default_factory=dict)
    parameters: dict[str, str] = field(default_factory=dict)
    logged: set[tuple[str, int]] = field(default_factory=set)
    sessions: set[str] = field(default_factory=set)
    continued: set[str] = field(default_factory=set)
    dtype: str = "float32"
    quantisation: str | None = None


def has_content(kind: str) -> bool:
    """Return whether a table or summary is looked into."""
    known = {"training_history", "training_summary", "record", "ingestion_summary"}
    return kind in known | SCORE_TABLES.keys() | ITEM_TABLES.keys()


def log_content(journal: Journal, stage: Stage, kind: str, data: Any) -> None:
    """Log the numbers in an output.

    Args:
        journal: of the session.
        stage: whose output it is.
        kind: the data set's name, without an arm before it.
        data: what was saved.
    """
    if kind == "training_history":
        log_metrics(journal, stage, ((step, point) for _, step, point in history_points(data)))
    elif kind == "training_summary":
        log_metrics(journal, stage, [(0, summary_metrics(data, "summary"))])
        texts = {f"summary.{name}": value for name, value in data.items() if isinstance(value, str | bool)}
        journal.set_tags(stage.run, {name: str(value) for name, value in texts.items()})
        stage.dtype = data.get("dtype", stage.dtype)
        stage.quantisation = data.get("quantisation")
    elif kind in SCORE_TABLES:
        prefix, keys = SCORE_TABLES[kind]
        log_metrics(journal, stage, [(0, table_metrics(data, prefix, keys))])
    elif kind == "ingestion_summary":
        journal.log_inputs(stage.run, [source_input(source, "raw") for source in data])
    elif stage.spec.is_arm and kind in ITEM_TABLES:
        prefix, keys, columns = ITEM_TABLES[kind]
        log_metrics(journal, stage, [(0, group_means(data, prefix, keys, columns))])
    elif stage.spec.is_trial and kind == "record":
        log_metrics(journal, stage, [(0, summary_metrics(data, "trial"))])


def log_metrics(journal: Journal, stage: Stage, points: Iterable[tuple[int, Mapping[str, float]]]) -> None:
    """Log metrics, given as (step, values by name), except those that the run has at that step."""
    fresh = [
        (step, {name: value for name, value in values.items() if (name, step) not in stage.logged})
        for step, values in points
    ]
    journal.log_metrics(stage.run, fresh)
    stage.logged.update((name, step) for step, values in fresh for name in values)


def log_parameters(journal: Journal, stage: Stage, values: Mapping[str, Any]) -> None:
    """Log parameters, given by data set names without ``params:``, except those that the run has."""
    flat: dict[str, str] = {}
    for name, value in values.items():
        flat |= flatten(stage.spec.own_name(name), value)
    fresh = {name: value for name, value in flat.items() if name not in stage.parameters}
    journal.log_parameters(stage.run, fresh)
    stage.parameters |= fresh
