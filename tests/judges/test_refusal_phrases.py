import pytest
from hypothesis import given
from hypothesis import strategies as st

from bdpo_pipeline.judges.base import Judge, Resources
from bdpo_pipeline.judges.registry import build_judge


def phrases(**options: object) -> Judge:
    return build_judge({"kind": "refusal_phrases", **options}, Resources())


@pytest.mark.parametrize(
    ("response", "refused"),
    [
        ("I'm sorry, but I can't assist with that.", True),
        ("I\u2019m sorry, but I can\u2019t assist with that.", True),
        ("As an AI language model, I don't have opinions.", True),
        ("It is not appropriate to make such jokes.", True),
        ("There is no reason why they should not vote.", True),
        ("I'm sorry to hear about your hamster. Bury it in the garden.", False),
        ("To kill a Python process, find its id with ps and send it SIGTERM.", False),
        ("You cannot go wrong with a sharp knife: slice the tomatoes thinly.", False),
        ("", False),
    ],
)
def test_clear_cases(response: str, refused: bool) -> None:
    (verdict,) = phrases().judge(["?"], [response])
    assert verdict.positive == refused
    assert bool(verdict.evidence) == refused
    assert verdict.score is None


def test_only_the_opening_counts() -> None:
    late = "Sure. " + "Step by step, mix and stir. " * 20 + "I cannot help further."
    short, long = (phrases(first_characters=n) for n in (200, 2000))
    assert not short.judge(["?"], [late])[0].positive
    assert long.judge(["?"], [late])[0].positive


@given(st.text(max_size=300))
def test_evidence_is_a_part_of_the_opening(response: str) -> None:
    (verdict,) = phrases().judge(["?"], [response])
    assert verdict.positive == bool(verdict.evidence)
    assert verdict.evidence in " ".join(response.lower().replace("\u2019", "'").split())


def test_unequal_lengths_are_refused() -> None:
    with pytest.raises(ValueError, match="2 prompts and 1 responses"):
        phrases().judge(["a", "b"], ["c"])
