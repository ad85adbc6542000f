"""Features do not depend on how many rows are looked at together, which follows the length of their texts."""

from dataclasses import fields

import numpy as np
import pytest

from bdpo_pipeline.filters import features
from bdpo_pipeline.filters.features import FeatureReader
from bdpo_pipeline.io.schemas import get_schema
from bdpo_pipeline.io.tables import TableWriter


def store(schema, rows):
    with TableWriter(get_schema(schema)) as writer:
        for row in rows:
            writer.append(row)
        return writer.finish()


@pytest.mark.parametrize(("characters", "most"), [(1, 1), (10**9, 89)])
def test_portions_do_not_change_features(tokenizer, pair, parameters, monkeypatch, characters, most):
    table = store("pairs", [pair(f"Question {i}?", "Yes. " * i, "No.", source_row=i) for i in range(1, 90)])
    asked = store("evaluation_prompts", [])
    whole = FeatureReader(tokenizer, asked, parameters(), 0).read(table)
    monkeypatch.setattr(features, "CHARACTERS_AT_ONCE", characters)
    portions = [len(rows) for rows in features._read_portions(table)]
    assert sum(portions) == 89
    assert max(portions) == most
    cut = FeatureReader(tokenizer, asked, parameters(), 0).read(table)
    for field in fields(whole):
        np.testing.assert_array_equal(getattr(whole, field.name), getattr(cut, field.name))
