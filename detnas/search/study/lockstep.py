"""A search of several processes: the first one chooses, all judge."""

from collections.abc import Callable, Mapping

from detnas.distributed import comm
from detnas.search.evaluators.racing import GoesOn, always
from detnas.spaces import Architecture

Judge = Callable[[Architecture, GoesOn], Mapping[str, float | None] | None]
"""Gives a candidate's scores by name, or nothing if it was not to go on after a part of the pictures. Of several
processes the first is asked whether it does, and tells the others."""


def search_together(judge: Judge, search: Callable[[Judge], object]) -> None:
    """Call `search` in the first process, with a judge for which all processes call `judge` on the same architecture.

    `judge` divides the work: it is told the same in every process, and each has the whole answer.
    """
    if not comm.is_first():
        while text := comm.from_first(str):
            judge(Architecture.parse(text), always)
        return

    def lead(architecture: Architecture, goes_on: GoesOn) -> Mapping[str, float | None] | None:
        comm.from_first(lambda: str(architecture))
        return judge(architecture, goes_on)

    search(lead)
    comm.from_first(str)  # nothing more
