"""A model small enough to write down every response, so that its mutual information is known exactly.

It has nine tokens, and a response ends with the end-of-turn token or after three tokens: 585 responses, whose probabilities sum to one
in any context. The queries are all there are, and equally likely.
"""

from collections.abc import Sequence
from itertools import product
from pathlib import Path
from typing import Any

QUERIES = ("a", "b", "c", "d", "e", "a b", "b c", "c d")
_LONGEST = 3
# The engine probes a model with token ids up to 8.
_TOKENS = ("<bos>", "<end>", "<user>", "<assistant>", "a", "b", "c", "d", "e")
_TEMPLATE = (
    "{% for m in messages %}{{ '<user> ' if m['role'] == 'user' else '' }}{{ m['content'] }}{% endfor %}"
    "{% if add_generation_prompt %}{{ ' <assistant>' }}{% endif %}"
)


def build_enumerable_model(folder: Path, *, seed: int = 0) -> dict[str, Any]:
    """Write a random model of nine tokens and its tokenizer into ``folder``; return the ``base_model`` artifact."""
    import torch
    from tokenizers import Tokenizer, models, pre_tokenizers
    from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

    from bdpo_pipeline.models.prepare import ModelSource, prepare_base_model

    core = Tokenizer(models.WordLevel({token: i for i, token in enumerate(_TOKENS)}))
    core.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    special = {"bos_token": "<bos>", "eos_token": "<end>"}
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=core, chat_template=_TEMPLATE, **special)
    config = LlamaConfig(
        vocab_size=len(_TOKENS),
        hidden_size=16,
        intermediate_size=32,
        num_hidden_layers=2,
        num_attention_heads=2,
        initializer_range=0.5,
        max_position_embeddings=64,
        bos_token_id=tokenizer.bos_token_id,
        eos_token_id=tokenizer.eos_token_id,
    )
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        LlamaForCausalLM(config).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return prepare_base_model(ModelSource("folder", str(folder)), folder)


def encode_queries(base_model: dict[str, Any]) -> list[list[int]]:
    """Return the token ids of each query in the chat template."""
    from bdpo_pipeline.models.encoding import encode_prompts
    from bdpo_pipeline.models.loading import load_tokenizer

    prompts = [[{"role": "user", "content": query}] for query in QUERIES]
    return encode_prompts(load_tokenizer(base_model["path"]), prompts)


def all_responses() -> list[list[int]]:
    """Return every response: what ends early, and what is cut at the longest."""
    end = _TOKENS.index("<end>")
    going_on = [token for token in range(len(_TOKENS)) if token != end]
    ended = [[*start, end] for n in range(_LONGEST - 1) for start in product(going_on, repeat=n)]
    last = [
        [*start, token] for start in product(going_on, repeat=_LONGEST - 1) for token in range(len(_TOKENS))
    ]
    return ended + last


def exact_logps(
    base_model: dict[str, Any], contexts: Sequence[Sequence[int]], responses: list[list[int]]
) -> Any:
    """Return log p(y | context) in fp64, numpy ``[contexts, responses]``, by the model's own forward pass.

    None of this project's scoring is used: one response a row, padded at the end, where a causal model does not look.
    """
    import numpy as np
    import torch
    from transformers import AutoModelForCausalLM

    model = AutoModelForCausalLM.from_pretrained(base_model["path"], dtype=torch.float64).eval()
    targets = torch.tensor([response + [0] * (_LONGEST - len(response)) for response in responses])
    scored = torch.tensor([[i < len(response) for i in range(_LONGEST)] for response in responses])
    rows = []
    for context in contexts:
        start = torch.tensor([list(context)]).expand(len(responses), -1)
        with torch.inference_mode():
            logits = model(torch.cat([start, targets], dim=1)).logits[:, len(context) - 1 : -1]
        logps = logits.log_softmax(-1).gather(-1, targets[:, :, None])[:, :, 0]
        rows.append((logps * scored).sum(1).numpy())
    return np.stack(rows)


def mutual_information(logps: Any) -> float:
    """Return sum_x p(x) sum_y p(y|x) log p(y|x) / p(y) of equally likely queries, nats; ``logps`` is ``[queries, responses]``."""
    import numpy as np

    likelihood = np.exp(logps)
    return float((likelihood * (logps - np.log(likelihood.mean(axis=0)))).sum(axis=1).mean())
