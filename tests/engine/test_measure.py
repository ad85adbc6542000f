"""Loss and gradient of a step, whatever the objective needs, against plain autograd on each response alone."""

from dataclasses import asdict, fields, replace

import pytest
import torch
from accelerate import Accelerator

from bdpo_pipeline.engine.attention import usual_attention
from bdpo_pipeline.engine.comprehension import Comprehension
from bdpo_pipeline.engine.context import WorkerContext
from bdpo_pipeline.engine.logps import ResponseScorer
from bdpo_pipeline.engine.measure import Measure
from bdpo_pipeline.engine.pair_data import PairData, load_pairs
from bdpo_pipeline.engine.sensitivity import logps_and_sensitivities
from bdpo_pipeline.engine.tokens import pack_tokens
from bdpo_pipeline.models.adapters import add_lora
from bdpo_pipeline.models.loading import load_model
from bdpo_pipeline.objectives import Need, PairBatch, bind_objective, objective_names
from bdpo_pipeline.objectives.weighting import Constants, Weighting, compute_coefficients

PAIRS = [5, 2, 11, 0, 7]
MARGINAL_CONTEXT = [9, 8, 7]


@pytest.fixture(scope="module")
def policy(tiny_model):
    model = load_model(tiny_model("llama")["path"], dtype="float32")
    policy = add_lora(model, r=4, alpha=8, dropout=0.0, target_modules="all-linear", seed=0)
    generator = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for name, parameter in policy.named_parameters():
            if "lora_B" in name:  # a fresh adapter changes nothing; this one does
                parameter.normal_(0, 0.1, generator=generator)
    return policy.eval()


@pytest.fixture
def context(tmp_path, pairs) -> WorkerContext:
    unsafe = torch.arange(len(pairs.ragged["contexts"])) % 3 == 0
    labels = {"chosen_unsafe": 0.0 * unsafe.double().numpy(), "rejected_unsafe": unsafe.double().numpy()}
    ragged = {**pairs.ragged, "marginal_context": [MARGINAL_CONTEXT]}
    (tmp_path / "tokens.safetensors").write_bytes(pack_tokens(ragged, {**pairs.flat, **labels}))
    return WorkerContext(tmp_path, Accelerator(cpu=True), lambda _: None, lambda _: None)


def logp_alone(policy, prompt: list[int], response: list[int], embeddings=None) -> torch.Tensor:
    whole = torch.tensor([prompt + response])
    inputs = {"input_ids": whole} if embeddings is None else {"inputs_embeds": embeddings}
    with usual_attention(policy.get_base_model()):
        table = policy(**inputs).logits.log_softmax(-1)[0, len(prompt) - 1 : -1]
    return table.gather(-1, torch.tensor(response)[:, None]).sum()


def sensitivity_alone(policy, prompt: list[int], response: list[int]) -> torch.Tensor:
    """The squared norm of d l / d e by plain autograd, itself differentiable."""
    from torch.nn.attention import SDPBackend, sdpa_kernel

    embed = policy.get_base_model().get_input_embeddings()
    embeddings = embed(torch.tensor([prompt + response])).detach().requires_grad_()
    with sdpa_kernel(SDPBackend.MATH):
        logp = logp_alone(policy, prompt, response, embeddings)
        [slope] = torch.autograd.grad(logp, embeddings, create_graph=True)
    return slope.square().sum()


def plain_batch(policy, data: PairData, needs: Need) -> PairBatch:
    """The batch of PAIRS, each response scored by itself."""

    def each(score, side):
        return torch.stack([score(policy, data.rows[i].context, data.rows[i].responses[side]) for i in PAIRS])

    columns = {name: column[PAIRS] for name, column in data.columns.items()}
    columns["step_chosen_tokens"] = data.columns["chosen_tokens"][PAIRS].mean().expand(len(PAIRS))
    if Need.SENSITIVITY in needs:
        columns["chosen_sensitivity"] = each(sensitivity_alone, 0)
        columns["rejected_sensitivity"] = each(sensitivity_alone, 1)
    return PairBatch(policy_chosen=each(logp_alone, 0), policy_rejected=each(logp_alone, 1), **columns)


def gradient(policy) -> torch.Tensor:
    return torch.cat([p.grad.flatten() for p in policy.parameters() if p.requires_grad])


def measured(policy, data, objective, context, tokens_per_batch, comprehension=None):
    policy.zero_grad()
    values = Measure(ResponseScorer(policy), data, objective, comprehension, tokens_per_batch, context)(PAIRS)
    return values, gradient(policy)


@pytest.mark.parametrize("name", objective_names())
def test_every_objective_has_the_loss_and_gradient_of_plain_autograd_in_every_layout(policy, context, name):
    data = load_pairs(context)
    objective = bind_objective(name, {"rho": 0.5} if name == "wdpo" else {})
    policy.zero_grad()
    loss = objective.loss(plain_batch(policy, data, objective.needs)).mean()
    loss.backward()
    loss, expected = float(loss.detach()), gradient(policy)
    assert expected.abs().max() > 1e-5
    for tokens_per_batch in (1, 200, 10_000):
        values, found = measured(policy, data, objective, context, tokens_per_batch)
        assert values["loss"] == pytest.approx(loss, rel=1e-4, abs=1e-5)
        torch.testing.assert_close(found, expected, atol=1e-4 * float(expected.abs().max()), rtol=1e-3)


