"""Traces, findings and comparisons as text for a terminal."""

import json
from collections.abc import Iterator
from typing import Any

from bdpo_pipeline.lineage.compare import Comparison
from bdpo_pipeline.lineage.parameter_names import flatten
from bdpo_pipeline.lineage.replay import Replayed
from bdpo_pipeline.lineage.trace import Step

_HASH = 12


def trace_lines(steps: list[Step], parameters: bool) -> Iterator[str]:
    """Yield a trace as an indented tree from the last artifact back to the files; what was shown before is only named.

    Args:
        steps: parents before children.
        parameters: whether to show the parameters of every node.
    """
    by_key = {step.key: step for step in steps}
    shown: set[str] = set()
    parents = {parent for step in steps for parent in step.parents}
    for last in [step for step in steps if step.key not in parents]:
        yield from _branch(last, by_key, shown, "", parameters)


def _branch(
    step: Step, by_key: dict[str, Step], shown: set[str], indent: str, parameters: bool
) -> Iterator[str]:
    known = step.key in shown
    yield f"{indent}{_headline(step)}{'  (above)' if known and step.parents else ''}"
    if known:
        return
    shown.add(step.key)
    inner = f"{indent}  "
    if step.made is not None:
        yield f"{inner}by {step.made.node}{_where(step)}"
        if parameters:
            for name, value in step.made.recipe.parameters.items():
                yield from (
                    f"{inner}  {key} = {text}"
                    for key, text in flatten(name.removeprefix("params:"), value).items()
                )
    for parent in step.parents:
        yield from _branch(by_key[parent], by_key, shown, inner, parameters)


def _headline(step: Step) -> str:
    digest = f"{step.sha256[:_HASH]}"
    if step.kind == "file":
        return f"{step.name}  {digest}  {step.path}"
    if step.kind == "in memory":
        return f"{step.name}  (in memory)"
    if step.kind == "unknown":
        return f"{step.name} {step.version}  {digest}  its record is lost: what it was made from is not known"
    return f"{step.name} {step.version}  {digest}"


def _where(step: Step) -> str:
    record = step.record
    if record is None:
        return ""
    code = record.code
    commit = (
        f"commit {code['commit'][:10]}{', with changes' if code['dirty'] == 'true' else ''}"
        if code
        else "no git checkout"
    )
    return f", {commit}, {record.machine.get('cpu', 'unknown processor')}, {record.time}"


def comparison_lines(found: Comparison) -> Iterator[str]:
    """Yield a comparison as text, causes first."""
    if not found.differ:
        yield "No artifact and no recipe differs."
    for node, causes in found.causes.items():
        yield f"{node}:"
        yield from (f"  {cause}" for cause in causes)
    if found.follow:
        yield f"differ because of what they were made from: {', '.join(found.follow)}"
    for name in found.unexplained:
        yield f"{name} differs although code, parameters and inputs are the same"
    for which, names in (("first", found.only_first), ("second", found.only_second)):
        if names:
            yield f"only in the {which}: {', '.join(names)}"
    if found.surroundings:
        yield "around the runs:"
        yield from (f"  {line}" for line in found.surroundings)


def outcome_lines(found: list[Replayed]) -> Iterator[str]:
    """Yield what came of each artifact of a replayed run, and a summary."""
    width = max((len(one.name) for one in found), default=0)
    for one in found:
        reason = f"  ({one.expected})" if one.outcome != "equal" and one.expected else ""
        yield f"{one.name:<{width}}  {one.outcome}{reason}"
    equal = sum(one.outcome == "equal" for one in found)
    excused = sum(one.outcome != "equal" and one.expected is not None for one in found)
    wrong = len(found) - equal - excused
    yield f"{equal} of {len(found)} artifacts have the same bytes; {excused} differ for the reason given, {wrong} should not"


def trace_data(steps: list[Step]) -> list[dict[str, Any]]:
    """Return a trace as JSON-ready data."""
    from dataclasses import asdict

    data: list[dict[str, Any]] = json.loads(json.dumps([asdict(step) for step in steps]))
    return data
