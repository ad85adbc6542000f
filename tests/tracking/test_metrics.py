import math

import numpy as np
import pandas as pd

from bdpo_pipeline.tracking.metrics import (
    curve_point,
    group_means,
    history_points,
    slug,
    summary_metrics,
    table_metrics,
)


def test_points_carry_the_names_of_trl() -> None:
    assert curve_point("train", {"loss": 0.5, "rewards/margins": 1}) == {
        "train/loss": 0.5,
        "train/rewards/margins": 1.0,
    }
    assert curve_point("validation", {"loss": np.float32(0.5)}) == {"eval/loss": 0.5}


def test_absent_values_and_words_are_no_metrics_but_a_nan_loss_is() -> None:
    point = curve_point("train", {"loss": math.nan, "grad_norm": None, "phase": "warmup", "done": True})
    assert list(point) == ["train/loss"]
    assert math.isnan(point["train/loss"])


def test_a_history_gives_a_point_for_each_row_without_its_empty_cells() -> None:
    history = pd.DataFrame(
        {"step": [1, 1], "split": ["train", "validation"], "loss": [0.7, 0.6], "grad_norm": [2.0, None]}
    )
    assert list(history_points(history)) == [
        ("train", 1, {"train/loss": 0.7, "train/grad_norm": 2.0}),
        ("validation", 1, {"eval/loss": 0.6}),
    ]


def test_a_table_gives_a_metric_for_each_number_in_each_row() -> None:
    table = pd.DataFrame(
        {
            "prompt_set": ["xstest", "xstest"],
            "model": ["base", "adapter"],
            "rate": [0.5, 0.25],
            "p": [None, 0.04],
        }
    )
    assert table_metrics(table, "safety", ("prompt_set", "model")) == {
        "safety/xstest/base/rate": 0.5,
        "safety/xstest/adapter/rate": 0.25,
        "safety/xstest/adapter/p": 0.04,
    }


def test_items_give_the_means_of_their_groups_and_what_is_absent_does_not_count() -> None:
    table = pd.DataFrame(
        {
            "prompt_set": ["XSTest", "XSTest", "XSTest", "pair"],
            "judge": ["phrases", "phrases", "safety", "phrases"],
            "positive": [True, False, True, True],
            "score": pd.array([None, None, 0.75, None], dtype="Float64"),
            "evidence": ["a", "b", "c", "d"],
        }
    )
    assert group_means(table, "safety", ("prompt_set", "judge"), {"positive": "rate", "score": "score"}) == {
        "safety/xstest/phrases/rate": 0.5,
        "safety/xstest/safety/rate": 1.0,
        "safety/xstest/safety/score": 0.75,
        "safety/pair/phrases/rate": 1.0,
    }


def test_a_summary_gives_its_numbers() -> None:
    assert summary_metrics({"steps": 3, "dtype": "float32", "early": False, "none": None}, "summary") == {
        "summary/steps": 3.0
    }


def test_slugs_are_names_that_mlflow_accepts() -> None:
    assert slug("category: Animal Abuse & more") == "category-animal-abuse-more"
    assert slug("one safe response") == "one-safe-response"
