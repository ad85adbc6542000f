"""Our loss, rewards, log-probs and gradient against TRL's DPOTrainer on the same pairs, model and reference, in fp32."""

import pytest
import torch

from bdpo_pipeline.engine.metrics import pair_sums
from bdpo_pipeline.models.encoding import encode_pairs
from bdpo_pipeline.objectives import bind_objective

BETA = 0.1


@pytest.fixture(scope="module")
def trl(copy_models, tokenizer, real_rows, to_preferences, trl_arguments):
    """TRL's loss, metrics and gradient of one batch."""
    from datasets import Dataset
    from trl import DPOConfig, DPOTrainer

    policy, reference = copy_models()
    trainer = DPOTrainer(
        model=policy,
        ref_model=reference,
        args=DPOConfig(**trl_arguments, beta=BETA),
        train_dataset=Dataset.from_list(to_preferences(real_rows)),
        processing_class=tokenizer,
    )
    batch = trainer.data_collator(list(trainer.train_dataset))
    loss = trainer.compute_loss(trainer.model, batch)
    loss.backward()
    metrics = {name: values[-1] for name, values in trainer._metrics["eval"].items()}
    gradient = {name: p.grad for name, p in trainer.model.named_parameters()}
    ids = [(row["prompt_ids"], row["chosen_ids"], row["rejected_ids"]) for row in trainer.train_dataset]
    return loss.item(), metrics, gradient, ids


@pytest.fixture(scope="module")
def ours(tokenizer, real_rows, score_pairs, weight_gradient):
    """The same by our engine, from the text on."""
    encoded = encode_pairs(tokenizer, real_rows)
    pairs = score_pairs(encoded)
    results = {}
    for name in ("dpo", "bdpo"):
        bound = bind_objective(name, {"beta": BETA})
        losses = bound.loss(pairs)
        metrics = {key: float(value) / len(encoded) for key, value in pair_sums(bound, pairs, losses).items()}
        results[name] = (losses.mean().item(), metrics, weight_gradient(losses.mean()))
    return encoded, results


def test_token_ids_are_the_ones_trl_trains_on(trl, ours):
    ids = [(p.prompt_ids, p.chosen_ids, p.rejected_ids) for p in ours[0]]
    assert ids == [tuple(map(list, row)) for row in trl[3]]


@pytest.mark.parametrize("objective", ["dpo", "bdpo"])
def test_loss_agrees(trl, ours, objective):
    """B-DPO with all coefficients 1 is DPO."""
    assert ours[1][objective][0] == pytest.approx(trl[0], abs=1e-5)


@pytest.mark.parametrize(
    "name",
    [
        "rewards/chosen",
        "rewards/rejected",
        "rewards/margins",
        "rewards/accuracies",
        "logps/chosen",
        "logps/rejected",
    ],
)
def test_metrics_agree(trl, ours, name):
    # A reward is beta times the difference of two fp32 sums, each known to its last digit and no better.
    last_digit = torch.finfo(torch.float32).eps * max(
        abs(trl[1]["logps/chosen"]), abs(trl[1]["logps/rejected"])
    )
    assert ours[1]["dpo"][1][name] == pytest.approx(trl[1][name], rel=1e-5, abs=max(1e-5, BETA * last_digit))


@pytest.mark.parametrize("objective", ["dpo", "bdpo"])
def test_gradient_agrees(trl, ours, assert_gradients_agree, objective):
    assert_gradients_agree(ours[1][objective][2], trl[2])
