"""What the finals found, in words."""

from detnas.rundir.layout import FinalsResult


def describe(result: FinalsResult) -> list[str]:
    """Lines of text."""
    compared = (
        f"{len(result.finalists)} networks were trained and compared on the {result.images} images of the search split"
    )
    if result.incumbent is None:
        return [f"winner: {result.winner}; {compared}, and no incumbent is within the budget"]
    if result.challenger is None or result.lead is None or result.certainty is None:
        return [
            f"winner: {result.winner}, an incumbent; {compared}, and none that the search found reached the last rung"
        ]
    lead = f"{result.metric} {result.lead:+.3f}, better with a certainty of {result.certainty:.0%}"
    if result.winner == result.incumbent:
        return [
            f"winner: {result.winner}, an incumbent: nothing better was found within this budget",
            f"{compared}; the best that the search found, {result.challenger}, has {lead}, and {result.wanted:.0%} is "
            "wanted",
        ]
    return [
        f"winner: {result.winner}, found by the search",
        f"{compared}; against the best incumbent, {result.incumbent}: {lead}",
    ]
