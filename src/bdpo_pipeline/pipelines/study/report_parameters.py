"""Typed parameters of the study's report."""

from pydantic import Field

from bdpo_pipeline.parameters import ParameterGroup


class SubsetArms(ParameterGroup):
    """Which arm was trained on which part of the training pairs; null where there is none."""

    balanced: str | None = Field(description="on the pairs with the least imbalance")
    imbalanced: str | None = Field(description="on those with the largest")
    random: str | None = Field(description="on any, equally many")


class StudyReportParameters(ParameterGroup):
    """How the arms of a study are compared and shown."""

    title: str = Field(min_length=1, description="heading of the page")
    baseline: str = Field(min_length=1, description="the arm that all others are compared with")
    resamples: int = Field(
        ge=1000, description="bootstrap resamples; no p-value is below 2 / (resamples + 1)"
    )
    imbalance_bins: int = Field(ge=2, description="parts that held-out pairs are cut into by imbalance")
    subsets: SubsetArms
