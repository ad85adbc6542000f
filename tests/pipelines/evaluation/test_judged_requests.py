"""What judges are shown of a jailbreak, on labelled answers to jailbreak templates and with a classifier fitted to real labels."""

import gzip
import json
from pathlib import Path

import pandas as pd
import pytest
import yaml

from bdpo_pipeline.io.raw_folder import RawFolder
from bdpo_pipeline.io.tensors import StoredTensors
from bdpo_pipeline.judges.base import Resources
from bdpo_pipeline.judges.labels import read_shipped
from bdpo_pipeline.judges.parameters import JudgingParameters
from bdpo_pipeline.judges.text_classifier import TextClassifierParameters, fit
from bdpo_pipeline.judges.validation import judge_labelled, measure_judges
from bdpo_pipeline.pipelines.evaluation.nodes import judge_generations

ROOT = Path(__file__).parents[3]
RAW = RawFolder(ROOT / "data/01_raw")
JUDGING = JudgingParameters(judges={"safety": {"kind": "safety_classifier"}})
UNTRAINED = StoredTensors({}, {})
PAIRS = 1500


def read_rows(path: str) -> list[dict]:
    with gzip.open(RAW.root / path, "rt", encoding="utf-8") as lines:
        return [json.loads(line) for line in lines]


@pytest.fixture(scope="module")
def classifier() -> StoredTensors:
    """The safety classifier as it is configured, fitted to the first labelled pairs that ship."""
    rows = read_rows("pku-saferlhf-sample/train.jsonl.gz")[:PAIRS]
    answers = [
        (row["prompt"], row[f"response_{i}"], row[f"is_response_{i}_safe"]) for row in rows for i in (0, 1)
    ]
    configured = yaml.safe_load((ROOT / "conf/base/parameters_judges.yml").read_text())["judge_training"]
    return fit(
        *map(list, zip(*answers, strict=True)), TextClassifierParameters(**configured["safety_classifier"])
    )


@pytest.fixture(scope="module")
def generations() -> pd.DataFrame:
    """JailbreakBench's answers to jailbreak templates (JBC), as a model's answers to these prompts; most help."""
    rows = [
        row
        for row in read_rows("jailbreakbench-artifacts/gcg_pair_jbc.jsonl.gz")
        if row["method"] == "JBC" and row["response"] is not None
    ]
    table = pd.DataFrame(rows)[["prompt", "goal", "response", "jailbroken"]]
    assert len(table) == 100
    assert all(goal != prompt for goal, prompt in zip(table["goal"], table["prompt"], strict=True))
    ids = [f"jbc/{row['index']:04}" for row in rows]
    return table.assign(prompt_id=ids, prompt_set="jbc", desired="refuse", model="base", finished=True)


@pytest.fixture(scope="module")
def validation(classifier: StoredTensors) -> tuple[pd.DataFrame, pd.DataFrame]:
    resources = Resources({"safety_classifier": classifier})
    none = pd.DataFrame(columns=["kind", "response_id", "score"])
    judged = judge_labelled(read_shipped(RAW), JUDGING.build(resources), {"safety": "all"}, none, seed=1)
    return judged, measure_judges(judged, JUDGING.settings(resources))


def judge(generations: pd.DataFrame, validation: pd.DataFrame, classifier: StoredTensors) -> pd.DataFrame:
    return judge_generations(generations, validation, UNTRAINED, classifier, RAW, JUDGING, compute=None)


def test_answers_to_jailbreaks_are_judged_as_the_labelled_ones_that_measure_the_judge(
    generations: pd.DataFrame, validation: tuple[pd.DataFrame, pd.DataFrame], classifier: StoredTensors
) -> None:
    judged, measured = validation
    of_jbc = judged[judged["response_id"].str.startswith("jailbreakbench/JBC/")]
    expected = of_jbc.set_index(of_jbc["response_id"].str.split("/").str[-1].astype(int))["score"]
    judgements = judge(generations, measured, classifier)
    places = judgements["prompt_id"].str.split("/").str[1].astype(int)
    assert list(judgements["score"]) == pytest.approx(list(expected[places]))
    assert judgements["judge_accuracy"].notna().all()


def test_a_template_around_the_request_would_mislead_the_judge(
    generations: pd.DataFrame, validation: tuple[pd.DataFrame, pd.DataFrame], classifier: StoredTensors
) -> None:
    def accuracy(table: pd.DataFrame) -> float:
        safe = judge(table, validation[1], classifier)["positive"]
        return float((safe.astype(bool).to_numpy() == ~table["jailbroken"].to_numpy()).mean())

    assert accuracy(generations) >= 0.7
    assert accuracy(generations.assign(goal=None)) <= accuracy(generations) - 0.15


def test_a_plain_request_has_no_goal_and_is_shown_itself(
    generations: pd.DataFrame, validation: tuple[pd.DataFrame, pd.DataFrame], classifier: StoredTensors
) -> None:
    plain = generations.assign(prompt=generations["goal"], goal=None)
    mixed = pd.concat([generations, plain.assign(prompt_set="plain")], ignore_index=True)
    scores = judge(mixed, validation[1], classifier)["score"]
    assert list(scores[:100]) == list(scores[100:])
