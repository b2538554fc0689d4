"""What every section of a recipe shares: unknown keys are refused, values are checked where they are defined."""

from pydantic import BaseModel, ConfigDict


class Section(BaseModel):
    """A part of a recipe; immutable, and refuses keys it does not know."""

    model_config = ConfigDict(extra="forbid", frozen=True, use_attribute_docstrings=True)
