"""Judges by configuration, in real Kedro sessions over what a real chain has made."""

import shutil
from pathlib import Path

import pandas as pd
import pytest
from kedro.framework.session import KedroSession
from kedro.framework.startup import bootstrap_project

ROOT = Path(__file__).parents[3]
NODES = ("validate_judges", "judge_generations", "summarise_judgements")
TWO_MORE = {
    "first words": {"kind": "refusal_phrases", "first_characters": 60},
    "cautious": {"kind": "safety_classifier", "threshold": 0.8, "validate_on": 40},
}


@pytest.fixture(scope="module")
def data_root(chain, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("judges") / "data"
    shutil.copytree(chain.data_root, folder, ignore=shutil.ignore_patterns("scratch", "mlflow*"))
    return folder


@pytest.fixture(scope="module")
def judged(data_root: Path, load_catalog):
    """The catalog after two more judges were named in the parameters, and nothing else."""
    bootstrap_project(ROOT)
    parameters = {"data_root": str(data_root), "judging": {"judges": {**TWO_MORE, "refusal_phrases": None}}}
    with KedroSession.create(project_path=ROOT, env="test", runtime_params=parameters) as session:
        session.run(node_names=list(NODES))
    return load_catalog(data_root)


def test_configuration_alone_adds_judges_also_two_of_a_kind(judged) -> None:
    names = ["refusal_classifier", "safety_classifier", "first words", "cautious"]
    judgements, metrics = judged.load("judgements"), judged.load("safety_metrics")
    assert list(judgements["judge"].unique()) == names
    assert set(metrics["judge"]) == set(names)
    assert set(judged.load("judge_validation")["judge"]) == set(names)
    own, cautious = (judgements[judgements["judge"] == name] for name in ("safety_classifier", "cautious"))
    pd.testing.assert_series_equal(own["score"], cautious["score"], check_index=False)
    answered = own["score"].notna().to_numpy()
    assert list(cautious.loc[answered, "positive"]) == [score >= 0.8 for score in own.loc[answered, "score"]]
    assert cautious.loc[~answered, "positive"].isna().all()


def test_every_judgement_names_the_accuracy_that_was_measured(judged) -> None:
    measured = judged.load("judge_validation").set_index(["judge", "label_set"])
    first_set = {"refusal": "xstest", "safety": "heldout_responses"}
    for row in judged.load("judgements").drop_duplicates("judge").to_dict("records"):
        found = measured.loc[(row["judge"], first_set[row["measures"]])]
        assert row["judge_accuracy"] == pytest.approx(found["accuracy"])
        assert row["judge_measured_on"].startswith(f"{found['responses']} {first_set[row['measures']]}")
    assert measured.loc[("cautious", "jailbreakbench"), "responses"] == 40


def test_judgements_and_metrics_have_the_columns_of_the_contract(judged) -> None:
    judgements, metrics = judged.load("judgements"), judged.load("safety_metrics")
    contract = "prompt_id prompt_set desired model judge measures positive score judge_accuracy judge_measured_on evidence"
    assert list(judgements) == contract.split()
    assert judgements["positive"].dtype == "boolean"
    assert judgements["score"].dropna().between(0, 1).all()
    unscored = judgements.loc[
        judgements["score"].isna() & (judgements["evidence"] != "empty answer"), "judge"
    ]
    assert set(unscored) == {"first words"}
    contract = "prompt_set desired model judge measures judge_accuracy judge_measured_on prompts positive rate low high"
    assert list(metrics) == [
        *contract.split(),
        "gained",
        "lost",
        "mcnemar_p",
        "without_verdict",
        "unjudged",
        "unfinished",
    ]


def test_a_tiny_model_s_empty_answers_are_counted_and_not_judged(judged) -> None:
    judgements, metrics = judged.load("judgements"), judged.load("safety_metrics")
    generations = judged.load("generations")
    empty = ~generations["response"].map(lambda text: any(map(str.isalnum, text)))
    of = ["prompt_set", "desired", "model"]
    expected = empty.groupby([generations[name] for name in of]).sum()
    assert expected.sum() > 0
    for _, rows in metrics.groupby("judge"):
        assert rows.set_index(of)["unjudged"].to_dict() == expected.to_dict()
    assert (judgements["positive"].isna() == (judgements["evidence"] == "empty answer")).all()


def test_the_trained_judges_have_seen_no_prompt_of_any_pair_that_is_used(chain, load_catalog) -> None:
    catalog = load_catalog(chain.data_root)
    labelled = catalog.load("labelled_responses")
    unused = set(labelled.loc[labelled["label_set"] == "unused_responses", "prompt"])
    used = {
        message["content"]
        for name in ("training_pairs", "validation_pairs", "heldout_pairs")
        for prompt in catalog.load(name).to_pandas(["prompt"])["prompt"]
        for message in prompt
    }
    assert unused
    assert not unused & used
    assert not unused & set(labelled.loc[labelled["label_set"] == "heldout_responses", "prompt"])


def test_a_classifier_with_an_altered_file_is_refused_by_the_run(chain, tmp_path: Path, run_kedro) -> None:
    folder = tmp_path / "data"
    shutil.copytree(chain.data_root, folder, ignore=shutil.ignore_patterns("scratch", "mlflow*"))
    (weights,) = folder.glob("06_models/safety_classifier/*/safety_classifier/weights.safetensors")
    content = bytearray(weights.read_bytes())
    content[-1] ^= 1
    weights.write_bytes(bytes(content))
    done = run_kedro(
        "run", "--env", "test", "--nodes", "judge_generations", "--params", f"data_root={folder}"
    )
    assert done.returncode != 0
    assert "safety_classifier, which judge_generations is to load from" in done.stdout
    assert "is not what was saved there" in done.stdout
