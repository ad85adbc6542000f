"""The code of the registered model: an adapter on its base model, from prompts to responses.

MLflow runs this file when it loads the model ("models from code": nothing is pickled). The model carries
`bdpo_pipeline.models` beside it, so it loads where only MLflow, torch, transformers and peft are installed.
"""

import json
from pathlib import Path
from typing import Any

import pandas as pd
from mlflow.models import set_model
from mlflow.pyfunc.model import PythonModel


class BaseModelMismatchError(RuntimeError):
    """The base model that the adapter was trained on is not there; the message says how to name it."""


class AdapterModel(PythonModel):
    """Answers prompts, greedily, with the base model that the adapter was trained on."""

    def load_context(self, context: Any) -> None:
        """Load base model, adapter and tokenizer.

        Raises:
            BaseModelMismatchError: the base model is not there, or its weights are others than in training.
        """
        from bdpo_pipeline.models.adapters import is_adapter, load_policy
        from bdpo_pipeline.models.loading import load_tokenizer

        adapter = context.artifacts["adapter"]
        folder = Path(adapter)
        if is_adapter(adapter):  # else it has all the weights, and the tokenizer
            facts = json.loads(Path(context.artifacts["base_model"]).read_text(encoding="utf-8"))
            folder = find_base_model(facts, context.model_config["base_model_path"])
        self.tokenizer = load_tokenizer(folder)
        self.policy: Any = load_policy(
            str(folder),
            adapter,
            dtype=context.model_config["dtype"],
            quantisation=context.model_config["quantisation"],
        )

    def predict(
        self,
        context: Any,  # noqa: ARG002 - MLflow's signature
        model_input: pd.DataFrame,
        params: dict[str, Any] | None = None,
    ) -> list[str]:
        """Return one response for each row of the column ``prompt``."""
        limit = int((params or {})["max_new_tokens"])
        return [self._respond(prompt, limit) for prompt in model_input["prompt"]]

    def _respond(self, prompt: str, limit: int) -> str:
        import torch

        from bdpo_pipeline.models.encoding import encode_prompts

        [ids] = encode_prompts(self.tokenizer, [[{"role": "user", "content": prompt}]])
        inputs = torch.tensor([ids])
        with torch.inference_mode():
            output = self.policy.generate(
                input_ids=inputs,
                attention_mask=torch.ones_like(inputs),
                max_new_tokens=limit,
                do_sample=False,
                pad_token_id=self.tokenizer.pad_token_id,
            )
        return str(self.tokenizer.decode(output[0, len(ids) :], skip_special_tokens=True))


def find_base_model(facts: dict[str, Any], named: str | None) -> Path:
    """Return the folder of the base model, with exactly the weights that the adapter was trained on.

    Args:
        facts: the ``base_model`` artifact of the training run.
        named: the folder that the user names instead, or None.

    Raises:
        BaseModelMismatchError: it is not there, or has other weights.
    """
    from bdpo_pipeline.models.fingerprints import hash_weights

    folder = Path(named or facts["path"])
    help_text = 'name its folder: mlflow.pyfunc.load_model(…, model_config={"base_model_path": "<folder>"})'
    if not folder.is_dir() and facts["source"] == "hub":
        from huggingface_hub import snapshot_download

        folder = Path(snapshot_download(facts["name"], revision=facts["revision"]))
    if not folder.is_dir():
        raise BaseModelMismatchError(f"the base model {facts['name']} is not at {folder}; {help_text}")
    found = hash_weights(folder)
    if found != facts["weights_sha256"]:
        raise BaseModelMismatchError(
            f"the weights in {folder} have SHA-256 {found}, but the adapter was trained on {facts['name']} with "
            f"{facts['weights_sha256']}; {help_text}"
        )
    return folder


set_model(AdapterModel())
