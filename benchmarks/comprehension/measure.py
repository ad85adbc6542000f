"""Every estimator of comprehension on the same real pairs, and what each costs."""

import hashlib
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd
from kedro.framework.session import KedroSession
from kedro.framework.startup import bootstrap_project

from bdpo_pipeline.engine.jobs import Compute
from bdpo_pipeline.reference.logps import score_reference
from bdpo_pipeline.reference.marginals import Marginal
from bdpo_pipeline.seeds import derive_seed

ROOT = Path(__file__).resolve().parents[2]
# Up to the token ids of the selected pairs; no reference pass.
_BEFORE = ("base_model", "ingestion", "filtering", "reference")


@dataclass(frozen=True)
class Setup:
    """The pairs, the model, and how the project computes; log-probs and costs are kept in ``folder``."""

    base_model: dict[str, Any]
    pairs: pd.DataFrame
    compute: Compute
    seed: int
    folder: Path


@dataclass(frozen=True)
class Measured:
    """The log-probs of one estimator and what they cost.

    Attributes:
        marginal: the estimator; None for the conditional pass alone.
        logps: ``reference_logps`` of the pairs.
        cost: the log-probs that it takes beside the conditional ones, ``requested``; and what it added to the estimators before it, in
            this run and in those before it whose log-probs are kept: ``computed`` log-probs, ``forward_passes``, ``seconds``.
    """

    marginal: Marginal | None
    logps: pd.DataFrame
    cost: dict[str, float]

    @property
    def queries(self) -> int:
        """K of ``contrastive``, 0 for all else."""
        return self.marginal.queries if self.marginal else 0


def prepare(data_root: Path, env: str, pairs: int) -> Setup:
    """Run the project up to the token ids of the selected pairs, and draw training pairs with exactly one safe response."""
    bootstrap_project(ROOT)
    runtime = {"data_root": str(data_root)}
    with KedroSession.create(ROOT, env=env, runtime_params=runtime) as session:
        session.run(pipeline_names=list(_BEFORE), to_outputs=["tokenised_pairs"])
    with KedroSession.create(ROOT, env=env, runtime_params=runtime) as session:
        context = session.load_context()
        base_model, table = (context.catalog.load(name) for name in ("base_model", "tokenised_pairs"))
        compute, seed = context.params["compute"], context.params["seed"]
    one_safe = table[(table["split"] == "train") & (table["chosen_is_safe"] != table["rejected_is_safe"])]
    if len(one_safe) < pairs:
        raise SystemExit(f"--pairs {pairs}: {len(one_safe)} training pairs have exactly one safe response")
    seed = derive_seed(seed, "benchmarks.estimators")
    drawn = one_safe.sample(pairs, random_state=seed).reset_index(drop=True)
    return Setup(base_model, drawn, compute.for_engine(), seed, compute.scratch / "estimators")


def measure(setup: Setup, queries: int) -> dict[str, Measured]:
    """Return the conditional pass and each estimator by name; ``contrastive`` with 1, 2, 4, … queries, ending with ``queries``.

    Contexts of few queries are among those of many, so each estimator adds its own alone. What was computed before a kill is kept.
    """
    counts = sorted({2**i for i in range(queries.bit_length())} | {queries})
    estimators: dict[str, Marginal | None] = {
        "conditional": None,
        "empty_prompt": Marginal("empty_prompt"),
        "bos": Marginal("bos"),
        **{f"contrastive, K = {k}": Marginal("contrastive", k, setup.seed) for k in counts},
    }
    return {name: _measure(setup, name, marginal) for name, marginal in estimators.items()}


def _measure(setup: Setup, name: str, marginal: Marginal | None) -> Measured:
    logps, report = score_reference(
        setup.base_model,
        setup.pairs,
        conditional=True,
        marginal=marginal,
        compute=setup.compute,
        cache=setup.folder / "reference_cache.sqlite",
        scratch=setup.folder,
    )
    counts = report["marginal" if marginal else "conditional"]
    spent = {
        "computed": counts["computed"],
        "forward_passes": report["forward_passes"],
        "seconds": report["seconds"],
    }
    return Measured(marginal, logps, {"requested": counts["requested"], **_add_up(setup, name, spent)})


def _add_up(setup: Setup, name: str, spent: dict[str, float]) -> dict[str, float]:
    """Add what was spent to what earlier runs spent on the same pairs with the same model, and return the sum."""
    what = [setup.base_model["weights_sha256"], setup.compute.dtype, str(setup.seed), *setup.pairs["pair_id"]]
    path = setup.folder / f"costs-{hashlib.sha256('/'.join(what).encode()).hexdigest()[:16]}.json"
    costs = json.loads(path.read_text()) if path.is_file() else {}
    before = costs.get(name, {})
    if spent["computed"]:
        costs[name] = {count: value + before.get(count, 0) for count, value in spent.items()}
        path.write_text(json.dumps(costs, indent=2))
    return costs.get(name, spent)
