"""The base class of all sections of a recipe, and the types of its values, all of which are bounded.

A value beyond its bound would take memory or time for nothing, or overflow: every number of every section has one.
"""

import re
from typing import Annotated, Any

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    TypeAdapter,
    ValidatorFunctionWrapHandler,
    WrapValidator,
    model_validator,
)

from detnas.utils.text import NAME, NAME_RULE

UNITS = {"k": "e3", "M": "e6", "G": "e9"}


class Section(BaseModel):
    """A section of a recipe: immutable, and without unknown keys. The docstrings of fields are their descriptions."""

    model_config = ConfigDict(
        extra="forbid", frozen=True, use_attribute_docstrings=True, allow_inf_nan=False, hide_input_in_errors=True
    )

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


def _check_name(text: str) -> str:
    if not NAME.fullmatch(text):
        raise ValueError(f"write {NAME_RULE}")
    return text


def check_path(text: str) -> str:
    """`text`, unless it is no path on any machine. Raises `ValueError`."""
    if len(text) > MOST_PATH_LETTERS or _NO_PATH.search(text):
        raise ValueError("not a path; name a file or a folder")
    return text


def or_auto(type: Any, what: str) -> WrapValidator:
    """Validates a field of `Literal["auto"]` and `type`; `what` says what else than `auto` may be written."""
    adapter = TypeAdapter(type)

    def read(value: Any, _: ValidatorFunctionWrapHandler) -> Any:
        # Not by the handler of the union, which would name both of its choices where neither fits.
        if value == "auto":
            return value
        if isinstance(value, str):
            raise ValueError(f"give {what}, or write auto")
        return adapter.validate_python(value)

    return WrapValidator(read)


MOST_PATH_LETTERS = 4096
_NO_PATH = re.compile(r"[\x00-\x1f\x7f\ud800-\udfff]")

MOST_SIDE = 2**13

Count = Annotated[float, Field(ge=0, le=1e18), BeforeValidator(_number)]
"""A non-negative number, which may have a unit."""
Name = Annotated[str, AfterValidator(_check_name)]
"""Text that becomes part of paths and of generated code."""
PathText = Annotated[str, AfterValidator(check_path)]
"""The path of a file or folder; whether there is one is not checked."""
Seed = Annotated[int, Field(ge=0, lt=2**63)]
Steps = Annotated[int, Field(gt=0, le=10**9)]
"""Of an optimizer."""
Quantity = Annotated[int, Field(gt=0, le=10**6)]
"""Of images, boxes or evaluations."""
BatchSize = Annotated[int, Field(gt=0, le=2**16)]
Channels = Annotated[int, Field(gt=0, le=2**14)]
Side = Annotated[int, Field(gt=0, le=MOST_SIDE)]
"""Of an image or a box in pixels."""
