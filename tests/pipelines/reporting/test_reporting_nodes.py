from typing import Any

import pytest
from huggingface_hub import ModelCard

from bdpo_pipeline.pipelines.reporting.nodes import gather_artifacts
from bdpo_pipeline.reports.formatting import count, percent


@pytest.fixture(scope="module")
def catalog(chain: Any, load_catalog: Any) -> Any:
    return load_catalog(chain.data_root)


def test_the_report_tells_the_numbers_of_the_run(catalog: Any) -> None:
    page = catalog.load("report")
    metrics, reference = catalog.load("heldout_metrics"), catalog.load("reference_report")
    assert page.startswith("<!doctype html>")
    assert f"<strong>{count(reference['forward_passes'])} reference forward passes</strong>" in page
    for row in metrics.to_dict("records"):
        assert percent(row["accuracy"]) in page
    assert catalog.load("base_model")["weights_sha256"] in page
    read = sum(source["rows_read"] for source in catalog.load("ingestion_summary"))
    assert f"{count(read)} rows read = " in page
    assert "The rows do not add up" not in page


def test_every_diagnostic_is_explained(catalog: Any) -> None:
    from bdpo_pipeline.reports.tables import diagnostics_table

    table = diagnostics_table(catalog.load("comprehension_diagnostics"), "nats per token")
    assert table.rows
    assert [row[0] for row in table.rows if not row[2]] == []


def test_the_model_card_is_one_the_hub_reads(catalog: Any) -> None:
    card = ModelCard(catalog.load("model_card"))
    assert card.data.to_dict()["base_model"] == catalog.load("base_model")["name"]
    for source in catalog.load("ingestion_summary"):
        assert source["sha256"] in card.text


def test_secrets_among_parameters_are_masked(catalog: Any) -> None:
    names = [
        "ingestion_summary",
        "filtering_funnel",
        "reference_report",
        "comprehension",
        "comprehension_diagnostics",
        "reference_logps",
        "training_history",
        "training_summary",
        "training_execution",
        "heldout_metrics",
        "safety_metrics",
        "ability_metrics",
        "generations",
        "judgements",
        "judge_validation",
        "base_model",
    ]
    parameters = {"seed": 1, "hub": {"token": "hf_abc"}, "objective": {"options": {"beta": 0.1}}}
    run = gather_artifacts(*(catalog.load(name) for name in names), parameters)
    assert run.parameters == {"seed": "1", "hub.token": "***", "objective.options.beta": "0.1"}
    assert run.provenance["torch"]
    assert len(run.provenance["git commit"]) >= 40
