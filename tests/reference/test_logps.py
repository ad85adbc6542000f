"""Reference log-probs through the cache: what an objective needs and nothing more."""

import numpy as np
import pandas as pd
import pytest
import torch
from transformers import AutoModelForCausalLM

from bdpo_pipeline.engine.jobs import Compute
from bdpo_pipeline.reference.logps import score_reference
from bdpo_pipeline.reference.marginals import Marginal, marginal_contexts
from bdpo_pipeline.reference.tokenisation import Bounds, tokenise_pairs

WIDE = Bounds(1000, 1000, 0.0)
EMPTY_PROMPT = Marginal("empty_prompt")
LOGPS = [f"{kind}_{side}_logp" for kind in ("reference", "marginal") for side in ("chosen", "rejected")]


@pytest.fixture(scope="module")
def scored(base, rows, tmp_path_factory):
    folder = tmp_path_factory.mktemp("reference")
    pairs = tokenise_pairs(base["path"], rows(15), WIDE)

    def score(pairs: pd.DataFrame, marginal: Marginal | None = EMPTY_PROMPT, conditional=False):
        compute = Compute(device="cpu", threads=1)
        places = {"cache": folder / "cache.sqlite", "scratch": folder}
        return score_reference(
            base, pairs, conditional=conditional, marginal=marginal, compute=compute, **places
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


def test_second_run_makes_no_forward_pass_and_one_pair_more_costs_one_pair(scored, base, rows):
    pairs, score, table, _ = scored
    again, report = score(pairs)
    pd.testing.assert_frame_equal(again, table)
    assert report["forward_passes"] == 0
    assert report["conditional"]["computed"] == report["marginal"]["computed"] == 0
    _, report = score(tokenise_pairs(base["path"], rows(16), WIDE))
    assert report["conditional"]["computed"] == 2
    # Its rejected response was seen before, so its marginal is known.
    assert report["marginal"]["computed"] == 1


def test_contrastive_is_the_mean_over_the_query_and_others_by_the_models_own_forward_pass(scored, base):
    pairs, score, *_ = scored
    marginal = Marginal("contrastive", 3, seed=5)
    table, _ = score(pairs, marginal)
    model = AutoModelForCausalLM.from_pretrained(base["path"]).eval()

    def logp(context, response):
        ids = torch.tensor([[*context, *response]])
        with torch.inference_mode():
            logps = model(ids).logits[0].log_softmax(-1)[len(context) - 1 : -1]
        return float(logps.gather(1, ids[0, len(context) :, None]).sum())

    training = list(pairs.loc[pairs["split"] == "train", "prompt_ids"])
    seen = pairs[pairs["split"] != "heldout"]
    panels = marginal_contexts(base["path"], marginal, list(seen["prompt_ids"]), training)
    for (number, pair), panel in zip(seen.iterrows(), panels, strict=True):
        assert len(panel) == 3
        for side in ("chosen", "rejected"):
            parts = [logp(context, pair[f"{side}_ids"]) for context in (pair["prompt_ids"], *panel)]
            expected = np.logaddexp.reduce(parts) - np.log(4)
            assert table.loc[number, f"marginal_{side}_logp"] == pytest.approx(expected, abs=2e-3)


def test_what_nobody_asks_for_is_null_and_costs_nothing(scored, tmp_path):
    pairs, score, *_ = scored
    table, report = score(pairs, None)
    assert (
        report["forward_passes"] == report["conditional"]["requested"] == report["marginal"]["requested"] == 0
    )
    table.to_parquet(tmp_path / "table.parquet")
    for one in (table, pd.read_parquet(tmp_path / "table.parquet")):
        assert one[LOGPS].isna().all().all()
        assert list(one[LOGPS].dtypes) == [np.float64] * 4
        assert (one["chosen_tokens"] > 0).all()


def test_a_reference_without_marginals_is_the_same_reference(scored):
    pairs, score, table, _ = scored
    alone, report = score(pairs, None, conditional=True)
    assert alone[LOGPS[2:]].isna().all().all()
    pd.testing.assert_frame_equal(alone[LOGPS[:2]], table[LOGPS[:2]])
    assert report["marginal"]["requested"] == 0


def test_held_out_pairs_alone_have_no_marginal_to_compute(scored):
    pairs, score, *_ = scored
    table, report = score(pairs[pairs["split"] == "heldout"])
    assert table[LOGPS[:2]].notna().all().all()
    assert table[LOGPS[2:]].isna().all().all()
    assert report["marginal"]["requested"] == 0
