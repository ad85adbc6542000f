"""Nodes of a study."""

import pytest

from bdpo_pipeline.compute import ComputeParameters
from bdpo_pipeline.pipelines.evaluation.parameters import GenerationParameters
from bdpo_pipeline.pipelines.study.nodes import answer_validation_prompts


def test_a_server_cannot_answer_for_an_arm(tmp_path):
    parameters = GenerationParameters(
        prompts={},
        max_new_tokens=1,
        batch_size=1,
        endpoint={"url": "http://localhost:1/v1", "base": "a", "adapter": "b", "key_variable": None},
    )
    compute = ComputeParameters.model_construct()
    with pytest.raises(ValueError, match=r"study\.generation\.endpoint .* set it to null"):
        answer_validation_prompts({}, tmp_path, None, parameters, compute)
