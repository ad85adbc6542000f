"""Token ids that are none of a model's."""

import pytest

from bdpo_pipeline.engine.vocabulary import UnknownTokenError, check_ids
from bdpo_pipeline.models.adapters import add_lora
from bdpo_pipeline.models.loading import load_model


@pytest.mark.parametrize("adapted", [False, True])
def test_ids_beyond_the_vocabulary_are_refused_and_the_last_one_is_not(tiny_model, adapted):
    model = load_model(tiny_model("llama")["path"], dtype="float32")
    size = model.config.vocab_size
    if adapted:
        model = add_lora(model, r=2, alpha=2, dropout=0.0, target_modules="all-linear", seed=0)
    check_ids(model, [[], [0, size - 1]])
    for odd in (size, -1):
        message = (
            f"token id {odd} is not in the vocabulary of this llama model, which has ids 0 to {size - 1}"
        )
        with pytest.raises(UnknownTokenError, match=message):
            check_ids(model, [[1], [2, odd, 3]])
