import math
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from bdpo_pipeline.io.raw_folder import RawFolder
from bdpo_pipeline.io.schemas import get_schema
from bdpo_pipeline.io.tables import StoredTable, TableWriter
from bdpo_pipeline.io.tensors import StoredTensors
from bdpo_pipeline.judges.parameters import JudgingParameters
from bdpo_pipeline.pipelines.evaluation.nodes import judge_generations, measure_heldout, summarise_judgements
from bdpo_pipeline.pipelines.evaluation.parameters import HeldoutMetricsParameters
from bdpo_pipeline.statistics import wilson_interval

MEASURE = HeldoutMetricsParameters(resamples=200, minimum_category_pairs=3)
UNTRAINED = StoredTensors({}, {})
VALIDATED = pd.DataFrame(
    {
        "judge": ["phrases", "phrases"],
        "measures": "refusal",
        "label_set": ["jailbreakbench", "xstest"],
        "how": "no response seen",
        "responses": [737, 804],
        "accuracy": [0.8, 0.9],
        "settings": '{"first_characters": 200, "kind": "refusal_phrases"}',
    }
)


def make_pairs(
    labels: list[tuple[object, object]], categories: list[list[str]], prompts: list[str]
) -> StoredTable:
    with TableWriter(get_schema("pairs")) as table:
        for i, ((chosen, rejected), kinds, prompt) in enumerate(
            zip(labels, categories, prompts, strict=True)
        ):
            table.append(
                {
                    "pair_id": f"p{i}",
                    "prompt": [{"role": "user", "content": prompt}],
                    "chosen": "No.",
                    "rejected": "Yes.",
                    "chosen_is_safe": chosen,
                    "rejected_is_safe": rejected,
                    "chosen_severity": None,
                    "rejected_severity": None,
                    "harm_categories": kinds,
                    "source": "test",
                    "source_row": i + 1,
                    "split": "heldout",
                }
            )
        return table.finish()


def make_scores(margins: list[float]) -> pd.DataFrame:
    return pd.DataFrame(
        {
            "pair_id": [f"p{i}" for i in range(len(margins))],
            "margin": margins,
            "correct": [margin > 0 for margin in margins],
        }
    )


def test_slices_follow_the_labels_and_unknown_labels_make_no_slice() -> None:
    labels = [
        (True, False),
        (True, False),
        (False, True),
        (True, True),
        (False, False),
        (None, True),
        (None, None),
    ]
    categories = [["Violence"], ["Violence"], ["Violence", "Drugs"], [], ["Drugs"], [], []]
    pairs = make_pairs(labels, categories, [f"prompt {i}" for i in range(7)])
    metrics = measure_heldout(make_scores([1, 1, -1, 1, -1, 1, 1]), pairs, MEASURE, 1).set_index("slice")
    assert dict(metrics["pairs"]) == {
        "all": 7,
        "one safe response": 3,
        "both safe": 1,
        "category: Violence": 3,
    }
    assert metrics.loc["one safe response", "accuracy"] == pytest.approx(2 / 3)
    low, high = wilson_interval(2, 3)[1:]
    assert tuple(metrics.loc["one safe response", ["accuracy_low", "accuracy_high"]]) == pytest.approx(
        (low, high)
    )
    assert metrics.loc["all", "margin"] == pytest.approx(3 / 7)
    assert math.isnan(metrics.loc["both safe", "margin_low"])


def test_prompts_are_counted_not_pairs() -> None:
    rng = np.random.default_rng(0)
    shared = np.repeat(rng.normal(0.3, 1, 20), 5)
    pairs = make_pairs([(True, False)] * 100, [[]] * 100, [f"prompt {i // 5}" for i in range(100)])
    alone = make_pairs([(True, False)] * 100, [[]] * 100, [f"prompt {i}" for i in range(100)])
    clustered = measure_heldout(make_scores(list(shared)), pairs, MEASURE, 1).iloc[0]
    plain = measure_heldout(make_scores(list(shared)), alone, MEASURE, 1).iloc[0]
    assert (clustered["prompts"], clustered["pairs"]) == (20, 100)
    assert clustered["margin"] == plain["margin"]
    assert clustered["margin_high"] - clustered["margin_low"] > 1.5 * (
        plain["margin_high"] - plain["margin_low"]
    )


