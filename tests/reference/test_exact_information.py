"""Estimators of comprehension against the exact mutual information of a model of which every response can be written down.

The exact values come from the model's own forward pass in fp64; the estimates from this project's whole path, from token ids through
cache, worker and contexts to the comprehension table, in fp32.
"""

from dataclasses import dataclass
from itertools import combinations
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from bdpo_pipeline.cache.scoring import Item, score_through_cache
from bdpo_pipeline.cache.store import LogprobStore
from bdpo_pipeline.engine.jobs import Compute
from bdpo_pipeline.objectives.weighting import Weighting
from bdpo_pipeline.reference.comprehension import compute_comprehension
from bdpo_pipeline.reference.logps import score_reference
from bdpo_pipeline.reference.marginals import Marginal, combine, marginal_contexts, single_context

# fp32 logits of this model are of the order of ten and known to about 1e-6 each; errors of one response go further than of the mean.
FP32_OF_ONE = 1e-4
FP32 = 1e-5
COMPUTE = Compute(device="cpu", threads=1, tokens_per_batch=8192)
CACHE = "cache.sqlite"


@dataclass
class World:
    """Queries (equally likely) and all responses, with exact log-probs ``[queries, responses]``, nats."""

    base_model: dict[str, Any]
    folder: Path
    pairs: pd.DataFrame
    exact: Any
    module: Any

    @property
    def likelihood(self) -> Any:
        return np.exp(self.exact)

    @property
    def information(self) -> float:
        return float(self.module.mutual_information(self.exact))

    def logps(self, marginal: Marginal) -> pd.DataFrame:
        """Score all responses after all queries by our path."""
        places = {"cache": self.folder / CACHE, "scratch": self.folder}
        return score_reference(
            self.base_model, self.pairs, conditional=True, marginal=marginal, compute=COMPUTE, **places
        )[0]

    def conditional(self) -> Any:
        """Return our log p(y | x), ``[queries, responses]``."""
        table = self.logps(Marginal("empty_prompt"))
        return table["reference_chosen_logp"].to_numpy().reshape(self.exact.shape)

    def pointwise(self, marginal: Marginal) -> Any:
        """Return our pointwise MI, ``[queries, responses]``, nats."""
        table, _ = compute_comprehension(
            self.logps(marginal), Weighting(), normalise="none", control="none", seed=0
        )
        return table["chosen_mi"].to_numpy().reshape(self.exact.shape)

    def mean(self, pointwise: Any) -> float:
        """Average over queries and the responses that the model gives to them."""
        return float((self.likelihood * pointwise).sum(axis=1).mean())


@pytest.fixture(scope="module")
def world(enumerable, tmp_path_factory):
    folder = tmp_path_factory.mktemp("enumerable")
    base_model = enumerable.build_enumerable_model(folder / "model", seed=1)
    queries, responses = enumerable.encode_queries(base_model), enumerable.all_responses()
    pairs = pd.DataFrame(
        {
            "pair_id": str(number),
            "split": "train",
            "prompt_ids": query,
            "chosen_ids": response,
            "rejected_ids": response,
        }
        for number, (query, response) in enumerate((q, r) for q in queries for r in responses)
    )
    # Scored once, by one worker; what the tests ask for comes from the cache.
    contexts = [*queries, *(single_context(base_model["path"], kind) for kind in ("empty_prompt", "bos"))]
    items = [Item(context, response) for context in contexts for response in responses]
    score_through_cache(items, base_model, COMPUTE, LogprobStore(folder / CACHE), folder)
    exact = enumerable.exact_logps(base_model, queries, responses)
    return World(base_model, folder, pairs, exact, enumerable)


def test_every_response_is_written_down_once(world):
    assert len({tuple(ids) for ids in world.pairs["chosen_ids"]}) == world.exact.shape[1] == 585
    np.testing.assert_allclose(world.likelihood.sum(axis=1), 1, rtol=1e-12)


