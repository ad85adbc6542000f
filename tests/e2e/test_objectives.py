"""Every objective trains the test model as a user would have it do, and only what it needs is computed for it."""

import re
import shutil
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from subprocess import CompletedProcess

import numpy as np
import pandas as pd
import pytest
import torch
from safetensors.torch import load_file

from bdpo_pipeline.objectives import objective_names

from ..objectives.formulas import FORMULAS, Pairs

# Pairs ordered by helpfulness, so that there are some for safedpo and constrained_dpo to swap and to drop; few and short ones.
DATA = ",".join(
    [
        "ingestion.preference=helpful",
        "filtering.unsafe_chosen=keep",
        "filtering.length.max_response_tokens=300",
        "filtering.train.max_pairs=12",
        "filtering.train.unsafe_query_share=0.9",
        "filtering.validation.max_pairs=4",
        "filtering.validation.unsafe_query_share=1.0",
    ]
)
SEEN = 16  # training and validation pairs
# All training pairs in each step: the loss of step 0 is then known from the tables.
TRAINING = "training.pairs_per_step=12,training.epochs=3,compute.threads=1"
# Of the 16 preferred responses 2 are unsafe; with every pair in the safer order, 1.
OPTIONS = {"constrained_dpo": ",objective.options.cost_limit=0.1"}
# Each choice of each option of comprehension once; a start of Python for each of them alone would take minutes.
VARIANTS = [
    "objective.options.placement=gradient,comprehension.setting=bw_only,comprehension.weighting=softmax",
    "comprehension.marginal=bos,comprehension.scale=l2",
    "comprehension.marginal=contrastive,comprehension.contrastive_queries=3,comprehension.setting=sf_only",
    "comprehension.setting=none",
    "comprehension.control=shuffled,comprehension.normalise=none",
    "comprehension.control=length",
    "comprehension.control=reversed,comprehension.online=true",
]
CASES = [f"objective.name={name}{OPTIONS.get(name, '')}" for name in objective_names()]
CASES += [f"objective.name=bdpo,{variant}" for variant in VARIANTS]
WITHOUT_REFERENCE = {"simpo", "cpo", "orpo"}
# Contexts that stand for no query, for each response of a training or validation pair; else one.
CONTEXTS = {"marginal=contrastive": 3, "setting=none": 0, "control=length": 0}
# These go on to the report: one of each kind of reward, and coefficients without comprehension.
REPORTED = ("cpo", "simpo", "safedpo", "control=length")

Run = tuple[Path, CompletedProcess[str]]


@pytest.fixture(scope="module")
def prepared(tmp_path_factory, run_kedro) -> Path:
    """A data_root with everything that is the same for all objectives, and the tables of `bdpo`."""
    data_root = tmp_path_factory.mktemp("prepared")
    pipelines = "base_model,ingestion,filtering,judges,reference"
    done = run_kedro(
        "run", "--env", "test", "--pipelines", pipelines, "--params", f"data_root={data_root},{DATA}"
    )
    assert done.returncode == 0, done.stdout[-8000:]
    return data_root


@pytest.fixture(scope="module")
def trained(request, tmp_path_factory, run_kedro, prepared) -> Iterator[Callable[[str], Run]]:
    """`trained(case)` gives data_root and process of the case's run. Most of a run is Python starting, so two go at a time."""

    def train(case: str) -> Run:
        data_root = tmp_path_factory.mktemp("trained") / "data"
        shutil.copytree(prepared, data_root)
        pipelines = "reference,training" + (",evaluation,ability,reporting" if is_reported(case) else "")
        parameters = f"data_root={data_root},{TRAINING},{case}"
        return data_root, run_kedro("run", "--env", "test", "--pipelines", pipelines, "--params", parameters)

    selected = [item for item in request.session.items if item.fspath == request.fspath]
    pool = ThreadPoolExecutor(2)
    runs = {
        item.callspec.params["case"]: pool.submit(train, item.callspec.params["case"]) for item in selected
    }
    yield lambda case: runs[case].result()
    pool.shutdown(cancel_futures=True)


