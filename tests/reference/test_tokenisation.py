"""Token ids of pairs."""

import pytest

from bdpo_pipeline.models.loading import load_tokenizer
from bdpo_pipeline.reference.tokenisation import Bounds, TruncationError, tokenise_pairs

WIDE = Bounds(1000, 1000, 0.0)


def test_rows_keep_their_order_and_text(base, rows):
    table = tokenise_pairs(base["path"], rows(12), WIDE)
    tokenizer = load_tokenizer(base["path"])
    assert list(table["pair_id"]) == [row["pair_id"] for row in rows(12)]
    assert [tokenizer.decode(ids[:-1]) for ids in table["chosen_ids"]] == [row["chosen"] for row in rows(12)]
    assert not table["truncated"].any()


def test_long_prompts_lose_their_beginning_and_long_responses_their_end(base, rows):
    whole = tokenise_pairs(base["path"], rows(4), WIDE)
    cut = tokenise_pairs(base["path"], rows(4), Bounds(10, 8, 1.0))
    assert cut["truncated"].all()
    for name, part in (
        ("prompt_ids", slice(-10, None)),
        ("chosen_ids", slice(8)),
        ("rejected_ids", slice(8)),
    ):
        assert [list(ids) for ids in cut[name]] == [list(ids[part]) for ids in whole[name]]


def test_too_many_cut_pairs_stop_the_run(base, rows):
    with pytest.raises(
        TruncationError, match=r"12 of 12 pairs are longer .* more than max_truncated_share = 0.5"
    ):
        tokenise_pairs(base["path"], rows(12), Bounds(10, 1000, 0.5))


def test_no_pair_gives_an_empty_table(base, rows):
    assert list(tokenise_pairs(base["path"], [], WIDE).columns)[:2] == ["pair_id", "split"]
