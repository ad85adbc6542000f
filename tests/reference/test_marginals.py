"""Which contexts stand for "no query", and how their log-probs become one."""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from bdpo_pipeline.models.loading import load_tokenizer
from bdpo_pipeline.reference.marginals import Marginal, combine, marginal_contexts, single_context

POOL = [[1, n] for n in range(40)]
PROMPTS = [[2, n] for n in range(5)]


def contrastive(queries, prompts=PROMPTS, pool=POOL, seed=0):
    return marginal_contexts("no model is read", Marginal("contrastive", queries, seed), prompts, pool)


def test_all_prompts_share_their_queries_and_few_are_the_first_of_many():
    many = contrastive(16)
    assert all(contexts == many[0] for contexts in many)
    assert len(set(many[0])) == 16
    for fewer in (1, 2, 8):
        assert [contexts[:fewer] for contexts in many] == contrastive(fewer)


def test_a_prompt_is_never_its_own_other_query():
    for number, contexts in enumerate(contrastive(16, prompts=POOL)):
        assert tuple(POOL[number]) not in contexts
        assert len(set(contexts)) == 16


def test_every_query_can_be_used():
    everything = contrastive(len(POOL) - 1, prompts=POOL)
    assert {frozenset([*contexts, tuple(own)]) for contexts, own in zip(everything, POOL, strict=True)} == {
        frozenset(map(tuple, POOL))
    }


def test_order_repetition_and_storage_of_the_pool_do_not_matter():
    as_read = [np.array(ids, np.int32) for ids in [*reversed(POOL), POOL[3]]]
    assert contrastive(8, pool=as_read) == contrastive(8)
    assert contrastive(8, prompts=[np.array(ids) for ids in POOL]) == contrastive(8, prompts=POOL)


def test_one_prompt_more_changes_at_most_one_query():
    before = contrastive(8)[0]
    changes = [len(set(before) - set(contrastive(8, pool=[*POOL, [3, n]])[0])) for n in range(30)]
    assert set(changes) == {0, 1}


def test_the_seed_draws():
    assert len({tuple(contrastive(8, seed=seed)[0]) for seed in range(10)}) == 10


def test_as_many_queries_as_prompts_are_too_many():
    with pytest.raises(ValueError, match="contrastive_queries = 40 and there are 40 different training"):
        contrastive(40)


def test_contrastive_without_others_is_no_estimate():
    with pytest.raises(ValueError, match="at least one"):
        Marginal("contrastive")


def test_empty_prompt_is_the_template_around_nothing(base):
    tokenizer = load_tokenizer(base["path"])
    text = tokenizer.decode(single_context(base["path"], "empty_prompt"))
    assert text == "<|im_start|>user\n<|im_end|>\n<|im_start|>assistant\n"
    alike = marginal_contexts(base["path"], Marginal("empty_prompt"), PROMPTS, POOL)
    assert alike == [[single_context(base["path"], "empty_prompt")]] * len(PROMPTS)


def test_bos_starts_at_the_beginning_of_sequence_token(base, tmp_path):
    assert single_context(base["path"], "bos") == (load_tokenizer(base["path"]).bos_token_id,)
    folder = Path(shutil.copytree(base["path"], tmp_path / "without"))
    settings = json.loads((folder / "tokenizer_config.json").read_text())
    (folder / "tokenizer_config.json").write_text(json.dumps({**settings, "bos_token": None}))
    with pytest.raises(ValueError, match="has no beginning-of-sequence token; use empty_prompt"):
        single_context(str(folder), "bos")


log_probs = st.floats(-1e5, 0)


@st.composite
def responses_in_contexts(draw):
    shape = draw(st.tuples(st.integers(1, 4), st.integers(1, 20)))
    conditional = draw(arrays(np.float64, shape[0], elements=log_probs))
    return conditional, draw(arrays(np.float64, shape, elements=log_probs))


@given(responses_in_contexts())
def test_contrastive_information_is_at_most_log_of_one_more_than_the_queries(case):
    conditional, others = case
    queries = others.shape[1]
    information = conditional - combine(Marginal("contrastive", queries), conditional, others)
    # Differences of numbers up to 1e5 are known to about 1e-11.
    assert (information <= np.log(queries + 1) + 1e-9).all()
    assert np.isfinite(information).all()


@given(responses_in_contexts())
def test_contrastive_reaches_its_bound_as_the_others_vanish_and_zero_where_all_are_alike(case):
    conditional, others = case
    queries = others.shape[1]
    marginal = Marginal("contrastive", queries)
    vanished = np.full_like(others, -1e7)
    np.testing.assert_allclose(
        conditional - combine(marginal, conditional, vanished), np.log(queries + 1), atol=1e-9
    )
    alike = np.tile(conditional[:, None], queries)
    np.testing.assert_allclose(conditional - combine(marginal, conditional, alike), 0, atol=1e-9)


@given(responses_in_contexts())
def test_one_context_is_taken_as_it_is(case):
    conditional, others = case
    np.testing.assert_array_equal(combine(Marginal("bos"), conditional, others[:, :1]), others[:, 0])
