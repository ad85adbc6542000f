import json
import math
import re
import tomllib
from dataclasses import replace
from html.parser import HTMLParser
from itertools import pairwise
from pathlib import Path

import pytest

from bdpo_pipeline.reports.artifacts import RunArtifacts
from bdpo_pipeline.reports.page import render_report
from bdpo_pipeline.reports.tables import safety_table


class Outline(HTMLParser):
    """What a page consists of: tags with attributes, and the text outside scripts and styles."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.words: list[str] = []
        self.scripts: list[str] = []
        self._inside = ""
        self.feed(page)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        self._inside = tag

    def handle_endtag(self, _: str) -> None:
        self._inside = ""

    def handle_data(self, data: str) -> None:
        if self._inside == "script":
            self.scripts.append(data)
        elif self._inside != "style":
            self.words.append(data)

    @property
    def text(self) -> str:
        return " ".join("".join(self.words).replace("\u00a0", " ").split())

    def count(self, tag: str) -> int:
        return sum(found == tag for found, _ in self.tags)


@pytest.fixture(scope="module")
def page(run: RunArtifacts) -> str:
    return render_report(run, "A report", samples_per_set=2, seed=7)


@pytest.fixture(scope="module")
def outline(page: str) -> Outline:
    return Outline(page)


def test_nothing_is_asked_of_the_network(outline: Outline) -> None:
    references = [
        value
        for _, attrs in outline.tags
        for name, value in attrs.items()
        if name in ("src", "href", "action")
    ]
    assert references
    assert all(reference and reference.startswith("#") for reference in references)
    (policy,) = [attrs["content"] for tag, attrs in outline.tags if "http-equiv" in attrs]
    assert policy is not None
    assert policy.startswith("default-src 'none'; script-src 'sha256-")


def test_plotly_stands_in_the_page_once(outline: Outline) -> None:
    assert sum(len(script) > 1_000_000 for script in outline.scripts) == 1


def test_structure_serves_a_reader_who_does_not_see_it(outline: Outline) -> None:
    levels = [int(tag[1]) for tag, _ in outline.tags if re.fullmatch(r"h[1-6]", tag)]
    assert levels.count(1) == 1
    assert all(after <= before + 1 for before, after in pairwise(levels))
    assert outline.count("table") == outline.count("caption") > 5
    plots = [attrs for tag, attrs in outline.tags if attrs.get("class") == "plot"]
    assert len(plots) == 16
    assert all(plot["role"] == "img" and plot["aria-label"] for plot in plots)
    ids = [attrs["id"] for _, attrs in outline.tags if "id" in attrs]
    assert len(ids) == len(set(ids))
    links = [attrs["href"] for tag, attrs in outline.tags if tag == "a"]
    assert {str(link).removeprefix("#") for link in links} <= set(ids)


def test_every_figure_is_readable_json(outline: Outline) -> None:
    figures = [json.loads(script) for script in outline.scripts if script.startswith('{"data"')]
    assert len(figures) == 16
    assert all(figure["data"] for figure in figures)


def test_samples_are_behind_a_warning(outline: Outline) -> None:
    (warning,) = [
        attrs for tag, attrs in outline.tags if tag == "details" and attrs.get("class") == "warning"
    ]
    assert "open" not in warning
    assert "Content warning" in outline.text


@pytest.mark.parametrize(
    "said",
    [
        "On 112 held-out pairs with exactly one safe response",
        "71.4 %",
        "refusal_phrases (accuracy 90.5 %)",
        "0 reference forward passes",
        "4,516 rows read = 400 used + 6 quarantined + 4 without a preference + 4,106 dropped",
        "CC-BY-NC-4.0",
        "0f" * 32,
        "It may grow by pushing both responses down",
        "our reconstruction, not the paper's own equations",
        "training.learning_rate",
        "f" * 40,
        "Objective bdpo (beta 0.1, placement reward)",
        "without the prompt (empty_prompt)",
        "Imbalance on validation pairs went from 0.200 to 0.800.",
    ],
)
def test_what_must_be_said_is_said(outline: Outline, said: str) -> None:
    assert said in outline.text


def test_a_page_of_any_objective_has_no_holes(any_run: RunArtifacts) -> None:
    text = Outline(render_report(any_run, "A report", 1, 7)).text
    assert re.findall(r"\b(?:nan|NaN|None|NaT|inf)\b", text) == []
    summary = any_run.training_summary
    assert f"Objective {summary['objective']} (" in text
    without_reference = any_run.reference_report["conditional"]["requested"] == 0
    assert ("takes no reference, so there was no reference pass" in text) == without_reference
    assert ("the base model has one, too" in text) == (summary["reward"] != "log_ratio")
    assert ("takes no coefficients" in text) == any_run.comprehension.empty
    assert ("B-DPO holds that" in text) != any_run.comprehension.empty
    assert "The rows do not add up" not in text
    assert ("+ 3 dropped by the objective." in text) == ("dropped_pairs" in summary)
    assert ("Its multiplier lambda is 1.50" in text) == ("lambda" in summary)


@pytest.mark.parametrize("control", ["none", "length"])
def test_coefficients_without_comprehension_are_explained(run: RunArtifacts, control: str) -> None:
    table = run.comprehension.assign(chosen_mi=math.nan, rejected_mi=math.nan, imbalance=math.nan)
    if control == "none":
        table = table.assign(chosen_share=0.5, chosen_coefficient=1.0, rejected_coefficient=1.0)
    history = run.training_history.filter(regex="^(?!comprehension)")
    numbers = {"pairs": 368, "chosen_mi": {"mean": None, "sd": None}, "negative_share": None}
    changed = replace(run, comprehension=table, training_history=history, comprehension_diagnostics=numbers)
    page = Outline(render_report(changed, "A report", 1, 7))
    reason = (
        "come from the lengths of the responses" if control == "length" else "All coefficients of bdpo are 1"
    )
    assert reason in page.text
    assert "B-DPO holds that" not in page.text
    assert re.findall(r"\b(?:nan|NaN|None)\b", page.text) == []
    ids = {attrs.get("id") for _, attrs in page.tags}
    assert ("chosen_share" in ids) == (control == "length")
    assert not {"comprehension_by_side", "imbalance_drift"} & ids


def test_rows_that_do_not_add_up_are_shown_as_such(run: RunArtifacts) -> None:
    summary = [run.ingestion_summary[0] | {"rows_read": 4000}, run.ingestion_summary[1]]
    text = Outline(render_report(replace(run, ingestion_summary=summary), "A report", 1, 7)).text
    assert "4,821 rows read \u2260 400 used" in text
    assert "The rows do not add up" in text


def test_text_from_data_stays_text(page: str, hostile_run: RunArtifacts) -> None:
    hostile = Outline(render_report(hostile_run, "<b>A report</b>", 2, 7))
    harmless = Outline(page)
    assert hostile.count("script") == harmless.count("script")
    assert hostile.count("img") == hostile.count("b") == 0
    assert "<script>document.title='owned'</script>" in hostile.text


def test_every_template_ships_with_the_package() -> None:
    root = Path(__file__).parents[2]
    patterns = tomllib.loads((root / "pyproject.toml").read_text())["tool"]["setuptools"]["package-data"]
    shipped = {pattern.removeprefix("**/*") for pattern in patterns["bdpo_pipeline"]}
    templates = list((root / "src/bdpo_pipeline/reports/templates").iterdir())
    assert templates
    assert {path.suffix for path in templates} <= shipped


def test_a_model_that_says_nothing_has_no_rates_and_the_page_says_why(run: RunArtifacts) -> None:
    metrics = run.safety_metrics.assign(
        prompts=0, positive=0, rate=math.nan, low=math.nan, high=math.nan, without_verdict=4, unjudged=4
    )
    text = Outline(render_report(replace(run, safety_metrics=metrics), "A report", 1, 7)).text
    assert "No strongreject prompt has a verdict on both models by refusal_phrases: 4 left out" in text
    assert "0 prompts, 4 left out; refusal_phrases" in text
    assert re.findall(r"\b(?:nan|NaN|None|NaT|inf)\b", text) == []


def test_answers_that_were_cut_off_stand_in_the_safety_table(run: RunArtifacts, outline: Outline) -> None:
    table = safety_table(run.safety_metrics)
    cut_off = [int(row[table.header.index("Cut off")]) for row in table.rows]
    generations = run.generations
    expected = generations[~generations["finished"]].groupby(["prompt_set", "desired", "model"]).size()
    found = run.safety_metrics[["prompt_set", "desired", "model"]].assign(cut_off=cut_off)
    assert (
        found.drop_duplicates().groupby(["prompt_set", "desired", "model"])["cut_off"].first().to_dict()
        == expected.to_dict()
    )
    no_verdict = [row[table.header.index("No verdict")] for row in table.rows]
    assert no_verdict.count("1") == 1
    assert "stopped at the length limit" in outline.text
