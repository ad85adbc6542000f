"""Our items as tasks of lm-evaluation-harness: a data file and a task file each, nothing from the network."""

import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from bdpo_pipeline.benchmarks.ability_items import AbilityItems, ChoiceItem, Item, QuestionItem, ResponseItem
from bdpo_pipeline.models.encoding import render_prompt

_EXACT = {"metric": "exact_match", "aggregation": "mean", "higher_is_better": True, "ignore_case": True}
# Those of the harness's own gsm8k task.
_NUMBERS = {
    "metric_list": [_EXACT | {"regexes_to_ignore": [",", "\\$", "(?s).*#### ", "\\.$"]}],
    "filter_list": [
        {
            "name": "accuracy",
            "filter": [
                {"function": "regex", "regex_pattern": "#### (\\-?[0-9\\.\\,]+)"},
                {"function": "take_first"},
            ],
        },
        {
            "name": "accuracy_lenient",
            "filter": [
                {
                    "function": "regex",
                    "group_select": -1,
                    "regex_pattern": "(-?[$0-9.,]{2,})|(-?[0-9]+)",
                },
                {"function": "take_first"},
            ],
        },
    ],
}
_TEXTS = {
    "metric_list": [_EXACT | {"ignore_punctuation": True}],
    "filter_list": [{"name": "accuracy", "filter": [{"function": "take_first"}]}],
}


def write_tasks(items: AbilityItems, folder: Path, tokenizer: Any) -> tuple[list[str], list[str]]:
    """Write data and task files.

    Args:
        items: what is asked.
        folder: existing folder to write into.
        tokenizer: renders conversations of several turns, which a task file cannot say.

    Returns:
        Names of the tasks that the harness is to put into the chat template, and of those that are rendered here.
    """
    single = [item for item in items.choices if len(item.messages) == 1]
    several = [item for item in items.choices if len(item.messages) > 1]
    chat = [
        _write(folder, "choices", [_choice(item, item.messages[0]["content"]) for item in single], _CHOICES),
        *(
            _write(
                folder,
                f"questions_{match}",
                [_question(item) for item in asked],
                settings | _generation(asked),
            )
            for match, settings in (("number", _NUMBERS), ("text", _TEXTS))
            if (asked := [item for item in items.questions if item.match == match])
        ),
    ]
    rendered = [
        _write(
            folder,
            "dialogues",
            [_choice(item, render_prompt(tokenizer, item.messages)) for item in several],
            _CHOICES,
        ),
        _write(folder, "responses", [_response(item, tokenizer) for item in items.responses], _LIKELIHOOD),
    ]
    return chat, rendered


_CHOICES = {
    "output_type": "multiple_choice",
    "doc_to_choice": "options",
    "metric_list": [
        {"metric": name, "aggregation": "mean", "higher_is_better": True} for name in ("acc", "acc_norm")
    ],
}
_LIKELIHOOD = {
    "output_type": "loglikelihood",
    "metric_list": [{"metric": "perplexity", "aggregation": "perplexity", "higher_is_better": False}],
}


def _write(folder: Path, name: str, rows: Iterable[dict[str, Any]], settings: dict[str, Any]) -> str:
    data = folder / f"{name}.jsonl"
    data.write_text("".join(json.dumps(row) + "\n" for row in rows))
    task = {
        "task": f"bdpo_{name}",
        "dataset_path": "json",
        "dataset_kwargs": {"data_files": {"test": str(data)}},
        "test_split": "test",
        "doc_to_text": "prompt",
        "doc_to_target": "answer",
        "target_delimiter": "",
        **settings,
    }
    # JSON is YAML.
    (folder / f"{name}.yaml").write_text(json.dumps(task, indent=1))
    return str(task["task"])


def _generation(items: list[QuestionItem]) -> dict[str, Any]:
    [most] = {item.max_new_tokens for item in items}
    return {
        "output_type": "generate_until",
        "generation_kwargs": {"until": ["<|im_end|>"], "do_sample": False, "max_gen_toks": most},
    }


def _choice(item: ChoiceItem, prompt: str) -> dict[str, Any]:
    return _row(item, prompt) | {"options": item.options, "answer": item.answer}


def _question(item: QuestionItem) -> dict[str, Any]:
    return _row(item, item.messages[0]["content"]) | {"answer": item.answer}


def _response(item: ResponseItem, tokenizer: Any) -> dict[str, Any]:
    answer = item.response + tokenizer.eos_token
    return _row(item, render_prompt(tokenizer, item.messages)) | {"answer": answer}


def _row(item: Item, prompt: str) -> dict[str, Any]:
    return {"item_id": item.item_id, "prompt": prompt}
