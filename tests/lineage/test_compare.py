from bdpo_pipeline.lineage.compare import compare
from bdpo_pipeline.lineage.library import Entry, Library
from bdpo_pipeline.lineage.trace import Step, trace

from .records import RECIPE, made_from, record


def chain(session: str, contents: str, **recipe: object) -> list[Step]:
    """Pairs, scores made from them, a report made from those; one letter each for what they hold."""
    pairs = record("pairs", "filter", contents[0], session)
    scores = made_from(record("scores", "score", contents[1], session, **recipe), pairs)
    report = made_from(record("report", "write", contents[2], session), scores)
    library = Library([Entry(one, None) for one in (pairs, scores, report)])
    return trace([Entry(report, None)], library)


def test_equal_runs_do_not_differ() -> None:
    found = compare(chain("s1", "abc"), chain("s2", "abc"))
    assert not found.differ
    assert found.surroundings == []


def test_a_parameter_is_the_cause_and_the_rest_follows() -> None:
    other = {"params:training": {"epochs": 2, "optimiser": {"learning_rate": 1e-4}}, "params:seed": 7}
    found = compare(chain("s1", "abc"), chain("s2", "axy", parameters=other))
    assert found.causes == {"score": ["params:training.epochs was 1 and is 2"]}
    assert found.follow == ["report"]
    assert found.unexplained == []


def test_causes_stand_in_the_order_of_the_chain_and_code_is_one() -> None:
    first, second = chain("s1", "abc"), chain("s2", "axy", definitions={"toy.nodes:make": "aa"})
    assert compare(first, second).causes == {"score": ["toy.text:clean is no longer used"]}
    assert compare(second, first).causes == {"score": ["toy.text:clean is new"]}


def test_a_node_that_gives_other_bytes_for_the_same_recipe_is_named() -> None:
    found = compare(chain("s1", "abc"), chain("s2", "abd"))
    assert (found.causes, found.follow, found.unexplained) == ({}, [], ["report"])


def test_a_raw_file_is_a_cause() -> None:
    raw = {"raw data pairs.jsonl": "11"}
    first, second = chain("s1", "abc", files=raw), chain("s2", "axy", files={"raw data pairs.jsonl": "22"})
    assert compare(first, second).causes == {"score": ["file raw data pairs.jsonl changed"]}
    assert RECIPE.files == {}
