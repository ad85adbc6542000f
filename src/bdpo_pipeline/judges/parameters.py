"""The `judging` parameter group, shared by the pipelines that judge and that measure judges."""

from typing import Any

from pydantic import Field, field_validator

from bdpo_pipeline.parameters import ParameterGroup

from .base import Judge, JudgeError, JudgeOptions, Resources
from .registry import build_judge, describe_settings, read_options


class JudgingParameters(ParameterGroup):
    """Who judges responses."""

    judges: dict[str, dict[str, Any] | None] = Field(
        description="judges by your name for each: its kind and options, or null to leave out one that conf/base names"
    )

    @field_validator("judges")
    @classmethod
    def _can_be_used(cls, judges: dict[str, dict[str, Any] | None]) -> dict[str, dict[str, Any] | None]:
        for name, configuration in judges.items():
            if configuration is not None:
                try:
                    read_options(configuration)
                except ValueError as error:
                    raise ValueError(f"judge {name!r}: {error}") from error
        if not any(judges.values()):
            raise ValueError("no judge is left; name at least one")
        return judges

    @property
    def configurations(self) -> dict[str, dict[str, Any]]:
        """Kind and options of each judge that is used."""
        return {name: found for name, found in self.judges.items() if found is not None}

    def options(self) -> dict[str, JudgeOptions]:
        """Return the checked options of each judge."""
        return {name: read_options(found) for name, found in self.configurations.items()}

    def settings(self, resources: Resources) -> dict[str, str]:
        """Return what an accuracy of each judge belongs to: see :func:`bdpo_pipeline.judges.registry.describe_settings`."""
        return {name: describe_settings(found, resources) for name, found in self.configurations.items()}

    def build(self, resources: Resources) -> dict[str, Judge]:
        """Return the judges by name, in their order.

        Raises:
            JudgeError: one needs something that is not there; the message names it.
        """
        judges = {}
        for name, found in self.configurations.items():
            try:
                judges[name] = build_judge(found, resources)
            except JudgeError as error:
                raise JudgeError(f"judging.judges.{name}: {error}") from error
        return judges
