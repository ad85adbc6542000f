from dataclasses import replace

import pytest

from bdpo_pipeline.reports.ability import ability_sentences, ability_table
from bdpo_pipeline.reports.artifacts import RunArtifacts
from bdpo_pipeline.reports.formatting import percent
from bdpo_pipeline.reports.model_card import render_model_card
from bdpo_pipeline.reports.page import render_report
from bdpo_pipeline.reports.result_plots import ability_plot


def test_the_table_has_every_row_and_the_sentences_the_whole_tasks(run: RunArtifacts) -> None:
    metrics = run.ability_metrics
    table = ability_table(metrics)
    assert [(row[0], row[2]) for row in table.rows] == list(
        zip(metrics["task"], metrics["model"], strict=True)
    )
    sentences = ability_sentences(metrics)
    assert len(sentences) == 2
    whole = metrics[(metrics["task"] == "hhh") & (metrics["measure"] == "accuracy")].set_index("model")
    for model in ("base", "adapter"):
        assert percent(whole.loc[model, "value"]) in sentences[0]
    assert "no change shown" in sentences[0] or "a change" in sentences[0]


@pytest.mark.parametrize(("low", "high", "words"), [(0.01, 0.2, "a change"), (-0.1, 0.2, "no change shown")])
def test_a_change_is_claimed_only_where_the_interval_excludes_zero(
    run: RunArtifacts, low: float, high: float, words: str
) -> None:
    metrics = run.ability_metrics.assign(difference_low=low, difference_high=high)
    assert all(words in sentence for sentence in ability_sentences(metrics))


def test_the_plot_shows_accuracies_of_both_models(run: RunArtifacts) -> None:
    plot = ability_plot(run.ability_metrics)
    assert plot is not None
    base, adapter = plot.figure.data
    accuracies = run.ability_metrics[run.ability_metrics["measure"].str.startswith("accuracy")]
    assert len(base.x) == len(adapter.x) == len(accuracies) // 2
    assert list(adapter.x) == list(accuracies[accuracies["model"] == "adapter"]["value"])


def test_a_run_without_it_says_so(run: RunArtifacts) -> None:
    without = replace(run, ability_metrics=run.ability_metrics.iloc[:0])
    page, card = render_report(without, "Report", 1, 1), render_model_card(without)
    assert "Not measured in this run" in page
    assert "General ability was not measured in this run" in card
    assert "General ability was not measured" not in render_model_card(run)