def test_an_objective_of_independent_losses_is_the_same_computed_together(policy, context):
    """The second path, by the slopes of a first pass, on an objective that the first path is right for."""
    data = load_pairs(context)
    apart = bind_objective("bdpo", {})
    together = replace(apart, needs=apart.needs | Need.WHOLE_BATCH)
    one, two = (measured(policy, data, objective, context, 200) for objective in (apart, together))
    assert two[0] == pytest.approx(one[0], rel=1e-5)
    torch.testing.assert_close(two[1], one[1], atol=1e-6, rtol=1e-4)


def test_both_passes_of_the_second_path_draw_the_same_dropout(tiny_model, context):
    data = load_pairs(context)
    model = load_model(tiny_model("llama")["path"], dtype="float32")
    policy = add_lora(model, r=4, alpha=8, dropout=0.3, target_modules="all-linear", seed=0)
    with torch.no_grad():
        for name, parameter in policy.named_parameters():
            if "lora_B" in name:
                parameter.normal_(0, 0.1)
    policy.train()
    apart = bind_objective("dpo", {})
    results = []
    for objective in (apart, replace(apart, needs=apart.needs | Need.WHOLE_BATCH)):
        torch.manual_seed(5)
        results.append(measured(policy, data, objective, context, 200))
    (one, one_gradient), (two, two_gradient) = results
    assert two == pytest.approx(one, rel=1e-5)
    torch.testing.assert_close(two_gradient, one_gradient, atol=1e-6, rtol=1e-4)
    torch.manual_seed(6)
    assert measured(policy, data, apart, context, 200)[0]["loss"] != pytest.approx(one["loss"], rel=1e-5)


def test_sensitivities_are_those_of_each_response_alone(policy, context):
    rows = load_pairs(context).rows[:4]
    logps, found = logps_and_sensitivities(policy, rows, torch.device("cpu"))
    expected = [sensitivity_alone(policy, row.context, ids) for row in rows for ids in row.responses]
    torch.testing.assert_close(found, torch.stack(expected), rtol=1e-4, atol=1e-5)
    with torch.no_grad():
        same = logps_and_sensitivities(policy, rows, torch.device("cpu"))
    torch.testing.assert_close(same[0], logps.detach())
    torch.testing.assert_close(same[1], found.detach(), rtol=1e-5, atol=1e-6)
    assert not same[1].requires_grad


WEIGHTING = Weighting(floor=0.001)
CONSTANTS = Constants(0.4, 0.3, 5.0)


@pytest.mark.parametrize("reverse", [False, True])
def test_online_coefficients_follow_from_the_policy(policy, context, reverse):
    data = load_pairs(context)
    objective = bind_objective("bdpo", {"placement": "gradient"})
    followed = Comprehension("token", online=True, reverse=reverse, weighting=WEIGHTING, constants=CONSTANTS)
    batch = plain_batch(policy, data, objective.needs)
    with torch.no_grad():
        marginals = [
            torch.stack([logp_alone(policy, MARGINAL_CONTEXT, data.rows[i].responses[k]) for i in PAIRS])
            for k in (0, 1)
        ]
    chosen = (batch.policy_chosen.detach() - marginals[0]) / batch.chosen_tokens
    rejected = (batch.policy_rejected.detach() - marginals[1]) / batch.rejected_tokens
    a = compute_coefficients(chosen, rejected, WEIGHTING, CONSTANTS)
    a_w, a_l = (a.rejected, a.chosen) if reverse else (a.chosen, a.rejected)
    policy.zero_grad()
    objective.loss(replace(batch, chosen_coefficient=a_w, rejected_coefficient=a_l)).mean().backward()
    expected = gradient(policy)
    values, found = measured(policy, data, objective, context, 200, followed)
    torch.testing.assert_close(found, expected, atol=1e-6, rtol=1e-3)
    assert values["comprehension/chosen"] == pytest.approx(float(chosen.mean()), rel=1e-3, abs=1e-5)
    assert values["comprehension/imbalance"] == pytest.approx(
        float((chosen - rejected).abs().mean()), rel=1e-3
    )


def test_following_alone_changes_neither_loss_nor_gradient(policy, context):
    data, objective = load_pairs(context), bind_objective("bdpo", {})
    watching = Comprehension("token", online=False, reverse=False, weighting=WEIGHTING, constants=CONSTANTS)
    plain, plain_gradient = measured(policy, data, objective, context, 200)
    values, found = measured(policy, data, objective, context, 200, watching)
    assert {name: values[name] for name in plain} == pytest.approx(plain)
    assert torch.equal(found, plain_gradient)
    assert set(values) - set(plain) == {
        "comprehension/chosen",
        "comprehension/rejected",
        "comprehension/imbalance",
    }


def test_comprehension_survives_the_trip_through_a_job():
    followed = Comprehension("token", online=True, reverse=False, weighting=WEIGHTING, constants=CONSTANTS)
    data = {field.name: getattr(followed, field.name) for field in fields(followed)}
    data |= {"weighting": asdict(WEIGHTING), "constants": asdict(CONSTANTS)}
    assert Comprehension.from_dict(data) == followed


def test_columns_that_a_job_does_not_bring_are_nan(context, tmp_path, pairs):
    flat = {"is_training": pairs.flat["is_training"]}
    (tmp_path / "tokens.safetensors").write_bytes(pack_tokens(pairs.ragged, flat))
    data = load_pairs(context)
    assert data.columns["reference_chosen"].isnan().all()
    assert data.marginal_context == []
