"""Work on one run directory that several workers share."""

import time
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from pathlib import Path

from detnas.distributed import comm
from detnas.utils.files import try_lock_file

PAUSE = 1.0
"""Seconds between two looks at what other workers are doing."""


def share(
    names: Sequence[str],
    work: Callable[[str], object],
    *,
    is_done: Callable[[str], bool],
    lock: Callable[[str], Path],
    log: Callable[[str], object],
) -> None:
    """Do `work` for each of `names` that is not done, each by one worker, and return once all are done.

    A worker holds the `lock` of a name while it works. The processes of one torchrun are one worker.
    """
    is_said = False
    while left := [name for name in names if not is_done(name)]:
        if not any(_work_if_free(name, work, is_done, lock(name)) for name in left):
            if not is_said:
                log(f"  waits for other workers: {', '.join(left)}")
            is_said = True
            time.sleep(PAUSE)


def _work_if_free(name: str, work: Callable[[str], object], is_done: Callable[[str], bool], lock: Path) -> bool:
    """Do the work unless another worker does."""
    with ExitStack() as held:
        is_free = comm.broadcast_from_main(lambda: held.enter_context(try_lock_file(lock)))
        if is_free and not is_done(name):
            work(name)
        return is_free
