"""Two runs side by side: what differs, causes first."""

from collections.abc import Mapping
from dataclasses import dataclass

from bdpo_pipeline.lineage.recipe import Recipe, differences
from bdpo_pipeline.lineage.record import Record
from bdpo_pipeline.lineage.trace import Step


@dataclass(frozen=True)
class Comparison:
    """What differs between two traces.

    Attributes:
        causes: for each node whose own parameters, files, code, packages or data sets differ, what does; in the order of the chain.
        follow: names of artifacts that differ only because what they were made from does, in that order.
        unexplained: artifacts that differ though their recipes and what they were made from are the same.
        only_first: what only the first has.
        only_second: what only the second has.
        surroundings: what differs around the runs, such as commit or machine; by itself it changes no recipe.
    """

    causes: dict[str, list[str]]
    follow: list[str]
    unexplained: list[str]
    only_first: list[str]
    only_second: list[str]
    surroundings: list[str]

    @property
    def differ(self) -> bool:
        """Whether any artifact or recipe differs."""
        return bool(self.causes or self.follow or self.unexplained or self.only_first or self.only_second)


def compare(first: list[Step], second: list[Step]) -> Comparison:
    """Compare two traces, each with parents before children.

    Args:
        first: of the one run.
        second: of the other.
    """
    one, other = _by_name(first), _by_name(second)
    causes: dict[str, list[str]] = {}
    follow, unexplained = [], []
    for name in (name for name in other if name in one):
        a, b = one[name], other[name]
        if a.made is not None and b.made is not None:
            own = differences(_without_inputs(a.made.recipe), _without_inputs(b.made.recipe))
            if own and b.made.node not in causes:
                causes[b.made.node] = own
        if a.sha256 == b.sha256 or a.made is None or b.made is None or b.made.node in causes:
            continue
        if a.made.recipe.sha256 == b.made.recipe.sha256 and a.kind == "artifact":
            unexplained.append(name)
        else:
            follow.append(name)
    return Comparison(
        causes=causes,
        follow=follow,
        unexplained=unexplained,
        only_first=[name for name in one if name not in other],
        only_second=[name for name in other if name not in one],
        surroundings=_surroundings(first, second),
    )


def _by_name(steps: list[Step]) -> dict[str, Step]:
    # Of an artifact that was used in several versions the last one counts, as it is what the run ended with.
    return {step.name: step for step in steps if step.kind != "file"}


def _without_inputs(recipe: Recipe) -> Recipe:
    return Recipe(**{**recipe.__dict__, "inputs": {}})


def _surroundings(first: list[Step], second: list[Step]) -> list[str]:
    one, other = (_last_record(steps) for steps in (first, second))
    if one is None or other is None:
        return []
    facts = {
        "code": (one.code, other.code),
        "machine": (one.machine, other.machine),
        "package": (one.packages, other.packages),
        "session": (_of_session(one), _of_session(other)),
    }
    return [
        f"{kind} {name} was {a.get(name, 'absent')} and is {b.get(name, 'absent')}"
        for kind, (a, b) in facts.items()
        for name in sorted(a.keys() | b.keys())
        if a.get(name) != b.get(name)
    ]


def _of_session(record: Record) -> Mapping[str, str]:
    return {name: str(value) for name, value in record.session.items() if name not in ("run_id", "command")}


def _last_record(steps: list[Step]) -> Record | None:
    return next((step.record for step in reversed(steps) if step.record is not None), None)