@pytest.mark.parametrize("case", CASES)
def test_objective_trains_end_to_end(case: str, trained, prepared, load_catalog) -> None:
    data_root, done = trained(case)
    assert done.returncode == 0, done.stdout[-8000:]
    before, catalog = load_catalog(prepared), load_catalog(data_root)
    summary, history = catalog.load("training_summary"), catalog.load("training_history")
    name = case.split(",")[0].removeprefix("objective.name=")
    assert summary["objective"] == name

    # It learned something, and no number was lost on the way.
    weights = load_file(Path(catalog.load("adapter")) / "adapter_model.safetensors")
    moved = [float(weight.abs().max()) for key, weight in weights.items() if "lora_B" in key]
    assert moved
    assert min(moved) > 0
    assert np.isfinite(history[["loss", "rewards/margins", "logps/chosen"]].to_numpy()).all()
    assert list(history.loc[history["split"] == "train", "step"]) == [0, 1, 2]

    # The loss starts where the formula says, on the pairs that the objective is meant to see.
    pairs = order_by_safety(load_pairs(before)) if name == "safedpo" else load_pairs(before)
    columns = columns_of(pairs[pairs["split"] == "train"], before.load("base_model")["path"], name)
    expected = FORMULAS[name].loss(columns, **summary["options"], at=columns).mean()
    assert summary["step_0_loss"] == pytest.approx(expected, rel=1e-5)

    # No pair is lost, no pass is made that the objective does not need.
    used = summary["training_pairs"] + summary["validation_pairs"]
    tokenised = catalog.load("tokenised_pairs")
    assert used + summary.get("dropped_pairs", 0) == (tokenised["split"] != "heldout").sum() == SEEN
    changed = {
        key: summary.get(key) for key in ("swapped_pairs", "dropped_pairs", "lambda") if key in summary
    }
    assert changed == {
        "safedpo": {"swapped_pairs": 1, "dropped_pairs": 1},
        "constrained_dpo": {"swapped_pairs": 1, "dropped_pairs": 0, "lambda": 1.0},
    }.get(name, {})
    report = catalog.load("reference_report")
    contexts = next((count for part, count in CONTEXTS.items() if part in case), 1) if name == "bdpo" else 0
    assert report["conditional"]["requested"] == (0 if name in WITHOUT_REFERENCE else 2 * len(tokenised))
    assert report["marginal"]["requested"] == 2 * SEEN * contexts
    assert report["conditional"]["computed"] == 0
    followed = "comprehension/imbalance" in history
    assert followed == (contexts == 1)
    assert catalog.load("comprehension").empty == (name != "bdpo")
    if followed:
        seen = history.loc[history["comprehension/imbalance"].notna(), "split"]
        assert ("train" in set(seen)) == ("online" in case)
    if is_reported(case):
        assert_reported(catalog, summary, name)


def is_reported(case: str) -> bool:
    return any(part in case for part in REPORTED)


def assert_reported(catalog, summary, name: str) -> None:
    scores, page = catalog.load("heldout_scores"), catalog.load("report")
    heldout = (catalog.load("tokenised_pairs")["split"] == "heldout").sum()
    assert len(scores) == heldout
    assert np.isfinite(scores["margin"]).all()
    assert scores["reference_chosen_logp"].isna().all() == (name in WITHOUT_REFERENCE)
    beta, tokens = summary["options"].get("beta", 1), scores["chosen_tokens"]
    policy, reference = scores["policy_chosen_logp"], scores["reference_chosen_logp"]
    rewards = {"log_ratio": policy - reference, "logp": policy, "mean_logp": policy / tokens}
    assert np.allclose(scores["reward_chosen"], beta * rewards[summary["reward"]])
    text = re.sub(r"<script.*?</script>", " ", page, flags=re.DOTALL)
    assert re.findall(r"\b(?:nan|NaN|None)\b", text) == []
    assert "The rows do not add up" not in text
    assert re.findall(r"\b(?:nan|NaN|None)\b", catalog.load("model_card")) == []


def load_pairs(catalog) -> pd.DataFrame:
    """The training and validation pairs with all that `bdpo` computed of them."""
    logps = catalog.load("reference_logps").drop(columns="split")
    coefficients = catalog.load("comprehension")[["pair_id", "chosen_coefficient", "rejected_coefficient"]]
    return catalog.load("tokenised_pairs").merge(logps, on="pair_id").merge(coefficients, on="pair_id")


def order_by_safety(pairs: pd.DataFrame) -> pd.DataFrame:
    """SafeDPO's own order: the safe response first, pairs without one gone."""
    kept = pairs[pairs["chosen_is_safe"].astype(bool) | pairs["rejected_is_safe"].astype(bool)]
    names = {
        name: name.replace("chosen", "X").replace("rejected", "chosen").replace("X", "rejected")
        for name in kept
    }
    swapped = kept.rename(columns=names)[kept.columns]
    return kept.where(kept["chosen_is_safe"].astype(bool), swapped)


def columns_of(pairs: pd.DataFrame, model: str, name: str) -> Pairs:
    """What the formula sees where the policy still is the reference."""

    def both(column: str) -> list[np.ndarray]:
        return [pairs[column.format(side)].to_numpy(dtype=float) for side in ("chosen", "rejected")]

    logps, tokens = both("reference_{}_logp"), both("{}_tokens")
    slopes = [np.full(len(pairs), np.nan)] * 2
    if name == "wdpo":
        slopes = [squared_slopes(pairs, model, side) for side in ("chosen", "rejected")]
    coefficients, unsafe = both("{}_coefficient"), [1 - safe for safe in both("{}_is_safe")]
    mean_tokens = np.full(len(pairs), tokens[0].mean())
    return Pairs(*logps, *tokens, mean_tokens, *logps, *coefficients, *unsafe, *slopes)


def squared_slopes(pairs: pd.DataFrame, model: str, side: str) -> np.ndarray:
    """The squared norm of d log pi(y | x) / d e by transformers and autograd alone."""
    from transformers import AutoModelForCausalLM

    policy = AutoModelForCausalLM.from_pretrained(model, dtype=torch.float32)
    slopes = []
    for prompt, response in zip(pairs["prompt_ids"], pairs[f"{side}_ids"], strict=True):
        ids = torch.tensor([[*prompt, *response]])
        embeddings = policy.get_input_embeddings()(ids).detach().requires_grad_()
        logps = policy(inputs_embeds=embeddings).logits[0, len(prompt) - 1 : -1].log_softmax(-1)
        logp = logps.gather(1, ids[0, len(prompt) :, None]).sum()
        [slope] = torch.autograd.grad(logp, embeddings)
        slopes.append(float(slope.square().sum()))
    return np.array(slopes)
