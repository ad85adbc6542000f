import re
from dataclasses import replace

import pytest
from huggingface_hub import ModelCard

from bdpo_pipeline.reports.artifacts import RunArtifacts
from bdpo_pipeline.reports.model_card import render_model_card


def test_the_hub_reads_its_front_matter(run: RunArtifacts) -> None:
    card = ModelCard(render_model_card(run))
    facts = card.data.to_dict()
    assert facts["library_name"] == "peft"
    assert facts["base_model"] == run.base_model["name"]
    assert facts["license"] == "cc-by-nc-4.0"
    assert {"bdpo", "safety"} <= set(facts["tags"])
    accuracy = run.heldout_metrics.set_index("slice").loc["one safe response", "accuracy"]
    assert facts["model-index"][0]["results"][0]["metrics"][0]["value"] == pytest.approx(accuracy, abs=1e-4)


def test_a_model_of_which_all_weights_were_trained_is_none_of_peft(run: RunArtifacts) -> None:
    card = render_model_card(replace(run, training_summary=run.training_summary | {"trained": "all weights"}))
    facts = ModelCard(card).data.to_dict()
    assert (facts["library_name"], facts["base_model_relation"]) == ("transformers", "finetune")
    assert "peft" not in card.lower().split("## limits")[0]
    assert "PeftModel" not in card
    assert "AutoModelForCausalLM.from_pretrained(folder)" in card


def test_licence_follows_the_data(run: RunArtifacts) -> None:
    assert "Licence: non-commercial." in render_model_card(run)
    free = [source | {"licence": "MIT"} for source in run.ingestion_summary]
    card = render_model_card(replace(run, ingestion_summary=free))
    assert "non-commercial" not in card
    facts = ModelCard(card).data.to_dict()
    assert (facts["license"], facts["license_name"]) == ("other", "MIT")


def test_it_says_what_it_is_made_of_and_what_it_is_not(run: RunArtifacts) -> None:
    card = render_model_card(run)
    for source in run.ingestion_summary:
        assert source["sha256"] in card
    assert run.base_model["weights_sha256"] in card
    assert "this is no replication" in card
    assert "quantised GGUF" in card
    assert "quantised GGUF" not in render_model_card(
        replace(run, base_model=run.base_model | {"source": "hub"})
    )


def test_a_card_of_any_objective_has_no_holes(any_run: RunArtifacts) -> None:
    text = render_model_card(any_run)
    name, reward = (any_run.training_summary[key] for key in ("objective", "reward"))
    assert re.findall(r"\b(?:nan|NaN|None|inf)\b", text) == []
    assert ("this is no replication" in text) == (name == "bdpo")
    facts = ModelCard(text).data.to_dict()
    metric = facts["model-index"][0]["results"][0]["metrics"][0]["name"]
    assert ("without a reference" in metric) == (reward != "log_ratio")
    assert ("and dropped 3" in text) == ("dropped_pairs" in any_run.training_summary)
    assert name in facts["tags"]


def test_code_of_the_card_compiles(run: RunArtifacts) -> None:
    code = render_model_card(run).split("```python\n")[1].split("```")[0]
    assert "PeftModel.from_pretrained" in code
    assert compile(code, "model_card.md", "exec")


def test_text_from_data_breaks_no_table(hostile_run: RunArtifacts) -> None:
    summary = [source | {"name": "a|b\n\n# c"} for source in hostile_run.ingestion_summary]
    card = render_model_card(replace(hostile_run, ingestion_summary=summary))
    assert "| a\\|b # c |" in card
    body = card.split("\n---\n", 1)[1]
    # A backslash makes `<` a plain character in Markdown.
    assert re.findall(r"(?<!\\)<(?:script|img)", body) == []
