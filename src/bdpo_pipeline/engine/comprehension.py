"""Comprehension under the policy instead of the reference: followed at evaluations, and where asked (`online`) acted upon."""

from dataclasses import dataclass, replace
from typing import Any

from torch import Tensor

from bdpo_pipeline.objectives import PairBatch
from bdpo_pipeline.objectives.comprehension import pointwise_mutual_information
from bdpo_pipeline.objectives.weighting import (
    Constants,
    Weighting,
    compute_coefficients,
    reverse_coefficients,
)


@dataclass(frozen=True)
class Comprehension:
    """How comprehension is measured and, if online, turned into coefficients; what ``TrainJob.comprehension`` says as plain data.

    Attributes:
        normalise: ``token`` or ``none``.
        online: whether the coefficients are computed from the policy in each step, instead of from the reference once.
        reverse: whether chosen and rejected coefficients are swapped (a control).
        weighting: from comprehension to coefficients.
        constants: of the training pairs under the reference.
    """

    normalise: str
    online: bool
    reverse: bool
    weighting: Weighting
    constants: Constants

    @classmethod
    def from_dict(cls, data: dict[str, Any]) -> "Comprehension":
        """Return what the job says."""
        nested = {"weighting": Weighting(**data["weighting"]), "constants": Constants(**data["constants"])}
        return cls(**{**data, **nested})

    def measure(
        self, batch: PairBatch, marginal_chosen: Tensor, marginal_rejected: Tensor
    ) -> tuple[Tensor, Tensor]:
        """Return I_w and I_l under the policy, each ``[pairs]``, without a graph.

        Args:
            batch: the pairs; the policy's log-probs are the conditional ones.
            marginal_chosen: log-probs of the chosen responses under the policy without the query, ``[pairs]``.
            marginal_rejected: likewise of the rejected responses.
        """
        seen = batch.detach()
        chosen = pointwise_mutual_information(
            seen.policy_chosen, marginal_chosen.detach(), seen.chosen_tokens, normalise=self.normalise
        )
        rejected = pointwise_mutual_information(
            seen.policy_rejected, marginal_rejected.detach(), seen.rejected_tokens, normalise=self.normalise
        )
        return chosen, rejected

    def weigh(self, batch: PairBatch, chosen: Tensor, rejected: Tensor) -> PairBatch:
        """Return the pairs with the coefficients that follow from this I_w and I_l, if online."""
        if not self.online:
            return batch
        found = compute_coefficients(chosen, rejected, self.weighting, self.constants)
        if self.reverse:
            found = reverse_coefficients(found)
        return replace(batch, chosen_coefficient=found.chosen, rejected_coefficient=found.rejected)
