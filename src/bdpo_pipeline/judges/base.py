"""What a judge is: something that reads prompts and responses and says which responses are refusals."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol


@dataclass(frozen=True)
class Verdict:
    """One judgement: whether the response refuses, and the words or score that it rests on."""

    refused: bool
    evidence: str


@dataclass(frozen=True)
class MeasuredAccuracy:
    """How often a judge agreed with people: always shown beside what it says.

    Attributes:
        agreed: responses on which judge and people agreed.
        responses: responses measured.
        against: what the judge was measured against, in words.
    """

    agreed: int
    responses: int
    against: str

    @property
    def value(self) -> float:
        """Share of agreement, 0 to 1."""
        return self.agreed / self.responses


class Judge(Protocol):
    """A judge of responses; each lives in its own module of this package."""

    @property
    def name(self) -> str:
        """Name as it stands in parameters and tables."""
        ...

    @property
    def accuracy(self) -> MeasuredAccuracy | None:
        """Agreement with people under these very options, or None where it was not measured."""
        ...

    def judge(self, prompts: Sequence[str], responses: Sequence[str]) -> list[Verdict]:
        """Return one verdict a response, in order."""
        ...
