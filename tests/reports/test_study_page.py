"""The study's page and its Markdown: what must be said is said, nothing beyond the intervals, no holes, no code from data."""

import io
import json
import re
from dataclasses import fields, replace

import numpy as np
import pandas as pd
import pytest

from bdpo_pipeline.reports.study_page import render_study, render_study_markdown
from bdpo_pipeline.reports.study_plots import ARM_COLOURS
from bdpo_pipeline.reports.study_words import (
    StudyTables,
    divergence_sentences,
    finding,
    imbalance_sentence,
    is_better,
    tuning_sentences,
    verdict_sentences,
)

from ..study_tables import make_study
from .test_page import Outline
from .test_plots import relative_luminance

FACTS = {
    "title": "A study",
    "baseline": "dpo",
    "made": "2026-11-22 10:00 UTC",
    "base_model": "SmolLM2-135M-Instruct",
    "provenance": {"git commit": "f" * 40},
    "parameters": {"study_report.resamples": "1000"},
}


@pytest.fixture(scope="module")
def tables() -> StudyTables:
    """Tables as they come back from CSV files, where whole numbers with gaps are floats and empty notes are missing."""
    made = make_study(np.random.default_rng(12))
    read = {}
    for field in fields(made):
        text = getattr(made, field.name).to_csv(index=False)
        read[field.name] = pd.read_csv(io.StringIO(text), keep_default_na=False, na_values=[""])
    return StudyTables(**read)


@pytest.fixture(scope="module")
def page(tables: StudyTables) -> str:
    return render_study(tables, FACTS)


def row(**changed) -> dict:
    """A row of the comparison that shows a difference."""
    known = {
        "measure": "safe responses",
        "on": "strongreject",
        "desired": "refuse",
        "judge": "response_safety",
        "better": "higher",
        "arm": "bdpo",
        "value": 0.8,
        "seeds": 3,
        "difference": 0.2,
        "difference_low": 0.1,
        "difference_high": 0.3,
        "models_low": 0.12,
        "models_high": 0.28,
        "compared_seeds": 3,
        "p_holm": 0.01,
        "p_models_holm": 0.001,
    }
    return known | changed


@pytest.mark.parametrize(
    ("changed", "what"),
    [
        ({}, "shown"),
        ({"p_holm": 0.2}, "models"),
        ({"p_holm": 0.2, "p_models_holm": 0.06}, "none"),
        ({"compared_seeds": 1}, "models"),
        ({"difference": float("nan")}, "missing"),
    ],
)
def test_a_claim_needs_its_p_value_and_several_seeds(changed: dict, what: str) -> None:
    assert finding(row(**changed)) == what


def test_better_is_as_the_measure_says() -> None:
    assert is_better(row())
    assert not is_better(row(better="lower"))
    assert is_better(row(better="neither")) is None


def test_the_verdict_claims_what_is_shown_and_no_more() -> None:
    rows = [
        row(),
        row(on="gcg", difference=-0.1, difference_low=-0.2, difference_high=-0.01),
        row(arm="simpo", p_holm=0.3),
        row(arm="cpo", p_holm=0.3, p_models_holm=0.3),
        row(arm="base", p_holm=0.9, p_models_holm=0.9),
    ]
    said = verdict_sentences(pd.DataFrame(rows), "dpo")
    text = " ".join(said).replace("\u00a0", " ")
    assert "Of 4 comparisons of trained arms with dpo (3 arms, 2 measures), 2 show a difference" in text
    assert (
        "bdpo, safe responses on strongreject (response_safety): 80.0 %, +20.0 points (10.0 to 30.0) against dpo, "
        "which is better (Holm's p = 0.010)." in text
    )
    assert "\u221210.0 points (\u221220.0 to \u22121.0) against dpo, which is worse" in text
    assert "not shown for others: simpo, safe responses" in text
    assert "No difference from dpo could be shown on any measure for cpo." in text
    assert "The untrained model could not be told from dpo on any of 1 measures." in text
    assert "reach 10.0 points to either side" in text


def test_the_untrained_model_is_not_called_alike_where_these_models_differ() -> None:
    rows = [row(arm="base", p_holm=0.9), row(arm="base", on="gcg", p_holm=0.9, p_models_holm=0.9)]
    text = " ".join(verdict_sentences(pd.DataFrame(rows), "dpo"))
    assert "From the very models of dpo the untrained one differs" in text
    assert "on 1 of 2 measures: safe responses on strongreject" in text
    assert "could not be told" not in text


