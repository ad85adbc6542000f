"""Loss, rewards and gradient in the model's weights against the trainers of TRL that have the objective, in fp32.

TRL's own tokens are scored by our engine, so that what is compared is the objective. `dpo` itself, from the text on: test_trl_dpo.py.
Label smoothing of `dpo` is missing here: TRL 1.16 ignores it without a word.
"""

import copy

import pytest
import torch

from bdpo_pipeline.models.encoding import EncodedPair
from bdpo_pipeline.objectives import bind_objective

# Of each response: a sum of log-probs in fp32 has rounding in proportion to its size, which robust DPO makes larger. Whole responses
# are compared in test_trl_dpo.py.
CHARACTERS = 40


@pytest.fixture(scope="module")
def step(copy_models, tokenizer, real_rows, to_preferences, trl_arguments):
    """`step(Trainer, Config, **arguments)` gives a TRL trainer over a copy of the policy, and its one batch."""
    from datasets import Dataset

    preferences = to_preferences([(p, c[:CHARACTERS], r[:CHARACTERS]) for p, c, r in real_rows])

    def build(trainer_class, config_class, **arguments):
        model, reference = copy_models()
        takes_reference = {"ref_model": reference} if trainer_class.__name__ == "DPOTrainer" else {}
        trainer = trainer_class(
            model=model,
            args=config_class(**trl_arguments, **arguments),
            train_dataset=Dataset.from_list(preferences),
            processing_class=copy.deepcopy(tokenizer),
            **takes_reference,
        )
        return trainer, trainer.data_collator(list(trainer.train_dataset))

    return build


def gradient_of(trainer, loss):
    loss.backward()
    return {name: p.grad for name, p in trainer.model.named_parameters()}


def labelled_pairs(rows):
    """Token ids of TRL's CPO and ORPO trainers: what is labelled is the response."""

    def split(row, side):
        scored = [label != -100 for label in row[f"{side}_labels"]]
        start = scored.index(True)
        assert all(scored[start:])
        return row[f"{side}_input_ids"][:start], row[f"{side}_input_ids"][start:]

    pairs = []
    for row in rows:
        (prompt, chosen), (other, rejected) = split(row, "chosen"), split(row, "rejected")
        assert prompt == other
        pairs.append(EncodedPair(prompt, chosen, rejected))
    return pairs


@pytest.mark.parametrize(
    ("name", "options", "theirs"),
    [
        (
            "robust_dpo",
            {"beta": 0.2, "label_smoothing": 0.2},
            {"loss_type": ["robust"], "label_smoothing": 0.2},
        ),
        ("ipo", {"beta": 0.2}, {"loss_type": ["ipo"]}),
        ("apo_zero", {"beta": 0.2}, {"loss_type": ["apo_zero"]}),
    ],
)
def test_objectives_of_the_dpo_trainer(
    step, score_pairs, weight_gradient, assert_gradients_agree, assert_rewards_agree, name, options, theirs
):
    from trl import DPOConfig, DPOTrainer

    trainer, batch = step(DPOTrainer, DPOConfig, beta=options["beta"], **theirs)
    loss = trainer.compute_loss(trainer.model, batch)
    rows = trainer.train_dataset
    pairs = score_pairs([EncodedPair(r["prompt_ids"], r["chosen_ids"], r["rejected_ids"]) for r in rows])
    bound = bind_objective(name, options)
    ours = bound.loss(pairs).mean()
    assert ours.item() == pytest.approx(loss.item(), rel=1e-5)
    assert_gradients_agree(weight_gradient(ours), gradient_of(trainer, loss))
    assert_rewards_agree(bound, pairs, {key: values[-1] for key, values in trainer._metrics["eval"].items()})


@pytest.mark.parametrize(
    ("name", "options", "theirs"),
    [
        ("cpo", {"beta": 0.2, "alpha": 0.7}, {"loss_type": "sigmoid", "cpo_alpha": 0.7}),
        # Theirs is gamma itself, and leaves CPO's likelihood on unless told otherwise.
        (
            "simpo",
            {"beta": 2.5, "gamma_beta_ratio": 0.4},
            {"loss_type": "simpo", "cpo_alpha": 0.0, "simpo_gamma": 1.0},
        ),
    ],
)
def test_objectives_of_the_cpo_trainer(
    step, score_pairs, weight_gradient, assert_gradients_agree, assert_rewards_agree, name, options, theirs
):
    from trl.experimental.cpo import CPOConfig, CPOTrainer

    trainer, batch = step(CPOTrainer, CPOConfig, beta=options["beta"], **theirs)
    loss, metrics = trainer.get_batch_loss_metrics(trainer.model, batch)
    pairs = score_pairs(labelled_pairs(trainer.train_dataset))
    bound = bind_objective(name, options)
    ours = bound.loss(pairs).mean()
    assert ours.item() == pytest.approx(loss.item(), rel=1e-5)
    assert_gradients_agree(weight_gradient(ours), gradient_of(trainer, loss))
    assert_rewards_agree(bound, pairs, metrics)
    if name == "cpo":
        assert pairs.chosen_nll.mean().item() == pytest.approx(metrics["nll_loss"], rel=1e-5)


def test_odds_ratio_of_the_orpo_trainer(step, score_pairs, weight_gradient, assert_gradients_agree):
    """The odds ratio alone: TRL's likelihood counts the prompt, ours the response."""
    from trl.experimental.orpo import ORPOConfig, ORPOTrainer

    trainer, batch = step(ORPOTrainer, ORPOConfig, beta=0.3)
    chosen, rejected = trainer.concatenated_forward(trainer.model, batch)[:2]
    theirs = -trainer.odds_ratio_loss(chosen, rejected)[0].mean()
    pairs = score_pairs(labelled_pairs(trainer.train_dataset))
    bound = bind_objective("orpo", {"lam": 0.3})
    ours = bound.loss(pairs).mean() - pairs.chosen_nll.mean()
    assert ours.item() == pytest.approx(theirs.item(), rel=1e-5)
    assert_gradients_agree(weight_gradient(ours), gradient_of(trainer, theirs))
    torch.testing.assert_close(bound.rewards(pairs)[0], chosen)
    torch.testing.assert_close(bound.rewards(pairs)[1], rejected)