def test_there_is_information_to_find(world):
    queries = len(world.exact)
    assert 0.1 * np.log(queries) < world.information < 0.9 * np.log(queries)


def test_contrastive_over_all_queries_is_the_exact_information_of_every_response(world):
    queries = len(world.exact)
    ours = world.pointwise(Marginal("contrastive", queries - 1, seed=3))
    marginal = np.log(world.likelihood.mean(axis=0))
    np.testing.assert_allclose(ours, world.exact - marginal, atol=FP32_OF_ONE)
    assert world.mean(ours) == pytest.approx(world.information, abs=FP32)


@pytest.mark.parametrize("kind", ["empty_prompt", "bos"])
def test_one_context_overestimates_by_its_divergence_from_the_marginal(world, kind):
    """E[log p(y|x) - log q(y)] = MI + KL(p(y) || q(y)), so it is the exact information only where q is the marginal."""
    context = single_context(world.base_model["path"], kind)
    responses = list(world.pairs["chosen_ids"][: world.exact.shape[1]])
    log_q = world.module.exact_logps(world.base_model, [context], responses)[0]
    assert np.exp(log_q).sum() == pytest.approx(1)
    marginal = world.likelihood.mean(axis=0)
    divergence = float((marginal * (np.log(marginal) - log_q)).sum())
    # It is no small matter on this model: more than the information itself.
    assert divergence > world.information
    ours = world.mean(world.pointwise(Marginal(kind)))
    assert ours == pytest.approx(world.information + divergence, abs=10 * FP32)


@pytest.mark.parametrize("queries", [1, 2, 4, 7])
def test_contrastive_is_bounded_for_every_response(world, queries):
    ours = world.pointwise(Marginal("contrastive", queries, seed=queries))
    assert ours.max() <= np.log(queries + 1) + 1e-9
    # The bound is no idle one: some response comes close.
    assert ours.max() > 0.9 * np.log(queries + 1)


def test_contrastive_rises_to_the_exact_information(world):
    """Over all choices of K others, its mean is the mean information within all sets of K + 1 queries: a bound that K tightens."""
    queries, logps = len(world.exact), world.conditional()
    means = []
    for others in range(1, queries):
        estimates = [
            world.likelihood[own]
            @ (logps[own] - combine(Marginal("contrastive", others), logps[own], logps[panel, :].T))
            for own in range(queries)
            for panel in map(list, combinations([q for q in range(queries) if q != own], others))
        ]
        within = [
            world.module.mutual_information(world.exact[list(chosen)])
            for chosen in combinations(range(queries), others + 1)
        ]
        means.append(float(np.mean(estimates)))
        assert means[-1] == pytest.approx(np.mean(within), abs=FP32)
    bias = world.information - np.array(means)
    assert (np.diff(bias) < 0).all()
    assert bias[0] > 0.3 * world.information
    assert bias[-1] == pytest.approx(0, abs=FP32)


def test_panels_are_drawn_without_favour(world):
    """Over many seeds the mean over the panels that are really drawn is that over all panels."""
    prompts = list(dict.fromkeys(tuple(ids) for ids in world.pairs["prompt_ids"]))
    logps, others = world.conditional(), 2
    estimates = []
    for seed in range(300):
        marginal = Marginal("contrastive", others, seed)
        panels = marginal_contexts(world.base_model["path"], marginal, prompts, prompts)
        rows = [[prompts.index(ids) for ids in panel] for panel in panels]
        ours = [own - combine(marginal, own, logps[panel].T) for own, panel in zip(logps, rows, strict=True)]
        estimates.append(world.mean(np.stack(ours)))
    within = [
        world.module.mutual_information(world.exact[list(chosen)])
        for chosen in combinations(range(len(prompts)), others + 1)
    ]
    error = np.std(estimates, ddof=1) / np.sqrt(len(estimates))
    assert abs(np.mean(estimates) - np.mean(within)) < 3.5 * error
    assert error < 0.02 * np.mean(within)
