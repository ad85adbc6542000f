"""The arms of a study, made whole from what the parameters give."""

import copy

import pytest

from bdpo_pipeline.arms import Plan, StudyError, expand_study, read_plan

PROJECT = {
    "seed": 3,
    "objective": {"name": "bdpo", "options": {"placement": "gradient"}},
    "comprehension": {"setting": "full", "control": "none"},
    "training": {"epochs": 1, "optimiser": {"learning_rate": 1e-4, "schedule": "cosine"}},
    "study": {
        "seeds": [4, 2],
        "tuning_seed": 9,
        "grid": {"slow": {"learning_rate": 1e-5, "strength": 1}},
        "arms": {"dpo": {"objective": {"name": "dpo"}}},
        "choice": {"prompts": 3},
    },
}


def with_study(**changes):
    return {**copy.deepcopy(PROJECT), "study": {**copy.deepcopy(PROJECT["study"]), **changes}}


def test_an_arm_takes_what_it_does_not_name_from_the_project_and_never_another_objectives_options():
    arms = {"odd": {"objective": {"name": "ipo"}, "training": {"optimiser": {"schedule": "linear"}}}}
    given = with_study(arms=arms)
    expanded = expand_study(given)
    assert expanded["study"]["arms"]["odd"] == {
        "objective": {"name": "ipo"},
        "comprehension": PROJECT["comprehension"],
        "training": {"epochs": 1, "optimiser": {"learning_rate": 1e-4, "schedule": "linear"}},
        "pairs": "all",
    }
    assert read_plan(given) == Plan({"odd": "all"}, ("slow",), (4, 2))


def test_the_rest_stays_and_seeds_get_names():
    given = copy.deepcopy(PROJECT)
    expanded = expand_study(given)
    assert given == PROJECT
    assert expanded["study"]["seeds"] == {"seed_4": 4, "seed_2": 2}
    assert expanded["study"]["choice"] == {"prompts": 3}
    assert expanded["study"]["ability"] == {}
    assert {name: expanded[name] for name in expanded if name != "study"} == {
        name: PROJECT[name] for name in PROJECT if name != "study"
    }


def test_a_field_of_generation_is_whole_and_the_others_are_the_projects():
    project = {
        **with_study(generation={"prompts": {"b": 1}}),
        "generation": {"prompts": {"a": 2}, "batch_size": 8},
    }
    assert expand_study(project)["study"]["generation"] == {"prompts": {"b": 1}, "batch_size": 8}
    with pytest.raises(
        StudyError, match=r"study\.generation: there is no 'batch'; accepted: prompts, batch_size"
    ):
        expand_study({**project, "study": {**project["study"], "generation": {"batch": 1}}})


def test_null_leaves_out_an_arm_or_a_point():
    arms = {"dpo": {"objective": {"name": "dpo"}}, "cpo": None}
    grid = {"slow": None, "fast": {"learning_rate": 1e-3, "strength": 2}}
    given = with_study(arms=arms, grid=grid)
    expanded, plan = expand_study(given), read_plan(given)
    assert (set(plan.arms), plan.points) == ({"dpo"}, ("fast",))
    assert set(expanded["study"]["grid"]) == {"fast"}


def test_without_a_study_nothing_happens():
    assert expand_study({"seed": 1}) == {"seed": 1}
    assert read_plan({"seed": 1}) is None


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"seeds": [1, 1]}, "seeds"),
        ({"seeds": []}, "seeds"),
        ({"tuning_seed": 2}, "tuning_seed 2 is one of seeds"),
        ({"grid": {"slow": {"learning_rate": 1e-5}}}, "strength"),
        ({"grid": {"slow": None}}, "grid"),
        ({"grid": {"Slow-1": {"learning_rate": 1e-5, "strength": 1}}}, "'Slow-1'"),
        ({"arms": {"base": {"objective": {"name": "dpo"}}}}, "not trained"),
        ({"arms": {"dpo": {"objectiv": {"name": "dpo"}}}}, "objectiv"),
        ({"arms": {"dpo": {"objective": {"name": "dpo"}, "pairs": "half"}}}, "balanced"),
        ({"arms": {"dpo": {"objective": {"name": "dpo"}, "training": {"epoch": 2}}}}, "no 'epoch'"),
        (
            {"arms": {"dpo": {"objective": {"name": "dpo"}, "training": {"optimiser": {"lr": 2}}}}},
            "study.arms.dpo.training.optimiser: there is no 'lr'",
        ),
        ({"arms": "dpo"}, "arms"),
        ({"choise": {}}, "no 'choise'"),
    ],
)
def test_what_cannot_be_used_is_named(changes, words):
    with pytest.raises(StudyError, match="study") as error:
        expand_study(with_study(**changes))
    assert words in str(error.value)


@pytest.mark.parametrize("group", [None, "text", 3, [1]])
def test_a_group_of_the_project_that_is_none_is_left_to_the_nodes_that_take_it(group):
    parameters = {**copy.deepcopy(PROJECT), "comprehension": group, "generation": group}
    study = expand_study(parameters)["study"]
    assert (study["arms"]["dpo"]["comprehension"], study["generation"]) == (group, group)
    own = {"bw": {"objective": {"name": "bdpo"}, "comprehension": {"setting": "bw_only"}}}
    parameters["study"]["arms"] = own
    with pytest.raises(StudyError, match=r"study\.arms\.bw\.comprehension"):
        expand_study(parameters)
