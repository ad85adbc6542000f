import string

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bdpo_pipeline.lineage.parameter_names import LONGEST_VALUE, MASK, flatten, mask_text
from bdpo_pipeline.parameters import ParameterGroup


class Inner(ParameterGroup):
    beta: float = 0.1
    names: tuple[str, ...] = ("a", "b")


class Outer(ParameterGroup):
    inner: Inner = Inner()
    limit: int | None = None
    fast: bool = True
    text: str = "plain"


def test_groups_become_dotted_names() -> None:
    assert flatten("training", Outer()) == {
        "training.inner.beta": "0.1",
        "training.inner.names": '["a", "b"]',
        "training.limit": "null",
        "training.fast": "true",
        "training.text": "plain",
    }


def test_plain_values_and_empty_groups_keep_their_name() -> None:
    assert flatten("seed", 7) == {"seed": "7"}
    assert flatten("group", {}) == {"group": "{}"}


@pytest.mark.parametrize(
    "name",
    [
        "token",
        "hf_token",
        "HF_TOKEN",
        "password",
        "db-password",
        "api_key",
        "key",
        "client_secret",
        "credentials",
    ],
)
def test_secrets_are_masked(name: str) -> None:
    assert flatten("group", {name: "s3cr3t"}) == {f"group.{name}": MASK}
    assert flatten(name, "s3cr3t") == {name: MASK}
    assert "s3cr3t" not in str(flatten("sources", [{"name": "x", name: {"inner": "s3cr3t"}}]))
    assert mask_text(f"kedro run --params {name}=s3cr3t,seed=3") == f"kedro run --params {name}={MASK},seed=3"


@pytest.mark.parametrize(
    "name", ["max_new_tokens", "tokens", "keyword", "monkey", "tokeniser", "keys_per_row"]
)
def test_names_that_only_sound_secret_are_kept(name: str) -> None:
    assert flatten("group", {name: 128}) == {f"group.{name}": "128"}
    assert mask_text(f"{name}=128") == f"{name}=128"


def test_an_absent_secret_is_seen_to_be_absent() -> None:
    assert flatten("hub", {"token": None}) == {"hub.token": "null"}


def test_users_in_addresses_are_masked() -> None:
    assert flatten("uri", "https://me:pw@host/path") == {"uri": f"https://{MASK}@host/path"}


def test_long_values_are_cut() -> None:
    [text] = flatten("long", "x" * 10_000).values()
    assert len(text) == LONGEST_VALUE
    assert text.endswith("…")


names = st.text(string.ascii_lowercase, min_size=1, max_size=6)
trees = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(names, inner, max_size=3),
    max_leaves=15,
)


@given(st.dictionaries(names, trees, min_size=1, max_size=4), names)
def test_nothing_below_a_secret_name_ever_comes_through(tree: dict, name: str) -> None:
    marker = "MARKER"
    tree[name] = {"deep": [{"my_secret": [marker, {"x": marker}]}], "token": marker}
    flat = flatten("p", tree)
    assert marker not in str(flat)
    assert all(key == "p" or key.startswith("p.") for key in flat)
