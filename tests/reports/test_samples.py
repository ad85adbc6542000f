import pytest

from bdpo_pipeline.reports.artifacts import RunArtifacts
from bdpo_pipeline.reports.samples import choose_samples


def test_samples_are_drawn_by_seed_and_show_both_models(run: RunArtifacts) -> None:
    first = choose_samples(run.generations, run.judgements, 3, seed=1)
    assert first == choose_samples(run.generations, run.judgements, 3, seed=1)
    assert first != choose_samples(run.generations, run.judgements, 3, seed=2)
    for group in first:
        assert 1 <= len(group.samples) <= 3
        for sample in group.samples:
            assert [answer.model for answer in sample.answers] == ["base", "adapter"]


def test_changed_prompts_really_changed_and_are_no_repeats(run: RunArtifacts) -> None:
    groups = choose_samples(run.generations, run.judgements, 3, seed=1)
    shown = [sample.prompt_id for group in groups for sample in group.samples]
    assert len(shown) == len(set(shown))
    refusals = run.judgements[run.judgements["measures"] == "refusal"]
    verdicts = refusals.pivot(index="prompt_id", columns="model", values="positive")
    changed = [sample for group in groups if "changed" in group.title for sample in group.samples]
    assert changed
    for sample in changed:
        assert verdicts.loc[sample.prompt_id, "base"] != verdicts.loc[sample.prompt_id, "adapter"]


def test_answers_are_those_of_the_table(run: RunArtifacts) -> None:
    table = run.generations.set_index(["prompt_id", "model"])
    for group in choose_samples(run.generations, run.judgements, 2, seed=1):
        for sample in group.samples:
            for answer in sample.answers:
                row = table.loc[(sample.prompt_id, answer.model)]
                assert (answer.response, answer.cut_off) == (row["response"], not row["finished"])


@pytest.mark.parametrize("per_set", [0, 1000])
def test_none_and_all_can_be_asked_for(run: RunArtifacts, per_set: int) -> None:
    groups = choose_samples(run.generations, run.judgements, per_set, seed=1)
    shown = {sample.prompt_id for group in groups for sample in group.samples}
    assert len(shown) == (run.generations["prompt_id"].nunique() if per_set else 0)


def test_what_a_judge_says_is_said_in_its_own_words(run: RunArtifacts) -> None:
    groups = choose_samples(run.generations, run.judgements, 1000, seed=1)
    answers = [answer for group in groups for sample in group.samples for answer in sample.answers]
    said = {words for answer in answers for words in answer.judgements}
    assert "safety_classifier: not safe" in said
    assert "refusal_phrases: refused (\u201csorry\u201d)" in said
    assert sum("rubric: no verdict" in words for answer in answers for words in answer.judgements) == 1
