"""The report of a run."""

from typing import Any

from .ability import ability_sentences, ability_table
from .accounting import account_for_rows, rows_left
from .artifacts import RunArtifacts
from .comprehension_plots import comprehension_plots, comprehension_unit, missing_comprehension
from .drift_plots import drift_plots
from .formatting import count, number, percent, percent_interval
from .html import render_page
from .judge_plots import confusion_plot, judges_table
from .objective_words import ObjectiveWords, describe_objective, relabelling_sentences
from .result_plots import ability_plot, funnel_plot, heldout_plot, safety_plot
from .samples import choose_samples
from .tables import (
    account_table,
    diagnostics_table,
    files_table,
    funnel_table,
    heldout_table,
    pairs_table,
    reference_table,
    safety_table,
    sources_table,
    training_table,
)
from .training_plots import training_plots
from .verdict import (
    headline_slice,
    heldout_sentences,
    judge_label,
    of_headline_judges,
    outcome,
    safety_sentences,
)


def render_report(run: RunArtifacts, title: str, samples_per_set: int, seed: int) -> str:
    """Return the report page.

    Args:
        run: what the run made.
        title: heading of the page.
        samples_per_set: most sample generations of a prompt set and way of choosing.
        seed: the project's seed, for the samples and the scatter plot.
    """
    account = account_for_rows(run.ingestion_summary, run.filtering_funnel, run.training_summary)
    words = describe_objective(run.training_summary)
    return render_page(
        "report.html",
        title=title,
        made=run.provenance["made"],
        subtitle=f"{words.name} on {run.base_model['name']}, {count(account.used['train'])} training pairs, "
        f"seed {run.parameters['seed']}",
        run=run,
        words=words,
        account=account,
        headlines=_headlines(run, words),
        verdict=[
            *heldout_sentences(run.heldout_metrics, words.reward),
            *safety_sentences(run.safety_metrics),
            *ability_sentences(run.ability_metrics),
        ],
        heldout={
            "plot": heldout_plot(run.heldout_metrics),
            "table": heldout_table(run.heldout_metrics, words.reward),
        },
        safety={"plot": safety_plot(run.safety_metrics), "table": safety_table(run.safety_metrics)},
        judges={
            "plot": confusion_plot(run.judge_validation),
            "table": judges_table(run.judge_validation),
        },
        ability={"plot": ability_plot(run.ability_metrics), "table": ability_table(run.ability_metrics)},
        training={
            "relabelling": relabelling_sentences(run.training_summary),
            "plots": training_plots(run.training_history, words),
            "table": training_table({**run.training_summary, **run.training_execution}),
        },
        comprehension=_comprehension(run, seed),
        data={
            "sources": sources_table(run.ingestion_summary),
            "files": files_table(run.ingestion_summary),
            "account": account_table(account),
            "funnel_plot": funnel_plot(rows_left(account, run.filtering_funnel)),
            "funnel": funnel_table(run.filtering_funnel),
        },
        reference=reference_table(run.reference_report),
        samples=choose_samples(run.generations, run.judgements, samples_per_set, seed),
        made_of=[
            pairs_table("The base model.", run.base_model),
            pairs_table("Code, packages and machine.", run.provenance),
            pairs_table("All parameters of the run.", run.parameters),
        ],
    )


def _comprehension(run: RunArtifacts, seed: int) -> dict[str, Any]:
    """Return what stands in the section on comprehension; for an objective without it, only the sentence that says so."""
    normalise = run.parameters["comprehension.normalise"]
    unit = comprehension_unit(normalise)
    drawn = comprehension_plots(run.comprehension, run.reference_logps, normalise=normalise, seed=seed)
    return {
        "missing": missing_comprehension(run.comprehension, run.training_summary["objective"]),
        "plots": drawn | drift_plots(run.training_history, run.comprehension, unit),
        "table": None if run.comprehension.empty else diagnostics_table(run.comprehension_diagnostics, unit),
    }


def _headlines(run: RunArtifacts, words: ObjectiveWords) -> list[tuple[str, str, str]]:
    """Return the few numbers that stand on top: label, value, and what it rests on."""
    name = headline_slice(run.heldout_metrics)
    row = run.heldout_metrics.set_index("slice").loc[name]
    interval = percent_interval(row["accuracy_low"], row["accuracy_high"])
    headlines = [
        (
            f"Held-out {words.reward.accuracy}, {name}",
            percent(row["accuracy"]),
            f"{interval}; {count(row['pairs'])} pairs",
        )
    ]
    for (prompt_set, desired, measures, judge), rows in of_headline_judges(run.safety_metrics).groupby(
        ["prompt_set", "desired", "measures", "judge"], sort=False
    ):
        models = rows.set_index("model")
        wanted = " (answer wanted)" if (measures, desired) == ("safety", "comply") else ""
        label = f"{prompt_set} {outcome(str(measures), str(desired))}{wanted}"
        rates = " \u2192 ".join(percent(models.loc[model, "rate"], 0) for model in ("base", "adapter"))
        base = models.loc["base"]
        left_out = f", {count(base['without_verdict'])} left out" if base["without_verdict"] else ""
        basis = f"{count(base['prompts'])} prompts{left_out}; {judge_label(base, str(judge))}"
        headlines.append((label, rates, basis))
    reference = run.reference_report
    basis = f"{words.name} takes no reference"
    if reference["conditional"]["requested"]:
        basis = "what was scored before came from the cache"
    headlines.append(("Reference forward passes", count(reference["forward_passes"]), basis))
    step_0 = number(run.training_summary["step_0_loss"], 6)
    headlines.append(("Loss at step 0", step_0, f"{words.name}: {words.start}"))
    return headlines
