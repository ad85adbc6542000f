"""The study's page: one HTML file that asks nothing of the network, and the same in Markdown without plots."""

from typing import Any

from .formatting import count
from .html import render_page
from .model_card import markdown_table
from .study_plots import difference_plots, imbalance_plot, overfitting_plot, trade_off_plots, trials_plot
from .study_tables import (
    category_tables,
    comparison_tables,
    correlation_table,
    facts_table,
    judges_table,
    missing_table,
    overfitting_table,
    overview_table,
    subsets_table,
    trainings_table,
    trials_table,
)
from .study_words import (
    StudyTables,
    arms_of,
    divergence_sentences,
    finding,
    imbalance_sentence,
    tuning_sentences,
    verdict_sentences,
)
from .tables import Table

# What a reader must know of any such study; what is missing in this one stands in a table of its own.
_SEVERAL_SEEDS = (
    "Intervals of an arm's own mean hold for other prompts put to the very models that were trained. Intervals of differences hold "
    "for other seeds, too, as far as so few seeds can say: how much seeds differ is taken to be alike for all trained arms."
)
_ONE_SEED = "There is one seed, so all intervals hold for other prompts put to the very models that were trained, and for no others."
LIMITS = (
    "Prompts stand for prompts like them: a set of jailbreaks says nothing of jailbreaks of another kind.",
    "P-values are corrected within a measure, for its arms, and not over measures: of many measures, some differences will look "
    "shown.",
    "Judges are fallible; their measured accuracy is that on answers of other models.",
    "Arms were tuned on the same small grid with one seed, which is not among those that are compared. Another grid may favour "
    "another arm.",
    "How comprehension is estimated and turned into weights is a reconstruction. Nothing here replicates the figures of the paper.",
)


def render_study(tables: StudyTables, facts: dict[str, Any]) -> str:
    """Return the page as self-contained HTML.

    Args:
        tables: of the study.
        facts: ``title``, ``baseline``, ``made`` (a date) and ``base_model`` (its name); ``provenance`` and ``parameters`` (names and
            values).
    """
    baseline, arms = facts["baseline"], arms_of(tables.comparison)
    over, ability = trade_off_plots(tables.comparison)
    return render_page(
        "study.html",
        **_shared(tables, facts),
        over_refusal=over,
        ability=ability,
        differences=difference_plots(tables.comparison, baseline),
        details=comparison_tables(tables.comparison, baseline),
        gaps=[overfitting_plot(tables.overfitting, arms, kind) for kind in _kinds(tables.overfitting, "gap")],
        imbalances=[
            imbalance_plot(tables.imbalance, arms, kind) for kind in _kinds(tables.imbalance, "error")
        ],
        tuning_plot=None if tables.trials.empty else trials_plot(tables.trials, arms),
    )


def render_study_markdown(tables: StudyTables, facts: dict[str, Any]) -> str:
    """Return the same in Markdown, without plots; arguments as of :func:`render_study`."""
    shared = _shared(tables, facts)
    parts = [f"# {facts['title']}", f"{shared['subtitle']}. {facts['made']}.", " ".join(shared["verdict"])]

    def section(title: str, *content: str | Table | None) -> None:
        found = [markdown_table(part) if isinstance(part, Table) else part for part in content if part]
        if found:
            parts.extend([f"## {title}", *found])

    section("Comparison", shared["overview"])
    section("Measure by measure", *comparison_tables(tables.comparison, facts["baseline"]))
    section("Categories", *shared["categories"])
    section("Overfitting", shared["overfitting"])
    section("Imbalance and held-out error", shared["imbalance_sentence"], shared["correlations"])
    section("Balanced and imbalanced training pairs", shared["subsets"])
    section("Tuning", shared["tuning"], shared["trainings"])
    section("Judges", shared["judges"])
    section("Missing", shared["missing"] or "Nothing is missing: every arm was compared on every measure.")
    section("Limits", "\n".join(f"- {limit}" for limit in shared["limits"]))
    section("How it was made", *shared["made_of"])
    return "\n\n".join(parts) + "\n"


def _shared(tables: StudyTables, facts: dict[str, Any]) -> dict[str, Any]:
    """Return what stands in the page and in the Markdown."""
    comparison, baseline = tables.comparison, facts["baseline"]
    trained = [arm for arm in arms_of(comparison) if arm != "base"]
    seeds = count(comparison["seeds"].max())
    return {
        "title": facts["title"],
        "made": facts["made"],
        "subtitle": f"{len(trained)} trained arms on {facts['base_model']}, up to {seeds} seeds, compared with {baseline}",
        "verdict": [
            *verdict_sentences(comparison, baseline),
            *tuning_sentences(tables.trials),
            *divergence_sentences(tables.trials, tables.trainings),
        ],
        "headlines": _headlines(tables, trained),
        "overview": overview_table(comparison, baseline),
        "categories": category_tables(tables.categories),
        "overfitting": None if tables.overfitting.empty else overfitting_table(tables.overfitting, baseline),
        "imbalance_sentence": imbalance_sentence(tables.imbalance),
        "correlations": None if tables.imbalance.empty else correlation_table(tables.imbalance),
        "subsets": None if tables.subsets.empty else subsets_table(tables.subsets),
        "tuning": None if tables.trials.empty else trials_table(tables.trials),
        "trainings": None if tables.trainings.empty else trainings_table(tables.trainings),
        "judges": judges_table(comparison),
        "missing": missing_table(tables),
        "limits": (
            _SEVERAL_SEEDS if comparison["compared_seeds"].fillna(0).max() > 1 else _ONE_SEED,
            *LIMITS,
        ),
        "made_of": [
            facts_table("Code, packages and machine.", facts["provenance"]),
            facts_table("All parameters of the run.", facts["parameters"]),
        ],
    }


def _headlines(tables: StudyTables, trained: list[str]) -> list[tuple[str, str, str]]:
    rows = tables.comparison[tables.comparison["arm"].isin(trained)].to_dict("records")
    found = [finding(row) for row in rows]
    compared = sum(what != "missing" for what in found)
    prompts = tables.comparison[tables.comparison["desired"].notna()]
    asked = prompts.drop_duplicates(["on", "desired"])["prompts"].sum()
    return [
        ("Trained arms", str(len(trained)), ", ".join(trained)),
        ("Seeds", count(tables.comparison["seeds"].max()), "of the arm with the most"),
        ("Prompts of safety sets", count(asked), f"{prompts['on'].nunique()} sets"),
        (
            "Differences shown",
            f"{found.count('shown')} of {compared}",
            "for other prompts and seeds, after Holm's correction",
        ),
        (
            "Of these models only",
            f"{found.count('models')}",
            "further differences, not shown for other seeds",
        ),
        ("Trials", count(len(tables.trials)), "points of the grid over all arms"),
    ]


def _kinds(table: Any, value: str) -> list[str]:
    return list(table.loc[table[value].notna(), "pairs"].drop_duplicates())
