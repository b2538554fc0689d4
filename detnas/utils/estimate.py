"""An estimate with its interval."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Estimate:
    """An estimate and its 95 % interval; NaN where it is not defined."""

    value: float
    low: float
    high: float

    def __format__(self, digits: str) -> str:
        """As text, "0.50 (0.40 to 0.60)", each number by `digits`, which is `.2f` by default."""
        value, low, high = (format(number, digits or ".2f") for number in (self.value, self.low, self.high))
        return f"{value} ({low} to {high})"

    def __str__(self) -> str:
        return format(self)