def test_scores_of_other_pairs_are_refused() -> None:
    pairs = make_pairs([(True, False)], [[]], ["a"])
    with pytest.raises(ValueError, match=r"'p1'.*score the held-out pairs of this version again"):
        measure_heldout(make_scores([1.0, 2.0]), pairs, MEASURE, 1)
    with pytest.raises(ValueError, match="no held-out pair was scored"):
        measure_heldout(make_scores([]), pairs, MEASURE, 1)


def test_an_adapter_without_preference_is_all_ties() -> None:
    pairs = make_pairs([(True, False)] * 3, [[]] * 3, ["a", "b", "c"])
    metrics = measure_heldout(make_scores([0.0, 0.0, 0.0]), pairs, MEASURE, 1).iloc[0]
    assert (metrics["ties"], metrics["accuracy"], metrics["margin"]) == (3, 0.0, 0.0)


def test_partly_scored_pairs_are_said(caplog: pytest.LogCaptureFixture) -> None:
    pairs = make_pairs([(True, False)] * 3, [[]] * 3, ["a", "b", "c"])
    metrics = measure_heldout(make_scores([1.0, 2.0]), pairs, MEASURE, 1)
    assert metrics.loc[0, "pairs"] == 2
    assert "2 of 3 held-out pairs were scored" in caplog.text


def make_generations(refusals: dict[str, list[bool]], desired: str = "refuse") -> pd.DataFrame:
    answers = {True: "I cannot help with that.", False: "Sure, here is how to do it."}
    return pd.DataFrame(
        [
            {
                "prompt_id": f"set/{i:04}",
                "prompt_set": "set",
                "prompt": "How?",
                "goal": None,
                "category": None,
                "desired": desired,
                "model": model,
                "response": answers[refused],
                "finished": True,
            }
            for model, outcomes in refusals.items()
            for i, refused in enumerate(outcomes)
        ]
    )


def judge(generations: pd.DataFrame, validation: pd.DataFrame = VALIDATED, **options: object) -> pd.DataFrame:
    parameters = JudgingParameters(judges={"phrases": {"kind": "refusal_phrases", **options}})
    return judge_generations(
        generations, validation, UNTRAINED, UNTRAINED, RawFolder(Path()), parameters, compute=None
    )


def test_adapter_is_compared_with_base_prompt_by_prompt() -> None:
    base, adapter = [True] * 2 + [False] * 8, [False] + [True] * 7 + [False] * 2
    generations = make_generations({"base": base, "adapter": adapter})
    metrics = summarise_judgements(judge(generations), generations).set_index("model")
    assert dict(metrics["positive"]) == {"base": 2, "adapter": 7}
    assert (metrics.loc["adapter", "gained"], metrics.loc["adapter", "lost"]) == (6, 1)
    assert metrics.loc["adapter", "mcnemar_p"] == pytest.approx(2 * (1 + 7) / 2**7)
    assert pd.isna(metrics.loc["base", "mcnemar_p"])
    assert pd.isna(metrics.loc["base", "gained"])
    assert metrics.loc["adapter", "low"] == pytest.approx(wilson_interval(7, 10).low)


def test_judge_and_its_measured_accuracy_stand_beside_every_score() -> None:
    generations = make_generations({"base": [True], "adapter": [False]})
    judgements = judge(generations)
    assert set(judgements["evidence"]) == {"i cannot", ""}
    metrics = summarise_judgements(judgements, generations)
    assert (metrics["judge"] == "phrases").all()
    assert (metrics["measures"] == "refusal").all()
    assert (metrics["judge_accuracy"] == 0.9).all()
    assert (metrics["judge_measured_on"] == "804 xstest, no response seen").all()
    unmeasured = summarise_judgements(judge(generations, VALIDATED.iloc[:0]), generations)
    assert unmeasured["judge_accuracy"].isna().all()
    assert (unmeasured["judge_measured_on"] == "not measured").all()


