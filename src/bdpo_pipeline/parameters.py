"""What all typed parameter groups share."""

from pydantic import BaseModel, ConfigDict


class ParameterGroup(BaseModel):
    """A parameter group: immutable, and an unknown or misspelt name is an error before any node runs."""

    model_config = ConfigDict(extra="forbid", frozen=True)
