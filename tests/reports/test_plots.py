import numpy as np
import pandas as pd
import pytest

from bdpo_pipeline.reports import plots
from bdpo_pipeline.reports.artifacts import RunArtifacts
from bdpo_pipeline.reports.comprehension_plots import (
    comprehension_figures,
    comprehension_plots,
    missing_comprehension,
)
from bdpo_pipeline.reports.drift_plots import drift_plots
from bdpo_pipeline.reports.objective_words import describe_objective
from bdpo_pipeline.reports.result_plots import heldout_plot, safety_plot
from bdpo_pipeline.reports.training_plots import training_plots

from .conftest import with_objective


def relative_luminance(colour: str) -> float:
    channels = [int(colour[i : i + 2], 16) / 255 for i in (1, 3, 5)]
    linear = [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in channels]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


@pytest.mark.parametrize("colour", [plots.CHOSEN, plots.REJECTED, plots.BASE, plots.ADAPTER])
@pytest.mark.parametrize("background", ["#fbfaf8", "#141619"])
def test_colours_stand_out_on_light_and_dark(colour: str, background: str) -> None:
    # WCAG 2.2, success criterion 1.4.11: graphics need a contrast of 3 to 1.
    light, dark = sorted((relative_luminance(colour), relative_luminance(background)), reverse=True)
    assert (light + 0.05) / (dark + 0.05) >= 3


def test_histograms_count_every_pair(run: RunArtifacts) -> None:
    drawn = comprehension_plots(run.comprehension, run.reference_logps, normalise="token", seed=1)
    for name in ("comprehension_by_side", "comprehension_imbalance", "chosen_share"):
        for trace in drawn[name].figure.data:
            assert sum(trace.y) == (run.comprehension["split"] == "train").sum()


def test_histogram_bins_hold_what_numpy_counts() -> None:
    values = np.random.default_rng(0).normal(size=1000)
    (bars,) = plots.histogram({"x": (values, "#000000")}, "units", bins=10)
    middle = int(np.argmin(np.abs(np.asarray(bars.x))))
    low, high = bars.x[middle] - bars.width / 2, bars.x[middle] + bars.width / 2
    assert bars.y[middle] == pytest.approx(((values >= low) & (values < high)).sum(), abs=2)


def test_equal_values_make_a_histogram() -> None:
    (bars,) = plots.histogram({"x": (np.zeros(5), "#000000")}, "units")
    assert sum(bars.y) == 5


def test_many_pairs_make_no_larger_page(run: RunArtifacts) -> None:
    many = pd.concat([run.comprehension] * 100, ignore_index=True)
    many["pair_id"] = [f"{i:032x}" for i in range(len(many))]
    logps = pd.concat([run.reference_logps] * 100, ignore_index=True).assign(pair_id=many["pair_id"])
    drawn = comprehension_plots(many, logps, normalise="token", seed=1)
    assert sum(len(plot.figure.to_json()) for plot in drawn.values()) < 200_000
    assert "1,500 of 36,800 pairs drawn" in drawn["comprehension_and_length"].explanation


def test_both_log_probabilities_are_explained_with_this_run(run: RunArtifacts) -> None:
    logps = training_plots(run.training_history, describe_objective(run.training_summary))["logps"]
    validation = run.training_history[run.training_history["split"] == "validation"].sort_values("step")
    fell = [
        validation[f"logps/{side}"].iloc[0] - validation[f"logps/{side}"].iloc[-1]
        for side in ("chosen", "rejected")
    ]
    assert (
        f"the chosen response fell by {fell[0]:.1f} nats and the rejected response fell by {fell[1]:.1f} nats"
        in (logps.explanation)
    )
    assert {trace.name for trace in logps.figure.data} == {
        f"{side}, {split}" for side in ("chosen", "rejected") for split in ("train", "validation")
    }


def test_a_history_of_one_point_is_drawn_and_said(run: RunArtifacts) -> None:
    first = run.training_history[run.training_history["step"] == 0]
    drawn = training_plots(first, describe_objective(run.training_summary))
    assert drawn["loss"].summary == "Loss was recorded at fewer than two points."
    assert "no two validation points" in drawn["logps"].explanation


def test_curves_draw_the_recorded_numbers(run: RunArtifacts) -> None:
    loss = training_plots(run.training_history, describe_objective(run.training_summary))["loss"].figure
    train = run.training_history[run.training_history["split"] == "train"]
    (curve,) = [trace for trace in loss.data if trace.name == "loss, train"]
    assert list(curve.x) == list(train["step"])
    assert list(curve.y) == pytest.approx(list(train["loss"]), abs=1e-6)


