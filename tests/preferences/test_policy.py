import pytest

from bdpo_pipeline.preferences.formats import Candidate
from bdpo_pipeline.preferences.policy import NoPreferenceError, choose

PROMPT = [{"role": "user", "content": "Hello"}]


def candidate(safe=(None, None), safer=None, better=None, preferred=None):
    return Candidate(PROMPT, ("a", "b"), preferred, is_safe=safe, safer=safer, better=better)


@pytest.mark.parametrize(
    ("row", "safer", "helpful", "paper"),
    [
        (candidate((True, False), safer=0, better=1), 0, 1, 0),
        (candidate((False, True), safer=1, better=0), 1, 0, 1),
        (candidate((True, True), safer=0, better=1), 0, 1, 1),
        (candidate((False, False), safer=0, better=1), 0, 1, 0),
        (candidate((True, False), better=1), 0, 1, 0),
        (candidate((True, True), better=1), "no_safer_label", 1, 1),
        (candidate((True, True), safer=1), 1, "no_helpfulness_label", "no_helpfulness_label"),
        (candidate((False, False), better=1), "no_safer_label", 1, "no_safer_label"),
        (candidate((None, True), safer=1, better=0), 1, 0, "no_safety_label"),
        (candidate(), "no_safer_label", "no_helpfulness_label", "no_safety_label"),
        (candidate((False, True), preferred=0), 0, 0, 0),
    ],
)
def test_every_policy(row, safer, helpful, paper):
    for policy, expected in (("safer", safer), ("helpful", helpful), ("paper", paper)):
        if isinstance(expected, str):
            with pytest.raises(NoPreferenceError, match=expected):
                choose(row, policy)
        else:
            assert choose(row, policy) == expected


@pytest.mark.parametrize("policy", ["safer", "helpful", "paper"])
@pytest.mark.parametrize("safe", [(True, False), (True, True), (False, False)])
def test_swapping_the_responses_swaps_the_choice(policy, safe):
    row = candidate(safe, safer=0, better=1)
    mirrored = candidate(safe[::-1], safer=1, better=0)
    assert choose(row, policy) == 1 - choose(mirrored, policy)
