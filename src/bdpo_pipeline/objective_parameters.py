"""The `objective` parameter group, shared by the pipelines that compute what it needs and the one that minimises it."""

from typing import TYPE_CHECKING, Any

from pydantic import Field, model_validator

from bdpo_pipeline.parameters import ParameterGroup

if TYPE_CHECKING:
    from bdpo_pipeline.objectives import BoundObjective


class ObjectiveParameters(ParameterGroup):
    """The objective and its options; options left out take the objective's defaults."""

    name: str
    options: dict[str, Any] = Field(default_factory=dict)

    @model_validator(mode="after")
    def _objective_accepts_its_options(self) -> "ObjectiveParameters":
        self.bind()
        return self

    def bind(self) -> "BoundObjective":
        """Return the objective with its options fixed."""
        # Imported here, because it imports torch, and only a run that uses an objective should pay for that.
        from bdpo_pipeline.objectives import bind_objective

        return bind_objective(self.name, self.options)
