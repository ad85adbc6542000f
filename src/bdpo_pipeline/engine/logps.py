"""Summed log-probs of responses: the one numerical path of training, reference and evaluation passes."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from bdpo_pipeline.engine.attention import use_segments, usual_attention
from bdpo_pipeline.engine.head import token_logps
from bdpo_pipeline.engine.layout import Batch, Row, build_batch

if TYPE_CHECKING:
    from transformers import PreTrainedModel


class UnsupportedModelError(RuntimeError):
    """The model's architecture does something that the engine's layout or head does not reproduce."""


def response_logps(model: nn.Module, batch: Batch, embeddings: Tensor | None = None) -> Tensor:
    """Return log pi(response | context) of each response, summed over its tokens, fp32, ``[responses]``.

    The language model head runs at the places that predict response tokens only.

    Args:
        model: base model or a PEFT model around it.
        batch: what to score.
        embeddings: the batch's input embeddings, ``[1, places, width]``, where the log-probs are to be differentiated in them, even
            twice.
    """
    head = decoder_and_head(model)[1]
    places = response_hidden(model, batch, embeddings)
    logps = token_logps(head, places, batch.targets, twice_differentiable=embeddings is not None)
    return torch.stack([part.sum() for part in logps.split(batch.lengths)])


def response_hidden(model: nn.Module, batch: Batch, embeddings: Tensor | None = None) -> Tensor:
    """Return the hidden states that predict response tokens, ``[scored, width]``; arguments as :func:`response_logps`."""
    decoder = decoder_and_head(model)[0]
    inputs = {"input_ids": batch.input_ids} if embeddings is None else {"inputs_embeds": embeddings}
    use_segments(base_model(model))
    hidden: Tensor = decoder(
        **inputs,
        position_ids=batch.position_ids,
        segments=batch.segments,
        twice_differentiable=embeddings is not None,
        use_cache=False,
    ).last_hidden_state
    return hidden[0, batch.sources]


class ResponseScorer(nn.Module):
    """A policy as a module from a batch to the log-probs of its responses, for wrappers that act on a module's forward pass."""

    def __init__(self, policy: nn.Module) -> None:
        """Wrap a base model or a PEFT model around it."""
        super().__init__()
        self.policy = policy

    def forward(self, batch: Batch) -> Tensor:
        """Return :func:`response_logps`."""
        return response_logps(self.policy, batch)


def input_embeddings(model: nn.Module, batch: Batch) -> Tensor:
    """Return the embeddings of a batch's tokens, ``[1, places, width]``."""
    found: Tensor = base_model(model).get_input_embeddings()(batch.input_ids)
    return found


def check_supported(model: nn.Module, device: torch.device, rows: Sequence[Row]) -> None:
    """Compare the engine's layout and head with the model's own forward pass, once, on the first tokens of the first rows.

    On tokens that follow each other in no text, rounding in bf16 grows to what a cap on the logits does.

    Args:
        model: the base model or a PEFT model around it.
        device: where it is.
        rows: the job's rows; without any there is nothing to compare.

    Raises:
        UnsupportedModelError: they differ (some architectures scale or cap their logits), or the model attends through a sliding
            window shorter than a context with its response.
    """
    config: Any = base_model(model).config
    window = getattr(config, "sliding_window", None)
    longest = max((len(row.context) + len(r) for row in rows for r in row.responses), default=0)
    if window is not None and getattr(config, "use_sliding_window", True) and window < longest:
        raise UnsupportedModelError(
            f"{config.model_type} attends through a sliding window of {window} tokens and a response of this job with its context "
            f"takes {longest}: "
            "lower the length bounds (filtering, tokenisation) below the window"
        )
    if not rows:
        return
    probes = [_beginning(row) for row in rows[:4]]
    with torch.no_grad():
        ours = response_logps(model, build_batch(probes).to(device))
        with usual_attention(base_model(model)):
            theirs = torch.stack(
                [_plain_logp(model, row.context, y, device) for row in probes for y in row.responses]
            )
    # Wide enough for rounding, of which a sound model in bf16 took up to a third; a cap or scale on the logits goes beyond it.
    tolerance = 1e-3 if base_model(model).dtype == torch.float32 else 5e-2
    if not torch.allclose(ours, theirs, rtol=tolerance, atol=tolerance):
        raise UnsupportedModelError(
            f"log-probs of {config.model_type} through the engine's layout are {ours.tolist()}, through its own forward pass "
            f"{theirs.tolist()}: this architecture changes its logits or its mask in a way that the engine does not reproduce"
        )


def _beginning(row: Row) -> Row:
    """Return a short row of two responses, so that what shares a context is compared, too."""
    first, last = row.responses[0], row.responses[-1]
    return Row(row.context[:32], [first[:16], last[:8]])


def _plain_logp(model: nn.Module, context: list[int], response: list[int], device: torch.device) -> Tensor:
    ids = torch.tensor([[*context, *response]], device=device)
    logps: Tensor = model(input_ids=ids).logits.float().log_softmax(-1)[0, len(context) - 1 : -1]
    return logps.gather(-1, ids[0, len(context) :, None]).sum()


def base_model(model: nn.Module) -> "PreTrainedModel":
    """Return the base model of a PEFT model, or the model itself."""
    return model.get_base_model() if hasattr(model, "get_base_model") else model  # type: ignore[operator,return-value]


def decoder_and_head(model: nn.Module) -> tuple[nn.Module, nn.Module]:
    """Return the decoder, with its layers, and the language model head."""
    base: Any = base_model(model)
    return base.get_decoder(), base.get_output_embeddings()
