"""Opening a run: its recipe read, its directory claimed, its data opened, and everything checked before training."""

from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Literal

from detnas.config import Recipe, load_recipe
from detnas.data.splits import open_data
from detnas.distributed import comm
from detnas.distributed.device import choose_device
from detnas.run.checks import check_run
from detnas.run.context import Run
from detnas.run.store import check_recipe, draw_data, store_latencies, store_recipe, store_splits
from detnas.rundir.directory import claim, read_stored_run
from detnas.rundir.layout import RECIPE
from detnas.spaces import BudgetSampler
from detnas.training.data_parallel import check_batches
from detnas.utils.progress import Progress
from detnas.utils.resource_errors import explain_disk_full


def read_recipe(recipe: str | Path, changes: Sequence[str] = ()) -> Recipe:
    """`load_recipe` in the main process, broadcast to the others, which need not see a recipe's file."""
    tree = comm.broadcast_from_main(lambda: load_recipe(recipe, changes).model_dump(mode="json"))
    return Recipe.model_validate(tree)


def load_run(directory: Path) -> tuple[Recipe, Path]:
    """The recipe and the data folder of the run in `directory`. Raises `UserError` if it holds none."""
    data = comm.broadcast_from_main(lambda: read_stored_run(directory).data_directory)
    return read_recipe(directory / RECIPE), Path(data)


@contextmanager
def open_run(
    recipe: Recipe,
    directory: Path,
    data: Path | None,
    progress: Progress,
    hold: Literal["alone", "shared", "not at all"] = "alone",
) -> Iterator[Run]:
    """Claim `directory` for a run of `recipe` until the block ends, and check all that can be checked before training.

    `hold` says how the directory is claimed: "alone", "shared" with other processes that claim it so, or "not at all",
    beside whoever has claimed it. Raises `UserError` for whatever cannot work.
    """
    with comm.raise_on_all_ranks():
        sampler = BudgetSampler(recipe.search_space(), recipe.cost_budget())
        device = choose_device(recipe.device)
        check_batches(recipe)
    comm.check_same_on_all_ranks("device", device.type)
    with explain_disk_full(directory), ExitStack() as held:
        comm.broadcast_from_main(lambda: check_recipe(directory, recipe))
        if hold != "not at all":
            comm.broadcast_from_main(lambda: held.enter_context(claim(directory, shared=hold == "shared")))
        if data is None:
            data = Path(comm.broadcast_from_main(lambda: draw_data(directory, recipe, progress.log)))
        with comm.raise_on_all_ranks():
            run_data = open_data(data, recipe.data, recipe.seed)
            for line in run_data.summary():
                progress.log(line)
            current = Run(recipe, directory, run_data, sampler, device, progress)
            check_run(current)
        fingerprint = run_data.fingerprint()
        comm.check_same_on_all_ranks(f"data set {data}", fingerprint)
        comm.broadcast_from_main(lambda: store_recipe(directory, recipe, run_data, fingerprint))
        comm.broadcast_from_main(lambda: store_latencies(directory, sampler.budget.latencies))
        comm.broadcast_from_main(lambda: store_splits(directory, run_data))
        yield current
