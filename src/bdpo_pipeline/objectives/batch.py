"""What an objective sees: one row a pair, nothing of models or data."""

from dataclasses import dataclass, fields

from torch import Tensor


@dataclass(frozen=True)
class PairBatch:
    """Per-pair quantities of a batch, each of shape ``[pairs]``, fp32 or wider.

    Log-probs are summed over the response's tokens, in nats. Names follow docs/artifacts.md; in the notation of docs/method.md:
    ``policy_*`` are l_w and l_l, ``reference_*`` r_w and r_l, ``*_tokens`` n_w and n_l, ``*_coefficient`` a_w and a_l, ``*_unsafe``
    u_w and u_l (1 for an unsafe response, 0 for a safe one). ``*_sensitivity`` are the squared norms of the
    gradient of l_w and l_l in the input embeddings. ``step_chosen_tokens`` is the mean of n_w over all pairs of the optimiser
    step, in every row. Only ``policy_*`` and ``*_sensitivity`` carry gradient. What an objective did not declare to
    need is NaN.
    """

    policy_chosen: Tensor
    policy_rejected: Tensor
    chosen_tokens: Tensor
    rejected_tokens: Tensor
    step_chosen_tokens: Tensor
    reference_chosen: Tensor
    reference_rejected: Tensor
    chosen_coefficient: Tensor
    rejected_coefficient: Tensor
    chosen_unsafe: Tensor
    rejected_unsafe: Tensor
    chosen_sensitivity: Tensor
    rejected_sensitivity: Tensor

    @property
    def chosen_logratio(self) -> Tensor:
        """D_w, the log-ratio of policy and reference on the chosen response, ``[pairs]``."""
        return self.policy_chosen - self.reference_chosen

    @property
    def rejected_logratio(self) -> Tensor:
        """D_l, the log-ratio of policy and reference on the rejected response, ``[pairs]``."""
        return self.policy_rejected - self.reference_rejected

    @property
    def chosen_mean_logp(self) -> Tensor:
        """l_w / n_w, the policy's log-prob per token of the chosen response, ``[pairs]``."""
        return self.policy_chosen / self.chosen_tokens

    @property
    def rejected_mean_logp(self) -> Tensor:
        """l_l / n_l, the policy's log-prob per token of the rejected response, ``[pairs]``."""
        return self.policy_rejected / self.rejected_tokens

    @property
    def chosen_nll(self) -> Tensor:
        """Negative log-likelihood of the chosen responses, ``[pairs]``: over a step its mean is that over all chosen tokens."""
        return -self.policy_chosen / self.step_chosen_tokens

    def detach(self) -> "PairBatch":
        """Return the same values without their graph."""
        return PairBatch(**{field.name: getattr(self, field.name).detach() for field in fields(self)})


@dataclass(frozen=True)
class PairLabels:
    """What people said of the responses of pairs, each of shape ``[pairs]``; NaN where they said nothing.

    Attributes:
        chosen_unsafe: 1 if the response is labelled unsafe, 0 if safe.
        rejected_unsafe: likewise.
        chosen_severity: how severe the harm is, 0 (none) to 3.
        rejected_severity: likewise.
        training: whether a pair is one to train on, bool; what is found from many pairs is found from these alone.
    """

    chosen_unsafe: Tensor
    rejected_unsafe: Tensor
    chosen_severity: Tensor
    rejected_severity: Tensor
    training: Tensor
