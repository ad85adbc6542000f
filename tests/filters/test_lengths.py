import numpy as np
import pytest

from bdpo_pipeline.filters.lengths import (
    LENGTH_REASONS,
    OK,
    REFUSED_BY_TEMPLATE,
    SPECIAL_TOKEN,
    check_lengths,
    count_tokens,
)
from bdpo_pipeline.filters.parameters import LengthBounds
from bdpo_pipeline.models.encoding import encode_pair

BOUNDS = LengthBounds(max_prompt_tokens=10, min_response_tokens=2, max_response_tokens=5)


@pytest.mark.parametrize(
    ("counts", "reason"),
    [
        ((10, 2, 5), None),
        ((11, 3, 3), "prompt too long"),
        ((5, 1, 3), "response too short"),
        ((5, 3, 1), "response too short"),
        ((5, 6, 3), "response too long"),
        ((5, 3, 6), "response too long"),
        ((11, 6, 6), "prompt too long"),
    ],
)
def test_bounds_include_their_ends(counts, reason):
    code = check_lengths(np.array([counts], np.int32), np.array([OK], np.int8), BOUNDS)[0]
    assert (None if code == 0 else LENGTH_REASONS[code - 1]) == reason


def test_no_rows_are_no_trouble():
    assert check_lengths(np.zeros((0, 3), np.int32), np.zeros(0, np.int8), BOUNDS).shape == (0,)


def test_counts_are_those_of_training(tokenizer, pair):
    rows = [pair(), pair("Was?", "Nichts Besonderes.", "Grüße")]
    counts, state = count_tokens(tokenizer, rows)
    for row, found in zip(rows, counts, strict=True):
        encoded = encode_pair(tokenizer, row["prompt"], row["chosen"], row["rejected"])
        assert found.tolist() == [len(encoded.prompt_ids), len(encoded.chosen_ids), len(encoded.rejected_ids)]
    assert state.tolist() == [OK, OK]


def test_special_token_and_refused_messages_do_not_stop_the_others(tokenizer, pair):
    import copy

    strict = copy.deepcopy(tokenizer)
    strict.chat_template = (
        "{% for m in messages %}{% if m.role == 'system' %}{{ raise_exception('no system') }}{% endif %}"
        "{{ m.content }}<|im_end|>{% endfor %}"
    )
    system = pair() | {
        "prompt": [{"role": "system", "content": "Be kind."}, {"role": "user", "content": "Hi"}]
    }
    counts, state = count_tokens(strict, [pair(), system, pair("a <|im_start|> b")])
    assert state.tolist() == [OK, REFUSED_BY_TEMPLATE, SPECIAL_TOKEN]
    assert (counts[0] > 0).all()
    assert (counts[1:] == 0).all()