def test_units_of_rewards_follow_the_objective(any_run: RunArtifacts) -> None:
    drawn = training_plots(any_run.training_history, describe_objective(any_run.training_summary))
    kind = any_run.training_summary["reward"]
    expected = {
        "log_ratio": "nats against the reference",
        "logp": "nats a response",
        "mean_logp": "nats per token",
    }
    for name in ("rewards", "margins"):
        assert expected[kind] in drawn[name].figure.layout.yaxis.title.text
    assert ("At step 0 both rewards are zero" in drawn["accuracies"].explanation) == (kind == "log_ratio")


def test_a_loss_is_compared_with_where_it_starts(run: RunArtifacts) -> None:
    def levels(name: str) -> list[float]:
        objective = with_objective(run, name)
        words = describe_objective(objective.training_summary)
        return [line.y0 for line in training_plots(run.training_history, words)["loss"].figure.layout.shapes]

    assert levels("dpo") == pytest.approx([np.log(2)])
    assert levels("ipo") == pytest.approx([25.0])
    assert levels("simpo") == []


def test_the_drift_of_comprehension_is_drawn_beside_the_reference(run: RunArtifacts) -> None:
    drawn = drift_plots(run.training_history, run.comprehension, "nats per token")
    figure = drawn["imbalance_drift"].figure
    (curve,) = figure.data
    validation = run.training_history[run.training_history["split"] == "validation"]
    assert list(curve.y) == pytest.approx(list(validation["comprehension/imbalance"]))
    before = run.comprehension[run.comprehension["split"] == "validation"]
    assert figure.layout.shapes[0].y0 == pytest.approx(before["imbalance"].abs().mean())
    assert [trace.name for trace in drawn["comprehension_drift"].figure.data] == [
        "chosen, validation",
        "rejected, validation",
    ]
    assert f"{before['chosen_mi'].mean():.3f} and" in drawn["comprehension_drift"].summary
    unfollowed = run.training_history.filter(regex="^(?!comprehension)")
    assert drift_plots(unfollowed, run.comprehension, "nats per token") == {}


def test_a_figure_without_comprehension_says_why(any_run: RunArtifacts) -> None:
    name = any_run.training_summary["objective"]
    figures = comprehension_figures(
        any_run.comprehension, any_run.reference_logps, objective=name, normalise="token", seed=1
    )
    assert len(figures) == 4
    for figure in figures:
        assert figure.to_json()
        said = " ".join(note.text.replace("<br>", " ") for note in figure.layout.annotations)
        reason = f"The objective {name} takes no coefficients"
        assert (reason in said) == (not figure.data) == (name != "bdpo")
    assert (missing_comprehension(any_run.comprehension, name) is None) == (name == "bdpo")


def test_comprehension_of_whole_responses_has_its_own_unit(run: RunArtifacts) -> None:
    drawn = comprehension_plots(run.comprehension, run.reference_logps, normalise="none", seed=1)
    assert "(nats a response)" in drawn["comprehension_by_side"].figure.layout.xaxis.title.text
    assert "per token" not in "".join(plot.summary + plot.explanation for plot in drawn.values())


def test_equal_coefficients_do_not_act_on_the_share(run: RunArtifacts) -> None:
    scaled = run.comprehension.assign(chosen_coefficient=1.3, rejected_coefficient=1.3)
    share = comprehension_plots(scaled, run.reference_logps, normalise="token", seed=1)["chosen_share"]
    assert "not acted upon" in share.explanation


def test_intervals_are_drawn_as_measured(run: RunArtifacts) -> None:
    (points,) = heldout_plot(run.heldout_metrics).figure.data
    assert list(points.x) == list(run.heldout_metrics["accuracy"])
    high = np.asarray(points.x) + np.asarray(points.error_x.array)
    assert list(high) == pytest.approx(list(run.heldout_metrics["accuracy_high"]))
    refusals = safety_plot(run.safety_metrics).figure
    assert [trace.name for trace in refusals.data] == ["base", "adapter"]
    assert list(refusals.layout.yaxis.ticktext)[-1] == "xstest<br>(answer wanted), safe by rubric"


def test_names_from_data_are_escaped(hostile_run: RunArtifacts) -> None:
    ticks = heldout_plot(hostile_run.heldout_metrics).figure.layout.yaxis.ticktext
    assert not any("<img" in tick or "<script" in tick for tick in ticks)
