"""Numbers with units: 300M, 1.3G, 500k."""

from typing import Annotated, Any

from pydantic import BeforeValidator, Field

UNITS = {"k": "e3", "M": "e6", "G": "e9"}


def _number(value: Any) -> Any:
    """Convert text with a unit to a number; other values are returned unchanged."""
    if isinstance(value, str) and value and value[-1] in UNITS:
        try:
            return float(value[:-1] + UNITS[value[-1]])  # exact, whereas a product may be rounded
        except ValueError:
            raise ValueError(f"{value!r} is not a number; write for example 300M") from None
    return value


Count = Annotated[Annotated[float, Field(ge=0)], BeforeValidator(_number)]
"""A non-negative number, which may have a unit."""
