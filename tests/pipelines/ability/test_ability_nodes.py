import numpy as np
import pandas as pd
import pytest

from bdpo_pipeline.benchmarks.ability_sets import AbilityParameters
from bdpo_pipeline.pipelines.ability.nodes import summarise_ability
from bdpo_pipeline.statistics import mcnemar_exact, wilson_interval

PARAMETERS = AbilityParameters(items={}, choices={}, questions={}, responses={}, batch_size=1, resamples=400)


def results(
    task: str, measure: str, sets: list[str], prompts: list[str], **scores: list[float]
) -> pd.DataFrame:
    return pd.DataFrame(
        [
            {
                "model": model,
                "task": task,
                "item_id": f"{sets[i]}/{i:04}",
                "prompt_key": prompts[i],
                "measure": measure,
                "score": float(score),
                "detail": "",
            }
            for model, values in scores.items()
            for i, score in enumerate(values)
        ]
    )


def summarise(table: pd.DataFrame) -> pd.DataFrame:
    return summarise_ability(table, PARAMETERS, 7).set_index(["task", "measure", "model"])


def test_accuracies_are_counted_and_compared_item_by_item():
    base, adapter = [1, 1, 0, 0, 1, 0], [1, 0, 1, 1, 1, 0]
    table = results("t", "accuracy", ["t"] * 6, list("abcdef"), base=base, adapter=adapter)
    rows = summarise(table)
    assert list(rows.index) == [("t", "accuracy", "base"), ("t", "accuracy", "adapter")]
    before, after = rows.iloc[0], rows.iloc[1]
    assert tuple(before[["value", "low", "high"]]) == pytest.approx(wilson_interval(3, 6))
    assert (before["items"], after["value"]) == (6, pytest.approx(4 / 6))
    assert after["difference"] == pytest.approx(1 / 6)
    assert after["difference_low"] < 1 / 6 < after["difference_high"]
    assert (after["gained"], after["lost"]) == (2, 1)
    assert after["mcnemar_p"] == mcnemar_exact(2, 1)
    assert pd.isna(before["gained"])
    assert pd.isna(before["difference"])


def test_a_task_of_several_sets_gets_a_row_for_all_and_each():
    table = results("t", "accuracy", ["t/x", "t/x", "t/y"], list("abc"), base=[1, 1, 0], adapter=[1, 1, 0])
    rows = summarise(table)
    assert dict(rows.xs("base", level="model")["value"].droplevel("measure")) == {
        "t": pytest.approx(2 / 3),
        "t/x": 1.0,
        "t/y": 0.0,
    }


def test_items_of_one_conversation_are_drawn_together():
    rng = np.random.default_rng(0)
    shared = np.repeat(rng.normal(2.0, 0.5, 20), 5)
    moved = shared + np.repeat(rng.normal(0.1, 0.2, 20), 5)
    names = ["t"] * 100
    alone, together = (
        summarise(results("t", "nats_per_token", names, prompts, base=list(shared), adapter=list(moved)))
        for prompts in ([str(i) for i in range(100)], [str(i // 5) for i in range(100)])
    )
    for low, high in (("low", "high"), ("difference_low", "difference_high")):
        wide, narrow = (table.iloc[1][high] - table.iloc[1][low] for table in (together, alone))
        assert wide > 1.5 * narrow
    assert together.iloc[1]["difference"] == pytest.approx(float((moved - shared).mean()))
    assert pd.isna(together.iloc[1]["mcnemar_p"])


def test_what_only_the_adapter_has_is_not_compared():
    rows = summarise(results("t", "kl_nats_per_token", ["t"] * 3, list("abc"), adapter=[0.1, 0.2, 0.3]))
    assert len(rows) == 1
    assert rows.iloc[0]["value"] == pytest.approx(0.2)
    assert pd.isna(rows.iloc[0]["difference"])


def test_models_measured_on_other_items_are_refused():
    table = results("t", "accuracy", ["t"] * 3, list("abc"), base=[1, 0, 1], adapter=[1, 0, 1])
    with pytest.raises(ValueError, match="not measured on the same items \\(first: 't/0002'\\)"):
        summarise(table.iloc[:-1])


def test_nothing_measured_is_an_empty_table():
    table = results("t", "accuracy", ["t"], ["a"], base=[1], adapter=[1]).iloc[:0]
    assert summarise(table).empty
