"""The work that every contestant does: the same token ids, reference log-probs, initial adapter and order of pairs, as plain files."""

import json
import shutil
from pathlib import Path
from typing import Any

import torch

from bdpo_pipeline.cache.scoring import Item, score_through_cache
from bdpo_pipeline.cache.store import LogprobStore
from bdpo_pipeline.engine.jobs import Compute
from bdpo_pipeline.engine.training import shuffle
from bdpo_pipeline.models.adapters import add_lora
from bdpo_pipeline.models.encoding import encode_pairs
from bdpo_pipeline.models.fingerprints import hash_weights
from bdpo_pipeline.models.loading import load_model, load_tokenizer
from bdpo_pipeline.preferences.readers import read_file

ROOT = Path(__file__).resolve().parents[2]
PAIRS = ROOT / "data/01_raw/pku-saferlhf-safety-pairs/pairs.jsonl.gz"
SEEDS = {"adapter": 1, "order": 2, "dropout": 3}
LORA = {"r": 16, "alpha": 32, "dropout": 0.0, "target_modules": "all-linear"}
LARGE_VOCABULARY = 151_936


def make_workload(folder: Path, base_model: dict[str, Any], *, pairs: int, longest: int, dtype: str) -> None:
    """Write ``pairs.jsonl`` (in the order of training), ``natural.jsonl`` (in the order of the file) and ``adapter/``.

    Args:
        folder: where to.
        base_model: the ``base_model`` artifact.
        pairs: number of pairs, the first of the file that are short enough.
        longest: most tokens of a prompt with a response.
        dtype: of the reference log-probs.
    """
    folder.mkdir(parents=True, exist_ok=True)
    rows = _first_pairs(base_model["path"], pairs, longest)
    items = [Item(row["prompt_ids"], row[side]) for row in rows for side in ("chosen_ids", "rejected_ids")]
    store = LogprobStore(folder / "reference.sqlite")
    logps = score_through_cache(items, base_model, Compute(device="cpu", dtype=dtype), store, folder).logps
    for row, chosen, rejected in zip(rows, logps[0::2], logps[1::2], strict=True):
        row |= {"ref_chosen_logps": chosen, "ref_rejected_logps": rejected}
    order = shuffle(list(range(pairs)), SEEDS["order"])
    _write(folder / "natural.jsonl", rows)
    _write(folder / "pairs.jsonl", [rows[i] for i in order])
    policy = add_lora(load_model(base_model["path"], dtype="float32"), **LORA, seed=SEEDS["adapter"])
    policy.save_pretrained(folder / "adapter")


def with_large_vocabulary(base_model: dict[str, Any], folder: Path) -> dict[str, Any]:
    """Return the model with as many tokens as Qwen2 has, the added ones random: the cost of a head, not its meaning."""
    if not (folder / "config.json").exists():
        model = load_model(base_model["path"], dtype="float32")
        torch.manual_seed(0)
        model.resize_token_embeddings(LARGE_VOCABULARY, mean_resizing=False)
        model.save_pretrained(folder)
        for path in Path(base_model["path"]).glob("*token*"):
            shutil.copy(path, folder)
        for path in Path(base_model["path"]).glob("*.jinja"):
            shutil.copy(path, folder)
    return {**base_model, "path": str(folder), "weights_sha256": hash_weights(folder)}


def _first_pairs(model: str, number: int, longest: int) -> list[dict[str, Any]]:
    tokenizer = load_tokenizer(model)
    found: list[dict[str, Any]] = []
    for row in read_file(PAIRS, 1 << 20):
        fields = row.fields
        [pair] = encode_pairs(
            tokenizer,
            [([{"role": "user", "content": fields["prompt"]}], fields["chosen"], fields["rejected"])],
        )
        if len(pair.prompt_ids) + max(len(pair.chosen_ids), len(pair.rejected_ids)) <= longest:
            found.append(vars(pair) if hasattr(pair, "__dict__") else pair._asdict())
        if len(found) == number:
            return found
    raise ValueError(f"{PAIRS} has only {len(found)} pairs of at most {longest} tokens")


def _write(path: Path, rows: list[dict[str, Any]]) -> None:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
