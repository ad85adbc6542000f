"""Our loss, rewards, log-probs and gradient against TRL's DPOTrainer on the same pairs, model and reference, in fp32."""

import pytest
import torch

from bdpo_pipeline.engine.layout import Row, build_batch
from bdpo_pipeline.engine.logps import response_logps
from bdpo_pipeline.engine.metrics import pair_sums
from bdpo_pipeline.models.encoding import encode_pairs
from bdpo_pipeline.models.loading import load_model, load_tokenizer
from bdpo_pipeline.objectives import PairBatch, bind_loss
from bdpo_pipeline.preferences.readers import read_file

PAIRS = 6
BETA = 0.1


@pytest.fixture(scope="module")
def real_rows():
    from pathlib import Path

    raw = Path(__file__).parents[2] / "data/01_raw/pku-saferlhf-safety-pairs/pairs.jsonl.gz"
    rows = (row.fields for row in read_file(raw, 1 << 20))
    return [
        ([{"role": "user", "content": row["prompt"]}], row["chosen"], row["rejected"])
        for row, _ in zip(rows, range(PAIRS), strict=False)
    ]


@pytest.fixture(scope="module")
def models(tiny_model):
    """A policy and a reference that differ, so that no log-ratio is zero."""
    path = tiny_model("llama")["path"]
    policy, reference = load_model(path, dtype="float32"), load_model(path, dtype="float32")
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for parameter in policy.parameters():
            parameter += 0.02 * torch.randn(parameter.shape, generator=generator)
    return path, policy.requires_grad_(True), reference


@pytest.fixture(scope="module")
def tokenizer(models):
    tokenizer = load_tokenizer(models[0])
    # TRL scores the newline that this template writes after the end of a turn, we stop at the end-of-turn token: both agree without it.
    tokenizer.chat_template = tokenizer.chat_template.replace("'<|im_end|>' + '\\n'", "'<|im_end|>'").replace(
        "'<|im_end|>' + '\n'", "'<|im_end|>'"
    )
    return tokenizer


@pytest.fixture(scope="module")
def trl(models, tokenizer, real_rows, tmp_path_factory):
    """TRL's loss, metrics and gradient of one batch."""
    from datasets import Dataset
    from trl import DPOConfig, DPOTrainer

    _, policy, reference = models
    assistant = lambda text: [{"role": "assistant", "content": text}]  # noqa: E731
    rows = [{"prompt": p, "chosen": assistant(c), "rejected": assistant(r)} for p, c, r in real_rows]
    arguments = DPOConfig(
        output_dir=str(tmp_path_factory.mktemp("trl")),
        beta=BETA,
        per_device_train_batch_size=PAIRS,
        max_length=None,
        bf16=False,
        gradient_checkpointing=False,
        use_cpu=True,
        report_to=[],
        disable_dropout=True,
    )
    trainer = DPOTrainer(
        model=policy,
        ref_model=reference,
        args=arguments,
        train_dataset=Dataset.from_list(rows),
        processing_class=tokenizer,
    )
    batch = trainer.data_collator(list(trainer.train_dataset))
    policy.zero_grad()
    loss = trainer.compute_loss(policy, batch)
    loss.backward()
    metrics = {name: values[-1] for name, values in trainer._metrics["eval"].items()}
    gradient = {name: p.grad.clone() for name, p in policy.named_parameters()}
    ids = [(row["prompt_ids"], row["chosen_ids"], row["rejected_ids"]) for row in trainer.train_dataset]
    return loss.item(), metrics, gradient, ids


@pytest.fixture(scope="module")
def ours(models, tokenizer, real_rows):
    """The same by our engine, from the text on."""
    _, policy, reference = models
    encoded = encode_pairs(tokenizer, real_rows)
    batch = build_batch([Row(p.prompt_ids, [p.chosen_ids, p.rejected_ids]) for p in encoded])
    policy.zero_grad()
    chosen, rejected = response_logps(policy, batch).view(-1, 2).unbind(1)
    with torch.no_grad():
        reference_chosen, reference_rejected = response_logps(reference, batch).view(-1, 2).unbind(1)
    ones = torch.ones(PAIRS)
    pairs = PairBatch(chosen, rejected, reference_chosen, reference_rejected, ones, ones, ones, ones)
    results = {}
    for name in ("dpo", "bdpo"):
        policy.zero_grad()
        losses = bind_loss(name, {"beta": BETA})(pairs)
        losses.mean().backward(retain_graph=True)
        metrics = {key: float(value) / PAIRS for key, value in pair_sums(pairs, losses, BETA).items()}
        gradient = {key: p.grad.clone() for key, p in policy.named_parameters()}
        results[name] = (losses.mean().item(), metrics, gradient)
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
def test_gradient_agrees(trl, ours, objective):
    gradient = ours[1][objective][2]
    assert gradient.keys() == trl[2].keys()
    largest = max(g.abs().max() for g in trl[2].values())
    assert largest > 0.1
    for name, theirs in trl[2].items():
        torch.testing.assert_close(gradient[name], theirs, atol=1e-5 * float(largest), rtol=1e-3)
