"""Whether token ids are a model's own."""

from collections.abc import Iterable, Sequence
from typing import Any

from torch import nn

from bdpo_pipeline.engine.logps import base_model


class UnknownTokenError(ValueError):
    """A token id is none of the model's vocabulary; the message says which one."""


def check_ids(model: nn.Module, sequences: Iterable[Sequence[int]]) -> None:
    """Check that a model has an embedding for every token id of a job: a device would fail on others without a word of why.

    Args:
        model: the base model or a PEFT model around it.
        sequences: all token ids of the job.

    Raises:
        UnknownTokenError: it has not.
    """
    embeddings: Any = base_model(model).get_input_embeddings()
    size = embeddings.weight.shape[0]
    for ids in sequences:
        if ids and (min(ids) < 0 or max(ids) >= size):
            found = min(ids) if min(ids) < 0 else max(ids)
            raise UnknownTokenError(
                f"the token id {found} is not in the vocabulary of this {base_model(model).config.model_type} model, which has ids 0 to "
                f"{size - 1}: the texts were tokenised for another model. Run tokenisation again (kedro run --pipelines reference) with "
                "the base_model of now"
            )
