"""The base class of all sections of a recipe, and numbers with units: 300M, 1.3G, 500k."""

from typing import Annotated, Any

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, model_validator

UNITS = {"k": "e3", "M": "e6", "G": "e9"}


class Section(BaseModel):
    """A section of a recipe: immutable, and without unknown keys. The docstrings of fields are their descriptions."""

    model_config = ConfigDict(extra="forbid", frozen=True, use_attribute_docstrings=True, allow_inf_nan=False)

    @model_validator(mode="before")
    @classmethod
    def _refuse_bool_as_number(cls, values: Any) -> Any:
        """Refuse `flip: yes`, which pydantic would convert to 1."""
        for name, value in values.items() if isinstance(values, dict) else ():
            if isinstance(value, bool) and name in cls.model_fields and cls.model_fields[name].annotation is not bool:
                raise ValueError(f"{name} takes neither yes nor no (true or false)")
        return values


def _number(value: Any) -> Any:
    """Convert text with a unit to a number; other values are returned unchanged."""
    if isinstance(value, str) and value and value[-1] in UNITS:
        try:
            return float(value[:-1] + UNITS[value[-1]])  # exact, whereas a product may be rounded
        except ValueError:
            raise ValueError(f"{value!r} is not a number; write for example 300M") from None
    return value


Count = Annotated[float, Field(ge=0), BeforeValidator(_number)]
"""A non-negative number, which may have a unit."""
