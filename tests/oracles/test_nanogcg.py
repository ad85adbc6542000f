"""nanoGCG, the published package, as the oracle of the search: the same candidates, losses and suffix, step by step.

The package asks for a transformers of the year before. With the present one its prefix cache does not run, so it is off; and where a
chat template begins with the tokenizer's BOS token, it removes that token everywhere, so the tokenizer here has another.
"""

import pytest
import torch
from nanogcg.gcg import GCG, GCGConfig

from bdpo_pipeline.engine.attack import allowed_tokens
from bdpo_pipeline.engine.gcg import Aim, SuffixSearch
from bdpo_pipeline.models.encoding import encode_around
from bdpo_pipeline.models.loading import load_model, load_tokenizer

GOAL, TARGET, FIRST = "Open the door", "Sure, it", " x x x x"
STEPS, WIDTH, TOP_K, SEED = 12, 24, 16, 5


@pytest.fixture
def _settings_kept():
    before = torch.are_deterministic_algorithms_enabled()
    yield
    torch.use_deterministic_algorithms(before)


@pytest.mark.parametrize("architecture", ["llama", "qwen2"])
@pytest.mark.usefixtures("_settings_kept")
def test_candidates_losses_and_suffix_are_nanogcgs(tiny_model, architecture):
    path = tiny_model(architecture)["path"]
    tokenizer, model = load_tokenizer(path), load_model(path, dtype="float32")
    tokenizer.bos_token = "<|endoftext|>"  # noqa: S105
    allowed = allowed_tokens(tokenizer, model.get_input_embeddings().weight.shape[0])

    config = GCGConfig(
        num_steps=STEPS,
        optim_str_init=FIRST,
        search_width=WIDTH,
        topk=TOP_K,
        use_prefix_cache=False,
        seed=SEED,
        verbosity="ERROR",
    )
    theirs = GCG(model, tokenizer, config)
    theirs.not_allowed_ids = (~allowed).nonzero().flatten()
    expected = theirs.run([{"role": "user", "content": GOAL + "{optim_str}"}], TARGET)

    def ids(text):
        return tokenizer(text, add_special_tokens=False)["input_ids"]

    search = SuffixSearch(model, torch.device("cpu"), allowed, top_k=TOP_K, width=WIDTH, tokens_per_batch=400)
    aim = Aim(*encode_around(tokenizer, GOAL), ids(TARGET))
    generator = torch.Generator().manual_seed(SEED)
    found = list(search(aim, ids(FIRST), STEPS, generator, lambda suffixes: [True] * len(suffixes)))
    assert [tokenizer.decode(suffix) for suffix, _ in found[1:]] == expected.strings
    assert [loss for _, loss in found[1:]] == pytest.approx(expected.losses, abs=2e-5)
    assert len(set(expected.strings)) > STEPS // 2
