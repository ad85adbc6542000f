"""Which response of a labelled pair is preferred."""

from typing import Literal

from bdpo_pipeline.preferences.formats import Candidate

Preference = Literal["safer", "helpful", "paper"]


class NoPreferenceError(ValueError):
    """The labels do not decide; ``reason`` is a stable slug."""

    def __init__(self, reason: str):
        super().__init__(reason)
        self.reason = reason


def choose(candidate: Candidate, preference: Preference) -> int:
    """Return the index of the preferred response.

    ``safer`` takes the response labelled safer, ``helpful`` the one labelled more helpful. ``paper`` is B-DPO's rule
    (published): for an unsafe query, one where a response is labelled unsafe, the safe response; else the more helpful one.
    Where both are unsafe ``paper`` takes the safer one (ours): the filter on unsafe chosen responses decides whether it
    is used. A format that brings its own order keeps it.

    Raises:
        NoPreferenceError: a label that the rule needs is absent.
    """
    if candidate.preferred is not None:
        return candidate.preferred
    if preference == "helpful":
        return _more_helpful(candidate)
    if preference == "safer":
        return _safer(candidate)
    if None in candidate.is_safe:
        raise NoPreferenceError("no_safety_label")
    return _safer(candidate) if False in candidate.is_safe else _more_helpful(candidate)


def _safer(candidate: Candidate) -> int:
    if candidate.safer is not None:
        return candidate.safer
    if set(candidate.is_safe) == {True, False}:
        return candidate.is_safe.index(True)
    raise NoPreferenceError("no_safer_label")


def _more_helpful(candidate: Candidate) -> int:
    if candidate.better is None:
        raise NoPreferenceError("no_helpfulness_label")
    return candidate.better
