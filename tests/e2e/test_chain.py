"""The whole chain as a user runs it, in the test environment."""

import json
import math
import subprocess
import sys

import pytest

PEFT_ALONE = """
import sys
from peft import PeftModel
from transformers import AutoModelForCausalLM, AutoTokenizer
base, adapter = sys.argv[1:]
model = PeftModel.from_pretrained(AutoModelForCausalLM.from_pretrained(base), adapter)
tokenizer = AutoTokenizer.from_pretrained(base)
ask = [{"role": "user", "content": "hi"}]
ids = tokenizer.apply_chat_template(ask, add_generation_prompt=True, return_tensors="pt", return_dict=True)
new = model.generate(**ids, max_new_tokens=5, do_sample=False)[0, ids["input_ids"].shape[1]:]
assert not any(name.startswith("bdpo_pipeline") for name in sys.modules)
print(len(new))
"""


@pytest.fixture(scope="module")
def catalog(chain, load_catalog):
    return load_catalog(chain.data_root)


def test_adapter_loads_in_plain_peft_and_generates(catalog):
    arguments = [catalog.load("base_model")["path"], str(catalog.load("adapter"))]
    done = subprocess.run(
        [sys.executable, "-c", PEFT_ALONE, *arguments], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    assert 1 <= int(done.stdout) <= 5


def test_loss_at_step_0_is_log_two(catalog):
    summary = catalog.load("training_summary")
    assert summary["objective"] == "bdpo"
    assert summary["step_0_loss"] == pytest.approx(math.log(2), abs=1e-5)
    history = catalog.load("training_history")
    assert history.loc[0, "loss"] == summary["step_0_loss"]


def test_every_row_read_is_used_quarantined_or_dropped(catalog):
    summary = catalog.load("ingestion_summary")
    read = sum(source["rows_read"] for source in summary)
    quarantined = catalog.load("quarantined_rows").num_rows
    undecided = sum(source["no_preference"] for source in summary)
    dropped = catalog.load("dropped_pairs").num_rows
    used = sum(catalog.load(f"{split}_pairs").num_rows for split in ("training", "validation", "heldout"))
    assert read == used + quarantined + undecided + dropped
    assert used == len(catalog.load("tokenised_pairs"))


def test_no_prompt_stands_in_two_splits(catalog):
    prompts = {}
    for split in ("training", "validation", "heldout"):
        table = catalog.load(f"{split}_pairs").to_pandas(["prompt"])
        prompts[split] = {json.dumps([dict(turn) for turn in prompt]) for prompt in table["prompt"]}
    assert all(prompts.values())
    assert len(set.union(*prompts.values())) == sum(map(len, prompts.values()))


def test_both_models_answered_every_chosen_prompt(catalog):
    generations = catalog.load("generations")
    assert generations.groupby(["prompt_set", "model"]).size().to_dict() == {
        ("strongreject", "adapter"): 4,
        ("strongreject", "base"): 4,
        ("xstest", "adapter"): 6,
        ("xstest", "base"): 6,
    }
    assert not generations.duplicated(["prompt_id", "model"]).any()


def test_scratch_keeps_no_checkpoint(chain):
    assert (chain.data_root / "scratch").is_dir()
    assert not list((chain.data_root / "scratch").glob("*/checkpoint-*"))


def test_again_no_forward_pass_and_one_pair_more_costs_one_pair(run_pipeline, load_catalog, tmp_path):
    data_root = tmp_path / "data"
    names = ("base_model", "ingestion", "filtering", "reference")
    first = {
        "name": "pairs",
        "path": "pku-saferlhf-safety-pairs/pairs.jsonl.gz",
        "format": "auto",
        "split": "train",
        "licence": "CC-BY-NC-4.0",
        "chosen_is_safe": True,
        "rejected_is_safe": False,
        "max_rows": 60,
    }
    new = tmp_path / "new.jsonl"
    row = {
        "prompt": "Tell me of the weather on Venus?",
        "chosen": "It is hot.",
        "rejected": "It rains lead, so go.",
    }
    new.write_text(json.dumps(row) + "\n")
    second = {**first, "name": "new", "path": str(new)}
    filtering = {
        "train": {"max_pairs": None, "unsafe_query_share": None},
        "validation": {"unsafe_query_share": None},
    }

    def run(*sources):
        run_pipeline(data_root, *names, ingestion={"sources": list(sources)}, filtering=filtering)
        return load_catalog(data_root).load("reference_report")

    once, twice, more, again = run(first), run(first), run(first, second), run(first, second)
    assert once["forward_passes"] > 0
    assert once["conditional"]["computed"] == once["conditional"]["requested"] > 20
    assert twice["forward_passes"] == twice["conditional"]["computed"] == twice["marginal"]["computed"] == 0
    assert more["pairs"] == once["pairs"] + 1
    assert (more["conditional"]["computed"], more["marginal"]["computed"]) == (2, 2)
    assert again["forward_passes"] == 0


@pytest.mark.parametrize("environment", ["base", "gpu", "test"])
def test_parameters_of_every_environment_are_valid(environment):
    from pathlib import Path

    from kedro.framework.project import pipelines
    from kedro.framework.session import KedroSession
    from kedro.framework.startup import bootstrap_project

    root = Path(__file__).parents[2]
    bootstrap_project(root)
    with KedroSession.create(project_path=root, env=environment) as session:
        catalog = session.load_context().catalog
        inputs = {name for name in pipelines["__default__"].inputs() if name.startswith("params:")}
        values = {name: catalog.load(name) for name in inputs}
    groups = {name for name, value in values.items() if hasattr(value, "model_dump")}
    assert {"params:training", "params:compute", "params:filtering", "params:ingestion"} <= groups
