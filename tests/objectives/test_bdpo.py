"""B-DPO: the identities of docs/method.md, section 5, the gradient formula, and finite differences."""

from dataclasses import replace

import pytest
import torch

from bdpo_pipeline.objectives import bdpo, dpo
from bdpo_pipeline.objectives.weighting import compute_coefficients


def gradients(loss_function, pairs, **options):
    chosen = pairs.policy_chosen.clone().requires_grad_()
    rejected = pairs.policy_rejected.clone().requires_grad_()
    loss = loss_function(replace(pairs, policy_chosen=chosen, policy_rejected=rejected), **options)
    loss.sum().backward()
    return loss.detach(), chosen.grad, rejected.grad


@pytest.mark.parametrize("placement", bdpo.PLACEMENTS)
def test_equal_mutual_information_is_dpo(batch, placement):
    information = torch.rand(6, dtype=torch.float64) + 0.1
    a = compute_coefficients(information, information.clone(), torch.ones(6, dtype=torch.bool))
    pairs = batch(chosen_coefficient=a.chosen, rejected_coefficient=a.rejected)
    for ours, theirs in zip(
        gradients(bdpo.bdpo, pairs, beta=0.2, placement=placement),
        gradients(dpo.dpo, pairs, beta=0.2),
        strict=True,
    ):
        torch.testing.assert_close(ours, theirs)


def test_gradient_of_reward_placement_is_the_formula(batch):
    pairs = batch()
    a_w, a_l = pairs.chosen_coefficient, pairs.rejected_coefficient
    _, chosen, rejected = gradients(bdpo.bdpo, pairs, beta=0.1, placement="reward")
    weight = 0.1 * torch.sigmoid(-0.1 * (a_w * pairs.chosen_logratio - a_l * pairs.rejected_logratio))
    torch.testing.assert_close(chosen, -weight * a_w)
    torch.testing.assert_close(rejected, weight * a_l)


def test_gradient_placement_has_the_value_of_dpo_and_scaled_gradients(batch):
    pairs = batch()
    loss, chosen, rejected = gradients(bdpo.bdpo, pairs, beta=0.1, placement="gradient")
    plain_loss, plain_chosen, plain_rejected = gradients(dpo.dpo, pairs, beta=0.1)
    torch.testing.assert_close(loss, plain_loss)
    torch.testing.assert_close(chosen, plain_chosen * pairs.chosen_coefficient)
    torch.testing.assert_close(rejected, plain_rejected * pairs.rejected_coefficient)


def test_placements_have_equal_gradients_where_log_ratios_are_zero(batch):
    pairs = batch()
    pairs = replace(pairs, policy_chosen=pairs.reference_chosen, policy_rejected=pairs.reference_rejected)
    by_reward = gradients(bdpo.bdpo, pairs, placement="reward")
    by_gradient = gradients(bdpo.bdpo, pairs, placement="gradient")
    for ours, theirs in zip(by_reward, by_gradient, strict=True):
        torch.testing.assert_close(ours, theirs)


@pytest.mark.parametrize("placement", bdpo.PLACEMENTS)
def test_coefficients_receive_no_gradient(batch, placement):
    pairs = batch()
    coefficient = pairs.chosen_coefficient.clone().requires_grad_()
    policy = pairs.policy_chosen.clone().requires_grad_()
    bdpo.bdpo(
        replace(pairs, chosen_coefficient=coefficient, policy_chosen=policy), placement=placement
    ).sum().backward()
    assert coefficient.grad is None
    assert policy.grad is not None


@pytest.mark.parametrize("placement", bdpo.PLACEMENTS)
def test_swapping_chosen_and_rejected_mirrors_the_loss(batch, placement):
    pairs = batch()
    swapped = replace(
        pairs,
        policy_chosen=pairs.policy_rejected,
        policy_rejected=pairs.policy_chosen,
        reference_chosen=pairs.reference_rejected,
        reference_rejected=pairs.reference_chosen,
        chosen_coefficient=pairs.rejected_coefficient,
        rejected_coefficient=pairs.chosen_coefficient,
    )
    # -log sigma(u) - (-log sigma(-u)) = -u
    difference = bdpo.bdpo(pairs, placement=placement) - bdpo.bdpo(swapped, placement=placement)
    ones = torch.ones(6, dtype=torch.float64)
    scaled = placement == "reward"
    a_w = pairs.chosen_coefficient if scaled else ones
    a_l = pairs.rejected_coefficient if scaled else ones
    torch.testing.assert_close(
        difference, -0.1 * (a_w * pairs.chosen_logratio - a_l * pairs.rejected_logratio)
    )


def test_finite_differences(batch):
    pairs = batch()

    def loss(chosen, rejected):
        return bdpo.bdpo(replace(pairs, policy_chosen=chosen, policy_rejected=rejected), beta=0.1)

    inputs = (pairs.policy_chosen.requires_grad_(), pairs.policy_rejected.requires_grad_())
    assert torch.autograd.gradcheck(loss, inputs)


def test_permuting_the_batch_permutes_the_losses(batch):
    pairs = batch()
    order = torch.tensor([3, 1, 5, 0, 2, 4])
    permuted = type(pairs)(*(getattr(pairs, name)[order] for name in pairs.__dataclass_fields__))
    torch.testing.assert_close(bdpo.bdpo(permuted), bdpo.bdpo(pairs)[order])


def test_unknown_placement_is_named(batch):
    with pytest.raises(ValueError, match="placement = 'rewards': there are reward, gradient"):
        bdpo.bdpo(batch(), placement="rewards")
