"""The small benchmark: what architectures are worth, trained standalone.

48 architectures of `tiny` within the demo's budget are trained, each with two seeds, on the data and by the schedule of
research/workspace.py; the first eight already spread over the space. A training takes one to two minutes on one core.
The question is how much larger the differences between architectures are than those between seeds.
"""

from contextlib import ExitStack

from benchmarks.command import machine
from detnas.run.networks import train_standalone
from detnas.rundir.layout import network_lock
from detnas.spaces import Architecture
from detnas.utils.files import read_json, try_lock_file, write_json
from research.statistics import reliability
from research.workspace import CHANGES, SEEDS, Row, Summary, Tiny, Workspace, recorded, standalone_results

NAME = "architectures"


def train(workspace: Workspace, chosen: list[Architecture]) -> None:
    chosen = [one for one in chosen if row(workspace, one) is None]
    with ExitStack() as stack:
        runs = [stack.enter_context(workspace.open_standalone("retinanet", seed)) for seed in SEEDS]
        for place, architecture in enumerate(chosen, start=1):
            for run in runs:
                with try_lock_file(network_lock(run.directory, architecture.hyphenated)) as mine:
                    if mine:
                        run.progress.log(f"[{place}/{len(chosen)}] {architecture}, seed {run.recipe.seed}")
                        train_standalone(run, architecture)


def row(workspace: Workspace, architecture: Architecture) -> Row | None:
    """The results of an architecture that is trained with all seeds, here or where the file was written."""
    folders = [workspace.standalone_folder("retinanet", seed) for seed in SEEDS]
    found = [one for folder in folders if (one := standalone_results(folder, architecture)) is not None]
    if len(found) < len(SEEDS):
        networks = recorded(workspace.results(NAME), changes=list(CHANGES), seeds=list(SEEDS)).get("networks", [])
        return next((one for one in networks if one["architecture"] == str(architecture)), None)
    return {
        **{key: found[0][key] for key in ("architecture", "macs", "params")},
        **{key: [one[key] for one in found] for key in ("mAP", "AP50", "seconds")},
    }


def earlier_trials(workspace: Workspace) -> list[Row]:
    """The differences with other data and schedules, in the order in which these were given up."""
    file = workspace.results(NAME)
    if not file.exists():
        return []
    latest = read_json(file)
    given_up: list[Row] = latest["earlier trials"]
    if latest["changes"] != list(CHANGES):
        trial = {"changes": latest["changes"], "differences": latest["differences"]}
        given_up.append({**trial, "networks": len(latest["networks"])})
    return given_up


def main(summary: Summary = False, tiny: Tiny = False) -> None:
    """Train the benchmark's architectures. Writes research/results/architectures.json."""
    workspace = Workspace(tiny)
    chosen = workspace.architectures()
    if not summary:
        train(workspace, chosen)
    rows = [found for one in chosen if (found := row(workspace, one)) is not None]
    print(f"{len(rows)} of {len(chosen)} architectures are done")
    if len(rows) < 3:
        return
    differences = {score: reliability([found[score] for found in rows]) for score in ("mAP", "AP50")}
    print(differences)
    results = {
        "recipe": "shapes-quick",
        "changes": list(CHANGES),
        "machine": machine(),
        "seeds": list(SEEDS),
        "differences": differences,
        "networks": rows,
        "earlier trials": earlier_trials(workspace),
    }
    write_json(workspace.results(NAME), results)