def test_an_arm_that_was_tuned_by_another_rule_is_named(tables: StudyTables) -> None:
    assert tuning_sentences(tables.trials) == []
    beyond = tables.trials.assign(within_bound=tables.trials["arm"] != "simpo")
    (said,) = tuning_sentences(beyond)
    assert "as likely as asked with simpo:" in said
    assert (
        "fast (chosen, beyond the bound)" in Outline(render_study(replace(tables, trials=beyond), FACTS)).text
    )


def test_arms_that_were_tuned_to_different_points_are_told_apart(tables: StudyTables) -> None:
    trials = tables.trials
    is_slow = (trials["arm"] == "simpo").map({True: "slow", False: "fast"})
    (said,) = tuning_sentences(trials.assign(chosen=trials["point"] == is_slow))
    assert "one of arm and point together" in said
    assert re.search(r"slow for simpo[;.]", said)
    assert re.search(r"fast for dpo, [^;]*bdpo", said)
    assert "simpo" not in said.partition("fast for")[2].partition(";")[0]


def test_trainings_that_diverged_are_named(tables: StudyTables) -> None:
    assert divergence_sentences(tables.trials, tables.trainings) == []
    is_broken = (tables.trainings["arm"] == "simpo") & (tables.trainings["seed"] == 2)
    trainings = tables.trainings.assign(diverged_at_step=is_broken.map({True: 12, False: None}))
    is_given_up = (tables.trials["arm"] == "bdpo") & (tables.trials["point"] == "slow")
    trials = tables.trials.assign(diverged_at_step=is_given_up.map({True: 7, False: None}))
    broken, given_up = divergence_sentences(trials, trainings)
    assert broken.endswith("simpo, seed 2, at step 12.")
    assert given_up.endswith("could not be chosen: bdpo at slow.")
    changed = replace(tables, trials=trials, trainings=trainings)
    for text in (Outline(render_study(changed, FACTS)).text, render_study_markdown(changed, FACTS)):
        assert broken in text
        assert given_up in text
        assert "40 of 40, diverged" in text
        assert "30 of 40, diverged" in text


def test_one_seed_claims_nothing_of_others(tables: StudyTables) -> None:
    one = tables.comparison.assign(compared_seeds=1, seeds=1)
    nothing = tables.comparison.assign(
        compared_seeds=pd.array([pd.NA] * len(one), "Int64"), difference=float("nan")
    )
    assert "There is one seed" in Outline(render_study(replace(tables, comparison=nothing), FACTS)).text
    text = Outline(render_study(replace(tables, comparison=one), FACTS)).text
    assert "There is one seed" in text
    assert "Intervals of differences hold for other seeds" not in text
    assert "Thin: other seeds, too" not in text


def test_what_imbalance_goes_with_is_said_for_these_models_only() -> None:
    def said(*correlations: tuple[float, float]) -> str:
        rows = [
            {"pairs": "all pairs", "arm": f"a{n}", "correlation": (low + high) / 2}
            | {"correlation_low": low, "correlation_high": high}
            for n, (low, high) in enumerate(correlations)
        ]
        return imbalance_sentence(pd.DataFrame(rows, columns=list(rows[0]) if rows else ["pairs", "arm"]))

    nan = float("nan")
    assert "no held-out pairs with an imbalance" in said()
    assert "orders all held-out pairs alike" in said((nan, nan))
    assert "none has an interval without 0" in said((-0.1, 0.1))
    both = said((0.1, 0.2), (-0.2, -0.1), (-0.1, 0.1), (nan, nan))
    assert both.startswith("For these very models")
    assert "a0 (all pairs) makes more errors on pairs of larger imbalance; a1 (all pairs) makes fewer" in both
    assert "the other 1." in both
    assert "other" not in said((0.1, 0.2))


def test_nothing_compared_is_said() -> None:
    (said,) = verdict_sentences(pd.DataFrame([row(difference=float("nan"))]), "dpo")
    assert said.startswith("Nothing could be compared with dpo")


def test_a_baseline_beside_the_untrained_model_alone_is_said() -> None:
    said = verdict_sentences(pd.DataFrame([row(arm="base")]), "dpo")
    assert said
    assert not any("trained arms" in sentence for sentence in said)


