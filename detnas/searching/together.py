"""A search of several processes: the first one chooses, all judge."""

from collections.abc import Callable, Mapping

from detnas import processes
from detnas.spaces import Architecture

Judge = Callable[[Architecture], Mapping[str, float | None]]


def search_together(judge: Judge, search: Callable[[Judge], object]) -> None:
    """Call `search` in the first process, with a judge for which all processes call `judge` on the same architecture.

    `judge` divides the work: it is told the same in every process, and each has the whole answer.
    """
    if not processes.is_first():
        while text := processes.from_first(str):
            judge(Architecture.parse(text))
        return

    def lead(architecture: Architecture) -> Mapping[str, float | None]:
        processes.from_first(lambda: str(architecture))
        return judge(architecture)

    search(lead)
    processes.from_first(str)  # nothing more
