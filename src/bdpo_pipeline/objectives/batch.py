"""What an objective sees: one row a pair, nothing of models or data."""

from dataclasses import dataclass, fields

from torch import Tensor


@dataclass(frozen=True)
class PairBatch:
    """Per-pair quantities of a batch, each of shape ``[pairs]``.

    Log-probs are summed over the response's tokens, in nats, fp32 or wider. Names follow docs/artifacts.md; in the notation of
    docs/method.md: ``policy_*`` are l_w and l_l, ``reference_*`` r_w and r_l, ``*_tokens`` n_w and n_l, ``*_coefficient`` a_w and a_l.
    """

    policy_chosen: Tensor
    policy_rejected: Tensor
    reference_chosen: Tensor
    reference_rejected: Tensor
    chosen_tokens: Tensor
    rejected_tokens: Tensor
    chosen_coefficient: Tensor
    rejected_coefficient: Tensor

    @property
    def chosen_logratio(self) -> Tensor:
        """D_w, the log-ratio of policy and reference on the chosen response, ``[pairs]``."""
        return self.policy_chosen - self.reference_chosen

    @property
    def rejected_logratio(self) -> Tensor:
        """D_l, the log-ratio of policy and reference on the rejected response, ``[pairs]``."""
        return self.policy_rejected - self.reference_rejected

    def detach(self) -> "PairBatch":
        """Return the same values without their graph."""
        return PairBatch(**{field.name: getattr(self, field.name).detach() for field in fields(self)})
