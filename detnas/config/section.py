"""What every section of a recipe shares: unknown keys are refused, values are checked where they are defined."""

from typing import Any

from pydantic import BaseModel, ConfigDict, model_validator


class Section(BaseModel):
    """A part of a recipe; immutable, and refuses keys it does not know."""

    model_config = ConfigDict(extra="forbid", frozen=True, use_attribute_docstrings=True, allow_inf_nan=False)

    @model_validator(mode="before")
    @classmethod
    def _no_yes_as_a_number(cls, values: Any) -> Any:
        """Refuse `flip: yes`, which would pass as 1."""
        for name, value in values.items() if isinstance(values, dict) else ():
            if isinstance(value, bool) and name in cls.model_fields and cls.model_fields[name].annotation is not bool:
                raise ValueError(f"{name} takes neither yes nor no (true or false)")
        return values