@pytest.mark.parametrize(
    "said",
    [
        "4 trained arms on SmolLM2-135M-Instruct, up to 3 seeds, compared with dpo",
        "refusal_phrases refusal 87.4 % 2,250 completions of XSTest",
        "not compared: rewards of different kinds (simpo: mean_logp and dpo: log_ratio)",
        "base has no preference accuracy on all pairs",
        "no arm was trained on the random pairs",
        "fast (chosen)",
        "slow_weak",
        "Nothing here replicates the figures of the paper.",
        "f" * 40,
    ],
)
def test_what_must_be_said_is_said(page: str, tables: StudyTables, said: str) -> None:
    assert said in Outline(page).text
    markdown = " ".join(render_study_markdown(tables, FACTS).replace("\\", "").replace("|", " ").split())
    assert said in markdown.replace("\u00a0", " ")


def test_the_page_has_no_holes(page: str, tables: StudyTables) -> None:
    for text in (Outline(page).text, render_study_markdown(tables, FACTS)):
        assert re.findall(r"\b(?:nan|NaN|None|NaT|inf|<NA>|1\.0 of)\b", text) == []


def test_every_point_of_the_grid_is_shown(page: str, tables: StudyTables) -> None:
    figures = {
        name: json.loads(text)
        for name, text in re.findall(r'data-figure="(\w+)">(.*?)</script>', page, re.DOTALL)
    }
    assert sum(len(trace["x"]) for trace in figures["trials"]["data"]) == len(tables.trials) == 16
    assert all(figure["data"] for figure in figures.values())
    arms = {trace["name"] for trace in figures["over_refusal_0"]["data"]}
    assert arms == {"base", "dpo", "bdpo", "simpo", "balanced_half"}
    assert {"overfitting_all_pairs", "imbalance_all_pairs", "difference_0", "ability_0"} <= set(figures)


def test_nothing_is_asked_of_the_network(page: str) -> None:
    outline = Outline(page)
    links = [v for _, attrs in outline.tags for n, v in attrs.items() if n in ("src", "href", "action")]
    assert links
    assert all(link.startswith("#") for link in links)
    ids = [attrs["id"] for _, attrs in outline.tags if "id" in attrs]
    assert len(ids) == len(set(ids))
    assert {link.removeprefix("#") for link in links} <= set(ids)
    assert outline.count("table") == outline.count("caption") > 10


def test_text_from_data_stays_text(page: str, tables: StudyTables) -> None:
    attack = "</script><script>document.title='owned'</script><img src=x>"
    named = {
        f.name: getattr(tables, f.name).replace({"strongreject": attack, "simpo": attack})
        for f in fields(tables)
    }
    hostile = replace(
        StudyTables(**named),
        categories=named["categories"].assign(category=attack),
        trials=named["trials"].assign(point=attack),
    )
    found = Outline(render_study(hostile, FACTS))
    assert found.count("script") == Outline(page).count("script")
    assert found.count("img") == 0
    assert attack in found.text
    markdown = render_study_markdown(hostile, FACTS).split("## Comparison")[1]
    assert "<script" not in markdown.replace("\\<script", "")


def test_a_study_of_little_says_so(tables: StudyTables) -> None:
    one = tables.comparison[(tables.comparison["measure"] == "accuracy")]
    bare = StudyTables(
        *(table.iloc[:0] for table in (tables.trials, tables.trainings)),
        one,
        *(getattr(tables, name).iloc[:0] for name in ("categories", "overfitting", "imbalance", "subsets")),
    )
    text = Outline(render_study(bare, FACTS)).text
    for said in ("No trials were recorded", "no scores of pairs", "no arms that were trained on subsets"):
        assert said in text
    assert "no two measures" in text
    assert "There are no held-out pairs with an imbalance" in text
    assert "# A study" in render_study_markdown(bare, FACTS)


@pytest.mark.parametrize("colour", ARM_COLOURS)
@pytest.mark.parametrize("background", ["#fbfaf8", "#141619"])
def test_colours_of_arms_stand_out_on_light_and_dark(colour: str, background: str) -> None:
    light, dark = sorted((relative_luminance(colour), relative_luminance(background)), reverse=True)
    assert (light + 0.05) / (dark + 0.05) >= 3
