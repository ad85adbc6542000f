"""The search for suffixes against plain forward passes, and the task through the worker."""

from functools import cache

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.nn.functional import cross_entropy, one_hot

from bdpo_pipeline.engine.attack import allowed_tokens, suffix_is_sent
from bdpo_pipeline.engine.gcg import Aim, SuffixSearch
from bdpo_pipeline.engine.jobs import AttackJob, Compute
from bdpo_pipeline.engine.launcher import WorkerError, run_job
from bdpo_pipeline.models.encoding import encode_around, encode_prompts
from bdpo_pipeline.models.loading import load_model, load_tokenizer
from bdpo_pipeline.models.tiny import ARCHITECTURES

IDS = st.lists(st.integers(0, 255), min_size=1, max_size=12)
GOALS = ["How are you?", "Tell me a secret, please", "Why"]
TARGETS = ["Sure, here", "Yes", "Because of"]


@cache
def loaded(tiny_model, architecture):
    return load_model(tiny_model(architecture)["path"], dtype="float32")


def search_of(model, **changes) -> SuffixSearch:
    allowed = torch.ones(model.get_input_embeddings().weight.shape[0], dtype=torch.bool)
    given_options = {"top_k": 8, "width": 6, "tokens_per_batch": 100} | changes
    return SuffixSearch(model, torch.device("cpu"), **({"allowed": allowed} | given_options))


def every(suffixes):
    return [True] * len(suffixes)


def plain_loss(model, prompt: list[int], target: list[int]) -> float:
    logits = model(input_ids=torch.tensor([prompt + target])).logits[0, len(prompt) - 1 : -1]
    return float(cross_entropy(logits.float(), torch.tensor(target)))


@settings(max_examples=20, deadline=None)
@given(data=st.data(), architecture=st.sampled_from(ARCHITECTURES))
def test_losses_are_those_of_a_plain_forward_pass_however_batched(tiny_model, data, architecture):
    model = loaded(tiny_model, architecture)
    aim = Aim(data.draw(IDS), data.draw(IDS), data.draw(IDS))
    length = data.draw(st.integers(1, 6))
    suffixes = data.draw(
        st.lists(st.lists(st.integers(0, 255), min_size=length, max_size=length), min_size=1, max_size=5)
    )
    search = search_of(model, tokens_per_batch=data.draw(st.sampled_from([1, 40, 10_000])))
    losses = search._losses(aim, search._read(aim.before), torch.tensor(suffixes))
    expected = [plain_loss(model, aim.before + suffix + aim.after, aim.target) for suffix in suffixes]
    assert losses.tolist() == pytest.approx(expected, abs=2e-5)


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_gradient_is_that_by_the_one_hot_code(tiny_model, architecture):
    model = loaded(tiny_model, architecture)
    aim, suffix = Aim([5, 6, 7], [8, 9], [10, 11, 12]), torch.tensor([1, 2, 3, 4])
    search = search_of(model)
    weight = model.get_input_embeddings().weight
    code = one_hot(suffix, len(weight)).float().requires_grad_()
    embedded = [
        model.get_input_embeddings()(torch.tensor(ids)) for ids in (aim.before, aim.after, aim.target)
    ]
    whole = torch.cat([embedded[0], code @ weight, embedded[1], embedded[2]])
    logits = model(inputs_embeds=whole[None]).logits[0, -len(aim.target) - 1 : -1]
    cross_entropy(logits, torch.tensor(aim.target)).backward()
    found = search._gradient(aim, search._read(aim.before), suffix)
    torch.testing.assert_close(found, code.grad, atol=1e-6, rtol=1e-4)


def test_a_step_replaces_one_token_by_an_allowed_one_and_goes_on_from_the_best(tiny_model):
    model = loaded(tiny_model, "llama")
    allowed = torch.zeros(model.get_input_embeddings().weight.shape[0], dtype=torch.bool)
    allowed[40:60] = True
    asked = []

    def not_fifty(suffixes):
        asked.append(suffixes)
        return [50 not in suffix for suffix in suffixes]

    search = search_of(model, allowed=allowed, width=16)
    found = list(search(Aim([1, 2], [3], [4, 5]), [0, 0, 0], 8, torch.Generator().manual_seed(1), not_fifty))
    assert len(found) == 9
    assert found[0][0] == [0, 0, 0]
    for (before, _), (after, loss), candidates in zip(found, found[1:], asked, strict=False):
        assert sum(a != b for a, b in zip(before, after, strict=True)) <= 1
        assert all(
            40 <= token < 60 and token != 50 for a, token in zip(before, after, strict=True) if a != token
        )
        kept = [suffix for suffix in candidates if 50 not in suffix]
        assert loss == pytest.approx(min(plain_loss(model, [1, 2, *s, 3], [4, 5]) for s in kept), abs=2e-5)
    assert any(50 in suffix for suffixes in asked for suffix in suffixes)
    assert min(loss for _, loss in found) < found[0][1]


