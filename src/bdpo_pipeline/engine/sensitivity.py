"""How a response's log-prob depends on the input embeddings, for objectives that penalise it."""

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn.attention import SDPBackend, sdpa_kernel

from bdpo_pipeline.engine.layout import Row, build_batch
from bdpo_pipeline.engine.logps import input_embeddings, response_logps


def logps_and_sensitivities(
    model: nn.Module, rows: Sequence[Row], device: torch.device
) -> tuple[Tensor, Tensor]:
    """Return the log-prob of each response and the squared norm of its gradient in the input embeddings, both ``[responses]``.

    Where gradients are on, both carry them: the second by a backward pass through a backward pass, which only plain attention and a
    plain head have. Responses do not share their context here: its embeddings belong to each of them.
    """
    apart = [Row(row.context, [response]) for row in rows for response in row.responses]
    learning = torch.is_grad_enabled()
    batch = build_batch(apart, share_beginnings=False).to(device)
    with sdpa_kernel(SDPBackend.MATH), torch.enable_grad():
        embeddings = input_embeddings(model, batch)
        if not embeddings.requires_grad:  # as under LoRA, which leaves them frozen
            embeddings.requires_grad_()
        logps = response_logps(model, batch, embeddings)
        # A response depends on its own row alone, so the gradient of the sum holds that of each.
        [slopes] = torch.autograd.grad(logps.sum(), embeddings, create_graph=learning)
    by_row = slopes[0].float().square().sum(dim=1).split(batch.row_places)
    sensitivities = torch.stack([part.sum() for part in by_row])
    return (logps, sensitivities) if learning else (logps.detach(), sensitivities.detach())
