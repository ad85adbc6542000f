"""What all typed parameter groups share."""

from typing import Any, Self

from pydantic import BaseModel, ConfigDict, model_validator

LARGEST = 2**53


class ParameterGroup(BaseModel):
    """A parameter group: immutable, and an unknown or misspelt name is an error before any node runs, as is a number out of any use."""

    # Built when first used: listing the pipelines uses none.
    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False, defer_build=True)

    @model_validator(mode="after")
    def _numbers_can_be_used(self) -> Self:
        for name, value in self:
            _check_number(name, value)
        return self


def _check_number(name: str, value: Any) -> None:
    if isinstance(value, int | float) and not -LARGEST <= value <= LARGEST:
        raise ValueError(f"{name} is out of range; accepted: from -2**53 to 2**53")
    if isinstance(value, list | tuple):
        for item in value:
            _check_number(name, item)
    if isinstance(value, dict):
        for key, item in value.items():
            _check_number(f"{name}.{key}", item)
