"""What the finals found, in words."""

from detnas.rundir.layout import FinalsResult
from detnas.spaces import Architecture, SearchSpace
from detnas.spaces.published import known_name


def describe(result: FinalsResult, space: SearchSpace) -> list[str]:
    """Lines of text."""
    incumbent = name_of(result.incumbent, space) if result.incumbent else ""
    compared = (
        f"{len(result.finalists)} networks were trained and compared on the {result.images} images of the search split"
    )
    if not incumbent:
        return [f"winner: {result.winner}", f"{compared}; no incumbent is within the budget"]
    if result.lead is None or result.certainty is None:
        return [
            f"winner: {incumbent}, an incumbent: nothing better was found within this budget",
            f"{compared}; nothing that the search found was among the last",
        ]
    lead = f"is {result.lead:+.3f} {result.metric}, and above 0 with a certainty of {result.certainty:.0%}"
    if result.is_won_by_incumbent:
        return [
            f"winner: {incumbent}, an incumbent: nothing better was found within this budget",
            f"{compared}; the lead of the best that the search found, {result.challenger}, {lead}, where "
            f"{result.wanted:.0%} is wanted",
        ]
    return [f"winner: {result.winner}, found by the search", f"{compared}; its lead over {incumbent} {lead}"]


def name_of(architecture: str, space: SearchSpace) -> str:
    """The name of an architecture that a file gives as text."""
    return known_name(Architecture.parse(architecture), space)
