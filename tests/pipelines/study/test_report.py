"""The study's report through Kedro: from the catalog's tables to its conclusions and pages."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from ...study_tables import make_ability, make_judgements, make_scores, make_trainings, make_trials

ARMS = {"base": 0.0, "dpo": 0.5, "bdpo": 2.5}
BASE_MODEL = {"name": "a tiny model", "weights_sha256": "0f" * 32}


@pytest.fixture(scope="module")
def catalog(tmp_path_factory: pytest.TempPathFactory, load_catalog: Any, run_pipeline: Any) -> Any:
    """The catalog after the report was run over a synthetic study."""
    rng, root = np.random.default_rng(3), tmp_path_factory.mktemp("study")
    trained = [arm for arm in ARMS if arm != "base"]
    catalog = load_catalog(root)
    catalog.save("base_model", BASE_MODEL)
    catalog.save("study_trials", make_trials(rng, {arm: arm for arm in trained}))
    catalog.save("study_trainings", make_trainings({arm: arm for arm in trained}))
    catalog.save("study_judgements", make_judgements(rng, ARMS))
    catalog.save("study_ability", make_ability(rng, dict.fromkeys(ARMS, 0.0)))
    catalog.save("study_scores", make_scores(rng, dict.fromkeys(trained, 0.1), pairs=60))
    run_pipeline(
        root,
        "study_report",
        study_report={"resamples": 1000, "subsets": {"balanced": "bdpo", "random": None}},
    )
    return load_catalog(root)


def test_every_conclusion_is_kept_as_the_contract_says(catalog: Any) -> None:
    documented = (Path(__file__).parents[3] / "docs" / "artifacts.md").read_text(encoding="utf-8")
    for name in ("comparison", "categories", "overfitting", "imbalance", "subsets"):
        table = catalog.load(f"study_{name}")
        (line,) = [line for line in documented.splitlines() if f"| `study_{name}`" in line]
        assert not table.empty
        assert [column for column in table if f"`{column}`" not in line] == []


def test_both_pages_tell_of_the_same_study(catalog: Any) -> None:
    page, markdown = catalog.load("study_page"), catalog.load("study_markdown")
    for text in (page, markdown):
        assert "2 trained arms on a tiny model, up to 2 seeds, compared with dpo" in text
        assert BASE_MODEL["weights_sha256"] in text
        assert "no arm was trained on the random" in text
    assert "study\\_report.resamples | 1000" in markdown
