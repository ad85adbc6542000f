"""What a judge is: something that reads prompts and responses and gives a verdict on each response."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Annotated, Literal, Protocol, TypeVar

from pydantic import Field

from bdpo_pipeline.compute import ComputeParameters
from bdpo_pipeline.io.raw_folder import RawFolder
from bdpo_pipeline.io.tensors import StoredTensors
from bdpo_pipeline.parameters import ParameterGroup

Measures = Literal["refusal", "safety"]
Count = Literal["all"] | Annotated[int, Field(ge=1)] | None
T = TypeVar("T")


@dataclass(frozen=True)
class Verdict:
    """One judgement.

    Attributes:
        positive: whether the response refuses, or is safe, as `Judge.measures` says; None where the judge gave no usable answer.
        score: how sure the judge is that it is positive, 0 to 1; None for a judge without scores.
        evidence: the words that the verdict rests on.
    """

    positive: bool | None
    score: float | None
    evidence: str


class Judge(Protocol):
    """A judge of responses; the kinds are modules of this package."""

    @property
    def measures(self) -> Measures:
        """What a positive verdict says: the response is a ``refusal``, or it is safe (``safety``)."""
        ...

    @property
    def seen(self) -> Mapping[str, frozenset[str]]:
        """Models whose labelled responses the judge was made with, by label set: these say nothing of its accuracy."""
        ...

    def judge(self, prompts: Sequence[str], responses: Sequence[str]) -> list[Verdict]:
        """Return one verdict a response, in order.

        Args:
            prompts: what was asked, as many as there are responses.
            responses: what was answered.
        """
        ...


def judge_answers(judge: Judge, prompts: Sequence[str], responses: Sequence[str]) -> list[Verdict]:
    """Return one verdict a response, whatever the kind of judge: none where there is nothing to judge, or no score came out.

    An answer without any letter or digit neither refuses nor helps. A judge of refusals would find no refusal in it, and a judge that
    reads prompts would judge the prompt alone; so it is not shown to them.

    Args:
        judge: who judges.
        prompts: what was asked plainly, as many as there are responses.
        responses: what was answered.
    """
    speaking = [place for place, response in enumerate(responses) if any(map(str.isalnum, response))]
    found = judge.judge([prompts[place] for place in speaking], [responses[place] for place in speaking])
    verdicts = dict(zip(speaking, map(_usable, found), strict=True))
    return [verdicts.get(place, Verdict(None, None, "empty answer")) for place in range(len(responses))]


def _usable(verdict: Verdict) -> Verdict:
    if verdict.score is not None and math.isnan(verdict.score):
        return Verdict(None, None, verdict.evidence)
    return verdict


class JudgeOptions(ParameterGroup):
    """Options of every kind of judge."""

    validate_on: Count = Field(
        "all",
        description="responses of each set of labels that the judge is measured on: all, a number, or null (not measured)",
    )


class ThresholdOptions(JudgeOptions):
    """Options of a judge that gives scores."""

    threshold: float = Field(0.5, ge=0, le=1, description="a verdict is positive from this score on")


@dataclass(frozen=True)
class Resources:
    """What judges may need beside their options.

    Attributes:
        classifiers: the trained ones, by kind of judge.
        raw: folder of raw data, for rubrics.
        compute: where and how models compute.
    """

    classifiers: Mapping[str, StoredTensors] = field(default_factory=dict)
    raw: RawFolder | None = None
    compute: ComputeParameters | None = None


class JudgeError(RuntimeError):
    """A judge cannot judge; the message says which and what to do."""


def needed(resource: T | None, what: str, kind: str) -> T:
    """Return a resource that a kind of judge cannot do without.

    Raises:
        JudgeError: it was not given.
    """
    if resource is None:
        raise JudgeError(f"a judge of kind {kind} needs {what}, which its caller did not give")
    return resource
