"""Loading a prepared base model and its tokenizer from their folder."""

from pathlib import Path
from typing import TYPE_CHECKING, Any

from bdpo_pipeline.models.damage import clear_about_damage

if TYPE_CHECKING:
    from transformers import PreTrainedModel, PreTrainedTokenizerBase

_RATES = "name a sequence classifier with one output"


def load_tokenizer(path: str | Path) -> "PreTrainedTokenizerBase":
    """Return the tokenizer of a prepared model folder.

    Raises:
        DamagedModelError: its files cannot be read, or it has no end-of-turn token.
    """
    from transformers import AutoTokenizer

    remedy = "check tokenizer.json and tokenizer_config.json there, or fetch the model again"
    with clear_about_damage("tokenizer", path, remedy):
        tokenizer: PreTrainedTokenizerBase = AutoTokenizer.from_pretrained(
            str(path), local_files_only=True, trust_remote_code=False
        )
        if tokenizer.eos_token_id is None:
            raise ValueError("it has no eos_token, with which responses end")
        if tokenizer.pad_token_id is None:
            # Padding is masked wherever it stands, so any token will do.
            tokenizer.pad_token = tokenizer.eos_token
    return tokenizer


def load_model(path: str | Path, *, dtype: str, quantisation: str | None = None) -> "PreTrainedModel":
    """Return the frozen base model in evaluation mode, on the CPU.

    Args:
        path: prepared model folder.
        dtype: name of a torch dtype, such as ``float32`` or ``bfloat16``; weights are cast to it.
        quantisation: None, or ``nf4``: weights of linear layers in four bits (bitsandbytes), multiplied in ``dtype``.
    """
    import torch
    from transformers import AutoModelForCausalLM, BitsAndBytesConfig

    options: dict[str, Any] = {"dtype": getattr(torch, dtype), "attn_implementation": "sdpa"}
    if quantisation is not None:
        options["quantization_config"] = BitsAndBytesConfig(
            load_in_4bit=True,
            bnb_4bit_quant_type=quantisation,
            bnb_4bit_compute_dtype=options["dtype"],
            bnb_4bit_use_double_quant=True,
        )
    model: PreTrainedModel = AutoModelForCausalLM.from_pretrained(str(path), local_files_only=True, **options)
    model.requires_grad_(False)
    model.config.use_cache = False
    model.eval()
    return model


def check_rating_model(path: str | Path) -> None:
    """Check by its configuration that a model is a sequence classifier with one output; its weights are not read.

    Raises:
        DamagedModelError: it is not.
    """
    from transformers import AutoConfig

    with clear_about_damage("reward model", path, _RATES):
        config = AutoConfig.from_pretrained(str(path), local_files_only=True, trust_remote_code=False)
        if config.num_labels != 1:
            raise ValueError(f"it has {config.num_labels} outputs")


def load_rating_model(path: str | Path, *, dtype: str) -> "PreTrainedModel":
    """Return a sequence classifier with one output, such as a reward model, in evaluation mode, on the CPU.

    Args:
        path: its folder.
        dtype: name of a torch dtype; weights are cast to it.

    Raises:
        DamagedModelError: its files cannot be read, or it has another number of outputs.
    """
    import torch
    from transformers import AutoModelForSequenceClassification

    check_rating_model(path)
    with clear_about_damage("reward model", path, _RATES):
        model, report = AutoModelForSequenceClassification.from_pretrained(
            str(path),
            local_files_only=True,
            trust_remote_code=False,
            use_safetensors=True,
            dtype=getattr(torch, dtype),
            output_loading_info=True,
        )
        if report["missing_keys"]:
            raise ValueError(f"its weights lack {', '.join(sorted(report['missing_keys']))}")
    rating: PreTrainedModel = model.eval()
    return rating
