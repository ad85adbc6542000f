"""The model card beside the adapter, in the structure that the Hugging Face hub reads."""

import json
from typing import Any

from .ability import ability_sentences, ability_table
from .artifacts import RunArtifacts
from .formatting import count, duration, number, size
from .judge_plots import judges_table
from .objective_words import describe_objective, relabelling_sentences
from .tables import Table, files_table, heldout_table, safety_table, sources_table
from .verdict import headline_slice, heldout_sentences, safety_sentences


def render_model_card(run: RunArtifacts) -> str:
    """Return the model card as Markdown with YAML front matter (JSON values, which YAML reads).

    Args:
        run: what the run made.
    """
    from jinja2 import Environment, PackageLoader, StrictUndefined

    # Markdown, not HTML: cells and names are made safe by `_cell`.
    environment = Environment(  # noqa: S701
        loader=PackageLoader("bdpo_pipeline.reports"),
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    environment.filters |= {
        "yaml": json.dumps,
        "markdown": markdown_table,
        "cell": _cell,
        "count": count,
        "number": number,
        "duration": duration,
        "size": size,
    }
    words = describe_objective(run.training_summary)
    licences = sorted({source["licence"] for source in run.ingestion_summary})
    card: str = environment.get_template("model_card.md").render(
        run=run,
        whole=run.training_summary["trained"] == "all weights",
        words=words,
        relabelling=relabelling_sentences(run.training_summary),
        licences=licences,
        non_commercial=_is_non_commercial(licences),
        metric=_headline_metric(run),
        evaluation=[
            *heldout_sentences(run.heldout_metrics, words.reward),
            *safety_sentences(run.safety_metrics),
            *ability_sentences(run.ability_metrics),
        ],
        heldout=heldout_table(run.heldout_metrics, words.reward),
        ability=ability_table(run.ability_metrics),
        safety=safety_table(run.safety_metrics),
        judges=judges_table(run.judge_validation),
        sources=sources_table(run.ingestion_summary),
        files=files_table(run.ingestion_summary),
    )
    return card


def _is_non_commercial(licences: list[str]) -> bool:
    return any("-nc" in licence.lower() or "non-commercial" in licence.lower() for licence in licences)


def _headline_metric(run: RunArtifacts) -> dict[str, Any]:
    name = headline_slice(run.heldout_metrics)
    accuracy = run.heldout_metrics.set_index("slice")["accuracy"][name]
    return {"slice": name, "value": round(float(accuracy), 4)}


def markdown_table(table: Table) -> str:
    """Return a table as GitHub-flavoured Markdown with its caption above."""
    rule = ["---:" if column in table.numeric else "---" for column in range(len(table.header))]
    rows = [[_cell(cell) for cell in row] for row in [table.header, *table.rows]]
    lines = ["| " + " | ".join(row) + " |" for row in [rows[0], rule, *rows[1:]]]
    return "\n".join([_cell(table.caption), "", *lines])


def _cell(text: Any) -> str:
    """Return text that stays in its cell: no line break, no bar, no markup."""
    flat = " ".join(str(text).split())
    for mark in ("\\", "|", "<", ">", "`", "*", "_", "[", "]"):
        flat = flat.replace(mark, "\\" + mark)
    return flat