def test_a_prompt_without_a_verdict_on_one_model_counts_for_neither() -> None:
    generations = make_generations({"base": [True, True, False], "adapter": [True, False, False]})
    judgements = judge(generations)
    missing = (judgements["model"] == "adapter") & (judgements["prompt_id"] == "set/0001")
    judgements.loc[missing, "positive"] = pd.NA
    metrics = summarise_judgements(judgements, generations).set_index("model")
    assert dict(metrics["prompts"]) == {"base": 2, "adapter": 2}
    assert dict(metrics["positive"]) == {"base": 1, "adapter": 1}
    assert dict(metrics["without_verdict"]) == {"base": 1, "adapter": 1}
    assert dict(metrics["unjudged"]) == {"base": 0, "adapter": 1}
    assert (metrics.loc["adapter", "gained"], metrics.loc["adapter", "lost"]) == (0, 0)


def test_an_adapter_that_says_nothing_neither_refuses_nor_complies() -> None:
    generations = make_generations({"base": [True, False], "adapter": [False, False]}, desired="comply")
    generations.loc[generations["model"] == "adapter", "response"] = ["", " \n..."]
    judgements = judge(generations)
    silent = judgements[judgements["model"] == "adapter"]
    assert silent["positive"].isna().all()
    assert set(silent["evidence"]) == {"empty answer"}
    metrics = summarise_judgements(judgements, generations).set_index("model")
    assert list(metrics["prompts"]) == [0, 0]
    assert metrics["rate"].isna().all()
    assert dict(metrics["unjudged"]) == {"base": 0, "adapter": 2}
    assert dict(metrics["without_verdict"]) == {"base": 2, "adapter": 2}


def test_answers_that_were_cut_off_are_counted_by_set_and_model() -> None:
    one = make_generations({"base": [True, False, False], "adapter": [False, True, True]})
    other = one.assign(prompt_set="other", finished=False)
    one["finished"] = [True, False, True, False, False, True]
    generations = pd.concat([one, other], ignore_index=True)
    metrics = summarise_judgements(judge(generations), generations)
    found = metrics.set_index(["prompt_set", "model"])["unfinished"].to_dict()
    assert found == {("set", "base"): 1, ("set", "adapter"): 2, ("other", "base"): 3, ("other", "adapter"): 3}
    assert set(metrics["prompts"]) == {3}


def test_an_accuracy_that_was_measured_with_other_settings_is_not_stated(
    caplog: pytest.LogCaptureFixture,
) -> None:
    judgements = judge(make_generations({"base": [True], "adapter": [False]}), first_characters=60)
    assert judgements["judge_accuracy"].isna().all()
    assert set(judgements["judge_measured_on"]) == {"not measured with these settings"}
    assert "the judge phrases is not known" in caplog.text
    assert "Run the pipeline `judges`" in caplog.text


def test_sets_and_desired_behaviour_are_kept_apart() -> None:
    harmful = make_generations({"base": [True, False], "adapter": [True, True]})
    harmless = make_generations({"base": [False], "adapter": [True]}, desired="comply").assign(
        prompt_set="xstest"
    )
    generations = pd.concat([harmful, harmless])
    metrics = summarise_judgements(judge(generations), generations)
    rates = {(row.prompt_set, row.desired, row.model): row.rate for row in metrics.itertuples()}
    assert rates == {
        ("set", "refuse", "base"): 0.5,
        ("set", "refuse", "adapter"): 1.0,
        ("xstest", "comply", "base"): 0.0,
        ("xstest", "comply", "adapter"): 1.0,
    }


def test_unequal_prompts_are_refused() -> None:
    generations = make_generations({"base": [True, True], "adapter": [True]})
    judgements = judge(generations)
    with pytest.raises(ValueError, match=r"did not answer the same prompts.*set/0001"):
        summarise_judgements(judgements, generations)
    with pytest.raises(ValueError, match="all of base"):
        summarise_judgements(judgements[judgements["model"] == "adapter"], generations)
    with pytest.raises(ValueError, match="judged twice"):
        summarise_judgements(pd.concat([judgements, judgements]), generations)
