"""Token ids, reference log-probs and the comprehension table."""

import numpy as np
import pandas as pd
import pytest

from bdpo_pipeline.engine.jobs import Compute
from bdpo_pipeline.models.loading import load_tokenizer
from bdpo_pipeline.reference.comprehension import Weighting, compute_comprehension
from bdpo_pipeline.reference.logps import marginal_context, score_reference
from bdpo_pipeline.reference.tokenisation import Bounds, TruncationError, tokenise_pairs

WIDE = Bounds(1000, 1000, 0.0)
FULL = Weighting("token", "full", "inverse", "harmonic", "none", 0.01, (0.1, 0.9))


def rows(number: int) -> list[dict[str, object]]:
    splits = ["train", "train", "train", "validation", "heldout"]
    return [
        {
            "pair_id": f"{i:032x}",
            "split": splits[i % 5],
            "prompt": [{"role": "user", "content": f"Question {i}?"}],
            "chosen": f"I can not help with {i}.",
            "rejected": "Sure! " * (1 + i % 4),
        }
        for i in range(number)
    ]


@pytest.fixture(scope="module")
def base(tiny_model):
    return tiny_model("llama")


def test_rows_keep_their_order_and_text(base):
    table = tokenise_pairs(base["path"], rows(12), WIDE)
    tokenizer = load_tokenizer(base["path"])
    assert list(table["pair_id"]) == [row["pair_id"] for row in rows(12)]
    assert [tokenizer.decode(ids[:-1]) for ids in table["chosen_ids"]] == [row["chosen"] for row in rows(12)]
    assert not table["truncated"].any()


def test_long_prompts_lose_their_beginning_and_long_responses_their_end(base):
    whole = tokenise_pairs(base["path"], rows(4), WIDE)
    cut = tokenise_pairs(base["path"], rows(4), Bounds(10, 8, 1.0))
    assert cut["truncated"].all()
    for name, part in (
        ("prompt_ids", slice(-10, None)),
        ("chosen_ids", slice(8)),
        ("rejected_ids", slice(8)),
    ):
        assert [list(ids) for ids in cut[name]] == [list(ids[part]) for ids in whole[name]]


def test_too_many_cut_pairs_stop_the_run(base):
    with pytest.raises(
        TruncationError, match=r"12 of 12 pairs are longer .* more than max_truncated_share = 0.5"
    ):
        tokenise_pairs(base["path"], rows(12), Bounds(10, 1000, 0.5))


def test_no_pair_gives_an_empty_table(base):
    assert list(tokenise_pairs(base["path"], [], WIDE).columns)[:2] == ["pair_id", "split"]


@pytest.fixture(scope="module")
def scored(base, tmp_path_factory):
    folder = tmp_path_factory.mktemp("reference")
    pairs = tokenise_pairs(base["path"], rows(15), WIDE)

    def score(pairs: pd.DataFrame, marginal: str = "empty_prompt"):
        compute = Compute(device="cpu", threads=1)
        return score_reference(
            base, pairs, marginal=marginal, compute=compute, cache=folder / "cache.sqlite", scratch=folder
        )

    return pairs, score, *score(pairs)


def test_held_out_pairs_get_no_marginal(scored):
    _, _, table, report = scored
    assert table.loc[table["split"] == "heldout", "marginal_chosen_logp"].isna().all()
    assert table.loc[table["split"] != "heldout"].notna().all().all()
    # 15 chosen responses differ, and 4 different rejected ones stand behind 15 different prompts.
    assert report["conditional"] == {"requested": 30, "cached": 0, "computed": 30}
    assert report["forward_passes"] > 0
    assert report["marginal"]["requested"] == 12 + 4


def test_second_run_makes_no_forward_pass_and_one_pair_more_costs_one_pair(scored, base):
    pairs, score, table, _ = scored
    again, report = score(pairs)
    pd.testing.assert_frame_equal(again, table)
    assert report["forward_passes"] == 0
    assert report["conditional"]["computed"] == report["marginal"]["computed"] == 0
    more = tokenise_pairs(base["path"], rows(16), WIDE)
    _, report = score(more)
    assert report["conditional"]["computed"] == 2
    # Its rejected response was seen before, so its marginal is known.
    assert report["marginal"]["computed"] == 1


def test_bos_marginal_starts_at_the_beginning_of_sequence_token(base):
    assert marginal_context(base["path"], "bos") == [load_tokenizer(base["path"]).bos_token_id]


def test_comprehension_is_the_formula_over_the_table(scored):
    table = scored[2]
    comprehension, diagnostics = compute_comprehension(table, FULL, seed=0)
    known = table[table["split"] != "heldout"].reset_index(drop=True)
    for side in ("chosen", "rejected"):
        expected = (known[f"reference_{side}_logp"] - known[f"marginal_{side}_logp"]) / known[
            f"{side}_tokens"
        ]
        np.testing.assert_allclose(comprehension[f"{side}_mi"], expected)
    sums = comprehension["chosen_coefficient"] + comprehension["rejected_coefficient"]
    np.testing.assert_allclose(sums, 2)
    train = comprehension["split"] == "train"
    assert diagnostics["pairs"] == train.sum()
    assert diagnostics["clipped_share"] == pytest.approx(comprehension.loc[train, "clipped"].mean())


@pytest.mark.parametrize("control", ["shuffled", "reversed", "length"])
def test_controls_change_the_coefficients_and_not_the_information(scored, control):
    from dataclasses import replace

    plain, _ = compute_comprehension(scored[2], FULL, seed=0)
    other, _ = compute_comprehension(scored[2], replace(FULL, control=control), seed=0)
    pd.testing.assert_series_equal(other["chosen_mi"], plain["chosen_mi"])
    assert not np.allclose(other["chosen_coefficient"], plain["chosen_coefficient"])
    if control == "length":
        tokens = scored[2][scored[2]["split"] != "heldout"]
        share = tokens["rejected_tokens"] / (tokens["chosen_tokens"] + tokens["rejected_tokens"])
        np.testing.assert_allclose(other["chosen_share"], share.clip(0.1, 0.9))
