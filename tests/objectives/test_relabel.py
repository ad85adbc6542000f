"""What the policies of SafeDPO and constrained DPO make of labelled pairs."""

from fractions import Fraction

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from bdpo_pipeline.objectives import PairLabels, bind_objective, objective_names

KEEP, SWAP, DROP = 1, -1, 0
pairs_of = {
    "unsafe": st.lists(st.tuples(st.integers(0, 1), st.integers(0, 1)), min_size=1, max_size=12),
    "severity": st.lists(st.tuples(st.integers(0, 3), st.integers(0, 3)), min_size=1, max_size=12),
}


def labels(pairs, cost="unsafe", training=None):
    chosen, rejected = torch.tensor(pairs, dtype=torch.float32).T
    training = torch.ones(len(pairs), dtype=torch.bool) if training is None else torch.tensor(training)
    unknown = torch.full((len(pairs),), torch.nan)
    if cost == "unsafe":
        return PairLabels(chosen, rejected, unknown, unknown, training)
    return PairLabels((chosen > 0).float(), (rejected > 0).float(), chosen, rejected, training)


def test_only_two_objectives_relabel():
    found = [name for name in objective_names() if bind_objective(name, {}).relabel]
    assert found == ["constrained_dpo", "safedpo"]


@pytest.mark.parametrize(
    ("chosen_unsafe", "rejected_unsafe", "decision"), [(0, 0, KEEP), (0, 1, KEEP), (1, 0, SWAP), (1, 1, DROP)]
)
def test_safedpo_keeps_swaps_and_drops(chosen_unsafe, rejected_unsafe, decision):
    relabel = bind_objective("safedpo", {}).relabel
    assert relabel(labels([(chosen_unsafe, rejected_unsafe)])).decisions.tolist() == [decision]


@given(pairs_of["unsafe"])
def test_after_safedpo_every_chosen_response_is_safe(pairs):
    decisions = bind_objective("safedpo", {}).relabel(labels(pairs)).decisions.tolist()
    chosen = [w if d == KEEP else u for (w, u), d in zip(pairs, decisions, strict=True) if d != DROP]
    assert not any(chosen)
    assert decisions.count(DROP) == pairs.count((1, 1))
    # A second time it changes nothing: the pairs have the order it wants.
    again = [(u, w) if d == SWAP else (w, u) for (w, u), d in zip(pairs, decisions, strict=True) if d != DROP]
    if again:
        assert set(bind_objective("safedpo", {}).relabel(labels(again)).decisions.tolist()) == {KEEP}


def order(pairs, multiplier):
    """Preferred costs where a pair is swapped if its rejected response has the higher reward, or the same one at less cost."""
    swapped = [1 - multiplier * w <= 0 - multiplier * u and w > u for w, u in pairs]
    costs = [u if s else w for (w, u), s in zip(pairs, swapped, strict=True)]
    return swapped, sum(costs) / len(costs)


@pytest.mark.parametrize("cost", ["unsafe", "severity"])
@given(data=st.data(), limit=st.sampled_from([0.0, 0.1, 0.25, 0.5, 1.0, 1.7]))
def test_constrained_dpo_takes_the_least_lambda_that_keeps_the_limit(data, cost, limit):
    pairs = data.draw(pairs_of[cost])
    grid = [Fraction(n, 60) for n in range(121)]  # 1/3, 1/2 and 1, where orders change, are on it.
    keeping = [m for m in grid if order(pairs, m)[1] <= limit]
    relabel = bind_objective("constrained_dpo", {"cost": cost, "cost_limit": limit}).relabel
    if not keeping:
        with pytest.raises(ValueError, match="raise it, or leave out pairs of two unsafe responses"):
            relabel(labels(pairs, cost))
        return
    found = relabel(labels(pairs, cost))
    swapped, mean_cost = order(pairs, keeping[0])
    assert found.facts["lambda"] == pytest.approx(float(keeping[0]))
    assert found.facts["mean_cost"] == pytest.approx(mean_cost)
    assert found.decisions.tolist() == [SWAP if s else KEEP for s in swapped]


def test_constrained_dpo_within_its_limit_keeps_the_order_people_gave():
    found = bind_objective("constrained_dpo", {"cost_limit": 1.0}).relabel(labels([(1, 0), (0, 0), (0, 1)]))
    assert found.decisions.tolist() == [KEEP] * 3
    assert found.facts["lambda"] == 0


def test_a_limit_that_no_lambda_keeps_is_named_with_the_least_cost():
    relabel = bind_objective("constrained_dpo", {"cost_limit": 0.25}).relabel
    message = r"ordered by unsafe the preferred responses still cost 0\.5 on average, more than cost_limit = 0\.25: raise it"
    with pytest.raises(ValueError, match=message):
        relabel(labels([(1, 1), (1, 0)]))


def test_unknown_severities_are_named():
    relabel = bind_objective("constrained_dpo", {"cost": "severity"}).relabel
    with pytest.raises(ValueError, match="cost = severity: some pairs have no such label"):
        relabel(labels([(1, 0)]))


def test_lambda_is_found_from_the_training_pairs_and_applied_to_all():
    relabel = bind_objective("constrained_dpo", {"cost": "severity"}).relabel
    pairs = [(3, 0), (0, 2), (1, 0)]
    alone = relabel(labels(pairs[:2], "severity"))
    found = relabel(labels(pairs, "severity", [True, True, False]))
    # The third pair alone would take lambda 1.
    assert found.facts == alone.facts == {"lambda": 1 / 3, "mean_cost": 0.0}
    assert found.decisions.tolist() == [SWAP, KEEP, KEEP]
