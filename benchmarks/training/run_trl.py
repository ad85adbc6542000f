"""One contestant: TRL's DPOTrainer on a workload. Runs in any environment that has TRL, and imports nothing of this project.

    python run_trl.py WORKLOAD MODEL OUT --steps 16 --dtype float32

The token ids and the reference log-probs are given, so TRL tokenises and precomputes nothing; its loop, collator and loss are its own.
With --defaults it has its own activation checkpointing and precision, and its reference log-probs come from a pass in every step.
"""

import json
import resource
import time
from typing import Any

import torch
from arguments import installed_versions, parse_arguments
from datasets import Dataset
from peft import PeftModel
from transformers import AutoModelForCausalLM, AutoTokenizer, TrainerCallback
from trl import DPOConfig, DPOTrainer

EQUAL: dict[str, Any] = {"gradient_checkpointing": False, "bf16": False, "precompute_ref_log_probs": True}


class GivenTokens(DPOTrainer):
    """Takes the data set as it is."""

    def _prepare_dataset(self, dataset, *args, **kwargs):
        return dataset

    def _precompute_ref_logps(self, dataset, *args, **kwargs):
        return dataset


class Clock(TrainerCallback):
    """CPU and wall seconds from the first step to the end of the last."""

    def on_train_begin(self, args, state, control, **kwargs):
        self.wall, self.cpu = time.monotonic(), time.process_time()

    def on_train_end(self, args, state, control, **kwargs):
        if torch.cuda.is_available():
            torch.cuda.synchronize()
        self.wall, self.cpu = time.monotonic() - self.wall, time.process_time() - self.cpu


def main() -> None:
    options = parse_arguments(__doc__)
    torch.set_num_threads(options.threads)
    rows = [json.loads(line) for line in (options.workload / "pairs.jsonl").read_text().splitlines()]
    model = AutoModelForCausalLM.from_pretrained(options.model, dtype=getattr(torch, options.dtype))
    if not options.full:
        model = PeftModel.from_pretrained(model, options.workload / "adapter", is_trainable=True)
    at_once = options.pairs_at_once or options.pairs_per_step
    arguments = DPOConfig(
        output_dir=str(options.out.parent / "trl"),
        beta=0.1,
        per_device_train_batch_size=at_once,
        gradient_accumulation_steps=options.pairs_per_step // at_once,
        max_steps=options.steps,
        learning_rate=options.learning_rate,
        lr_scheduler_type="constant",
        warmup_steps=0,
        weight_decay=0.0,
        max_grad_norm=1.0,
        max_length=None,
        disable_dropout=True,
        use_cpu=options.device == "cpu",
        report_to=[],
        logging_steps=1,
        save_strategy="no",
        train_sampling_strategy="sequential",
        dataloader_pin_memory=options.device == "cuda",
        disable_tqdm=True,
        **({} if options.defaults else EQUAL),
    )
    clock = Clock()
    trainer = GivenTokens(
        model=model,
        args=arguments,
        train_dataset=Dataset.from_list(rows),
        processing_class=AutoTokenizer.from_pretrained(options.model),
        callbacks=[clock],
    )
    trainer.train()
    result = {
        "seconds": clock.wall,
        "cpu_seconds": clock.cpu,
        "peak_memory_bytes": _peak_memory(options.device),
        "device_name": torch.cuda.get_device_name() if options.device == "cuda" else "cpu",
        "versions": installed_versions(),
        "at_once": f"{at_once} pairs",
        "losses": [entry["loss"] for entry in trainer.state.log_history if "loss" in entry],
    }
    options.out.write_text(json.dumps(result))


def _peak_memory(device: str) -> int:
    if device == "cuda":
        return torch.cuda.max_memory_allocated()
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


if __name__ == "__main__":
    main()
