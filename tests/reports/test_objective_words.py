import math

import pytest

from bdpo_pipeline.objectives import objective_names
from bdpo_pipeline.reports.artifacts import RunArtifacts
from bdpo_pipeline.reports.objective_words import describe_objective, relabelling_sentences

# The formulas with both log-ratios 0; what is not named here starts at log 2.
STARTS = {"apo_zero": 1.0, "ipo": (1 / 0.2) ** 2}
# Their losses depend on labels, on the model's slopes or on its log-probs from the start.
DEPENDS_ON_THE_PAIRS = {"safedpo", "wdpo", "simpo", "cpo", "orpo"}


def describe(name: str, reward: str = "log_ratio", **options: object):
    return describe_objective({"objective": name, "options": options, "reward": reward})


@pytest.mark.parametrize("name", objective_names())
def test_where_a_loss_starts(name: str) -> None:
    start = describe(name).loss_at_start
    expected = None if name in DEPENDS_ON_THE_PAIRS else STARTS.get(name, math.log(2))
    assert start == (None if expected is None else pytest.approx(expected))


def test_options_change_where_a_loss_starts() -> None:
    assert describe("ipo", beta=0.5).loss_at_start == pytest.approx(1.0)
    assert describe("safedpo", delta=0.0).loss_at_start == pytest.approx(math.log(2))
    assert "log 2 = 0.693" in describe("dpo").start
    assert describe("ipo").start.endswith("so it is 25.000")


@pytest.mark.parametrize(
    ("reward", "options", "unit"),
    [
        ("log_ratio", {"beta": 0.1}, "beta \u00d7 nats against the reference"),
        ("logp", {"beta": 0.1}, "beta \u00d7 nats a response"),
        ("mean_logp", {"beta": 2.0}, "beta \u00d7 nats per token"),
    ],
)
def test_units_follow_the_kind_of_reward(reward: str, options: dict, unit: str) -> None:
    name = {"log_ratio": "dpo", "logp": "cpo", "mean_logp": "simpo"}[reward]
    words = describe(name, reward, **options).reward
    assert words.unit == unit
    assert bool(words.caution) == (reward != "log_ratio")


def test_an_objective_without_beta_has_none_in_its_unit() -> None:
    words = describe("orpo", "mean_logp", lam=0.1)
    assert words.reward.unit == "nats per token"
    assert words.options == "lam 0.1"


def test_what_an_objective_made_of_the_pairs_is_said(run: RunArtifacts) -> None:
    assert relabelling_sentences(run.training_summary) == []
    facts = {"objective": "constrained_dpo", "swapped_pairs": 1234, "dropped_pairs": 0}
    first, second = relabelling_sentences(facts | {"lambda": 0.5, "mean_cost": 0.125})
    assert "swapped chosen and rejected in 1,234 and dropped 0" in first
    assert "lambda is 0.50" in second
    assert len(relabelling_sentences(facts)) == 1