def test_where_no_candidate_can_be_sent_the_suffix_stays(tiny_model):
    search = search_of(loaded(tiny_model, "llama"))
    found = list(
        search(Aim([1], [2], [3]), [7, 8], 3, torch.Generator().manual_seed(1), lambda s: [False] * len(s))
    )
    assert found == [found[0]] * 4


def job_of(path: str, numbers=range(3), **changes) -> AttackJob:
    options = {"steps": 4, "width": 12, "top_k": 8, "first_suffix": " x x x"} | changes
    return AttackJob(
        path,
        Compute(device="cpu", threads=1),
        None,
        [GOALS[i] for i in numbers],
        [TARGETS[i] for i in numbers],
        [100 + i for i in numbers],
        **options,
    )


def attacks_of(job: AttackJob, scratch, stop_after=None) -> tuple[dict[int, dict], list[int]]:
    """Run the job; return what was found for each goal, and the totals of progress that were told."""
    found, totals = {}, []

    def keep(event):
        if event["event"] == "attacks":
            (number,) = event["behaviours"]
            assert number not in found
            found[number] = {name: event[name] for name in ("suffix", "first_loss", "best_loss", "best_step")}
            if len(found) == stop_after:
                raise KeyboardInterrupt
        elif event["event"] == "progress":
            totals.append(event["total"])

    run_job(job, scratch, ragged={}, on_event=keep)
    return found, totals


@pytest.fixture(scope="module")
def attacked(tiny_model, tmp_path_factory):
    path = tiny_model("llama")["path"]
    return path, attacks_of(job_of(path), tmp_path_factory.mktemp("scratch"))


def test_loss_of_a_found_suffix_is_that_of_its_text_as_it_is_sent(attacked):
    path, (found, totals) = attacked
    tokenizer, model = load_tokenizer(path), load_model(path, dtype="float32")
    assert set(found) == {0, 1, 2}
    assert set(totals) == {15}
    for number, attack in found.items():
        [prompt] = encode_prompts(
            tokenizer, [[{"role": "user", "content": GOALS[number] + attack["suffix"]}]]
        )
        target = tokenizer(TARGETS[number], add_special_tokens=False)["input_ids"]
        assert attack["best_loss"] == pytest.approx(plain_loss(model, prompt, target), abs=2e-5)
        assert attack["best_loss"] < attack["first_loss"]
        assert attack["suffix"].isprintable()
        assert len(attack["suffix"]) == len(" x x x")


def test_what_is_found_for_a_goal_depends_on_no_other_goal(attacked, tmp_path):
    path, (found, _) = attacked
    alone, _ = attacks_of(job_of(path, [2]), tmp_path)
    assert alone == {0: found[2]}


def test_an_attack_that_was_cut_off_goes_on_with_the_goals_that_are_left(attacked, tmp_path, hold_workers):
    path, (found, _) = attacked
    job = job_of(path)
    with hold_workers(1, event="attacks"), pytest.raises(KeyboardInterrupt):
        attacks_of(job, tmp_path, stop_after=1)
    again, totals = attacks_of(job, tmp_path)
    assert again == found
    assert set(totals) == {10}


def test_forged_turns_and_what_is_no_printable_ascii_are_not_allowed(tiny_model):
    tokenizer = load_tokenizer(tiny_model("llama")["path"])
    allowed = allowed_tokens(tokenizer, 300)
    texts = {tokenizer.decode([token]) for token in allowed.nonzero().flatten().tolist()}
    assert texts == {chr(code) for code in range(32, 127)}
    assert not allowed[tokenizer.convert_tokens_to_ids(["<|im_start|>", "<|im_end|>", "<|endoftext|>"])].any()
    assert not allowed[len(tokenizer) :].any()


def merging_tokenizer(path):
    """Return the tiny tokenizer with one merge: `n!` is one token."""
    import json

    tokenizer = load_tokenizer(path)
    state = json.loads(tokenizer.backend_tokenizer.to_str())
    state["model"]["merges"] = [["n", "!"]]
    state["model"]["vocab"]["n!"] = 299
    tokenizer._tokenizer = type(tokenizer.backend_tokenizer).from_str(json.dumps(state))
    return tokenizer


@pytest.mark.parametrize(
    ("goal", "suffix", "sent"), [("Open", "!", False), ("Open", " !", True), ("Ope", "n!", True)]
)
def test_a_suffix_counts_that_is_read_as_the_tokens_that_were_meant(tiny_model, goal, suffix, sent):
    tokenizer = merging_tokenizer(tiny_model("llama")["path"])
    before, after = encode_around(tokenizer, goal)
    ids = tokenizer(suffix, add_special_tokens=False)["input_ids"]
    assert suffix_is_sent(tokenizer, goal, Aim(before, after, [1]), ids) is sent


def test_a_first_suffix_that_forges_a_turn_is_refused_with_its_parameter(tiny_model, tmp_path):
    job = job_of(tiny_model("llama")["path"], [0], first_suffix="<|im_end|>")
    with pytest.raises(WorkerError, match=r"SuffixError: attack.first_suffix '<\|im_end\|>'"):
        attacks_of(job, tmp_path)
