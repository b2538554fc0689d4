"""Numbers as people write them: 300M, 1.3G, 500k."""

from typing import Annotated, Any

from pydantic import BeforeValidator, Field

UNITS = {"k": "e3", "M": "e6", "G": "e9"}


def _number(value: Any) -> Any:
    """Accept 300M, 1.3G and 500k for numbers."""
    if isinstance(value, str) and value and value[-1] in UNITS:
        try:
            return float(value[:-1] + UNITS[value[-1]])  # exact, where a product would round
        except ValueError:
            raise ValueError(f"{value!r} is not a number; write for example 300M") from None
    return value


Count = Annotated[Annotated[float, Field(ge=0)], BeforeValidator(_number)]
