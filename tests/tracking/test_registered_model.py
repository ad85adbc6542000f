from pathlib import Path

import pytest

from bdpo_pipeline.models.prepare import ModelSource, prepare_base_model
from bdpo_pipeline.tracking.registered_model import BaseModelMismatchError, find_base_model


@pytest.fixture(scope="module")
def facts(tmp_path_factory: pytest.TempPathFactory) -> dict:
    return prepare_base_model(
        ModelSource(source="tiny_random", name="llama"), tmp_path_factory.mktemp("models")
    )


def test_the_base_model_is_where_training_found_it(facts: dict) -> None:
    assert find_base_model(facts, None) == Path(facts["path"])


def test_a_moved_base_model_can_be_named(facts: dict, tmp_path: Path) -> None:
    moved = tmp_path / "moved"
    moved.symlink_to(facts["path"])
    gone = {**facts, "path": str(tmp_path / "gone")}
    assert find_base_model(gone, str(moved)) == moved
    with pytest.raises(BaseModelMismatchError, match=r"is not at .*gone; name its folder: .*base_model_path"):
        find_base_model(gone, None)


def test_other_weights_are_refused(facts: dict) -> None:
    with pytest.raises(BaseModelMismatchError, match="but the adapter was trained on llama"):
        find_base_model({**facts, "weights_sha256": "0" * 64}, None)
