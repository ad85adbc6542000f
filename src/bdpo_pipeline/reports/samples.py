"""Which generations are shown: some drawn at random, some whose judgement changed, base and adapter side by side."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from bdpo_pipeline.seeds import derive_seed
from bdpo_pipeline.tables import DataFrame

from .formatting import is_missing


@dataclass(frozen=True)
class Answer:
    """One model's response and what each judge said of it."""

    model: str
    response: str
    cut_off: bool
    judgements: Sequence[str]


@dataclass(frozen=True)
class Sample:
    """A prompt with the answers of base and adapter."""

    prompt_id: str
    prompt: str
    desired: str
    answers: Sequence[Answer]


@dataclass(frozen=True)
class SampleGroup:
    """Samples of one prompt set that were chosen in one way."""

    title: str
    samples: Sequence[Sample]


def choose_samples(
    generations: DataFrame, judgements: DataFrame, per_set: int, seed: int
) -> list[SampleGroup]:
    """Return, for each prompt set, up to ``per_set`` random prompts and up to ``per_set`` whose judgement changed.

    Args:
        generations: `generations` as in docs/artifacts.md.
        judgements: `judgements` as in docs/artifacts.md.
        per_set: most samples in a group.
        seed: the project's seed; the draw has its own stream.
    """
    verdicts = judgements.groupby(["prompt_id", "judge"])["positive"].nunique()
    changed = set(verdicts[verdicts > 1].reset_index()["prompt_id"])
    groups = []
    for prompt_set, rows in generations.groupby("prompt_set", sort=False):
        ids = rows["prompt_id"].drop_duplicates()
        stream = derive_seed(seed, f"reports.samples.{prompt_set}")
        drawn = ids.sample(n=min(per_set, len(ids)), random_state=stream)
        different = ids[ids.isin(changed) & ~ids.isin(drawn)]
        shown = different.sample(n=min(per_set, len(different)), random_state=stream)
        for title, chosen in (
            (f"{prompt_set}: drawn at random", drawn),
            (f"{prompt_set}: further prompts whose judgement changed", shown),
        ):
            samples = [_sample(rows[rows["prompt_id"] == prompt_id], judgements) for prompt_id in chosen]
            if samples:
                groups.append(SampleGroup(title, samples))
    return groups


def _sample(rows: DataFrame, judgements: DataFrame) -> Sample:
    first = rows.iloc[0]
    said = judgements[judgements["prompt_id"] == first["prompt_id"]]
    answers = [
        Answer(
            model=row["model"],
            response=row["response"],
            cut_off=not row["finished"],
            judgements=[_said(verdict) for verdict in said[said["model"] == row["model"]].to_dict("records")],
        )
        for row in rows.sort_values("model", key=lambda models: models != "base").to_dict("records")
    ]
    return Sample(first["prompt_id"], first["prompt"], first["desired"], answers)


def _said(verdict: Mapping[Any, Any]) -> str:
    evidence = f" (\u201c{verdict['evidence']}\u201d)" if verdict["evidence"] else ""
    return f"{verdict['judge']}: {_verdict(verdict)}{evidence}"


def _verdict(verdict: Mapping[Any, Any]) -> str:
    if is_missing(verdict["positive"]):
        return "no verdict"
    word = "refused" if verdict["measures"] == "refusal" else "safe"
    return word if verdict["positive"] else f"not {word}"
