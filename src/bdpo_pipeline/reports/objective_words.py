"""What the report says of an objective: its options, what its rewards are, where its loss starts, what it made of the pairs."""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from .formatting import count, number


@dataclass(frozen=True)
class RewardWords:
    """Words for one kind of implicit reward.

    Attributes:
        unit: of rewards and margins, such as ``beta × nats``.
        meaning: what the reward is, in a sentence.
        at_start: what the accuracy is at step 0.
        preference: what a right pair is, such as "the adapter finds the chosen response more likely per token".
        caution: what the accuracy does not say; empty for rewards against a reference.
        accuracy: name of the accuracy among other metrics.
    """

    unit: str
    meaning: str
    at_start: str
    preference: str
    caution: str
    accuracy: str


@dataclass(frozen=True)
class ObjectiveWords:
    """What is said of the objective of a run.

    Attributes:
        name: the objective.
        options: all its options as text, such as ``beta 0.1, placement reward``.
        reward: words for its implicit reward.
        loss_at_start: its loss where the policy still equals the reference; None where that differs from pair to pair.
    """

    name: str
    options: str
    reward: RewardWords
    loss_at_start: float | None

    @property
    def start(self) -> str:
        """Where the loss starts, in half a sentence."""
        if self.loss_at_start is None:
            return "at step 0 it depends on the pairs"
        name = "log 2 = " if math.isclose(self.loss_at_start, math.log(2)) else ""
        return f"at step 0 policy and reference are the same model, so it is {name}{number(self.loss_at_start, 3)}"


def describe_objective(training_summary: Mapping[str, Any]) -> ObjectiveWords:
    """Return the words for the objective that an adapter was trained with.

    Args:
        training_summary: as in docs/artifacts.md.
    """
    name, options = training_summary["objective"], training_summary["options"]
    return ObjectiveWords(
        name=name,
        options=", ".join(f"{option} {value}" for option, value in options.items()),
        reward=_reward_words(training_summary["reward"], has_beta="beta" in options),
        loss_at_start=_loss_at_start(name, options),
    )


def relabelling_sentences(training_summary: Mapping[str, Any]) -> list[str]:
    """Return what the objective's own policy made of the pairs; nothing for an objective that takes them as they are."""
    if "dropped_pairs" not in training_summary:
        return []
    name = training_summary["objective"]
    sentences = [
        f"Of the training and validation pairs, {name} swapped chosen and rejected in "
        f"{count(training_summary['swapped_pairs'])} and dropped {count(training_summary['dropped_pairs'])}, by their labels "
        "of safety. Held-out pairs keep the order of the data."
    ]
    if "lambda" in training_summary:
        sentences.append(
            f"Its multiplier lambda is {number(training_summary['lambda'])}; at that, the preferred responses cost "
            f"{number(training_summary['mean_cost'])} on average."
        )
    return sentences


def _reward_words(kind: str, has_beta: bool) -> RewardWords:
    beta, beta_times = ("beta \u00d7 ", "Beta times the") if has_beta else ("", "The")
    if kind == "log_ratio":
        return RewardWords(
            unit=f"{beta}nats against the reference",
            meaning=f"{beta_times} log-ratio of policy and reference. Below zero, the policy finds the response less likely than "
            "the reference does.",
            at_start="At step 0 both rewards are zero, so no pair counts as right.",
            preference="the adapter gives the chosen response the higher reward",
            caution="",
            accuracy="implicit reward accuracy",
        )
    per_token = " per token" if kind == "mean_logp" else ""
    return RewardWords(
        unit=f"{beta}nats{per_token or ' a response'}",
        meaning=f"{beta_times} policy's log-probability of a response{per_token}: this objective takes no reference.",
        at_start="At step 0 it is the accuracy of the base model.",
        preference=f"the adapter finds the chosen response more likely{per_token}",
        caution="There is no reference here: the accuracy is not what training changed, for the base model has one, too. It is "
        "another quantity than the accuracy of an objective with a reference, so the two do not compare.",
        accuracy=f"log-prob{per_token} accuracy, without a reference",
    )


def _loss_at_start(name: str, options: Mapping[str, Any]) -> float | None:
    """Return the loss of pairs on which policy and reference agree, if it is the same for made-up pairs of all kinds."""
    from dataclasses import fields

    import torch

    from bdpo_pipeline.objectives import PairBatch, bind_objective

    generator = torch.Generator().manual_seed(0)
    values = {f.name: 1 + torch.rand(8, generator=generator, dtype=torch.float64) for f in fields(PairBatch)}
    for side in ("chosen", "rejected"):
        values[f"policy_{side}"] = values[f"reference_{side}"] = -50 * values[f"policy_{side}"]
    losses = bind_objective(name, options).loss(PairBatch(**values))
    return float(losses[0]) if torch.allclose(losses, losses[0]) else None
