"""Typed parameters of the reporting."""

from pydantic import Field

from bdpo_pipeline.parameters import ParameterGroup


class ReportingParameters(ParameterGroup):
    """What the report page shows."""

    title: str = Field(min_length=1, description="heading of the page")
    samples_per_set: int = Field(
        ge=0, description="most sample generations of a prompt set and way of choosing"
    )
