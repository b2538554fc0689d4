"""Where a run stands, read from its directory alone."""

from collections.abc import Iterator
from pathlib import Path

from detnas.config import Recipe, load_recipe
from detnas.files import read_json, read_json_lines
from detnas.run_directory import RECIPE, stored_run
from detnas.searching.evaluation import headline
from detnas.spaces import Cost


def describe(directory: Path) -> Iterator[str]:
    """Lines for people. Raises `UserError` if `directory` holds no run."""
    stored_run(directory)
    recipe = load_recipe(directory / RECIPE)
    yield f"{directory}: recipe {recipe.name}"
    if recipe.pretrains_supernet:
        yield _training(directory, "supernet-pretrain", recipe.supernet_pretrain.steps)
    if recipe.search.fitness == "detection":
        yield _training(directory, "supernet-finetune", recipe.supernet_finetune.steps)
    yield _search(directory, recipe)
    for network in ("winner", *recipe.baselines):
        if recipe.pretraining.source != "none":
            yield _training(directory, f"pretrain/{network}", recipe.pretrain.steps)
        yield _training(directory, f"finetune/{network}", recipe.finetune.steps)
        evaluation = directory / "finetune" / network / "evaluation.json"
        if evaluation.exists():
            found = read_json(evaluation)
            scores = found["scores"]
            cost = Cost(found["flops"], found["params"], round(1e3 * found.get("latency_ms", 0)))
            yield f"  {found['architecture'] or network}: {cost.in_millions()}"
            yield f"  {headline(scores, recipe.search.metric)} on the validation set"
    page = directory / "report.html"
    yield f"report: {page if page.exists() else 'not written yet'}"


def _training(directory: Path, stage: str, steps: int) -> str:
    done = directory / stage / "done.json"
    if done.exists():
        return f"{stage}: done, {read_json(done)['seconds']:.0f} s"
    rows = [row for row in read_json_lines(directory / stage / "metrics.jsonl") if "loss" in row]
    if not rows:
        return f"{stage}: not begun" if not (directory / stage).exists() else f"{stage}: begun"
    return f"{stage}: {rows[-1]['step']} of {steps} steps saved, loss {rows[-1]['loss']:.3f}"


def _search(directory: Path, recipe: Recipe) -> str:
    total = recipe.search.evaluations
    rows = read_json_lines(directory / "search" / "candidates.jsonl")
    failed = len(read_json_lines(directory / "search" / "failed.jsonl"))
    if not rows:
        return f"search: {'begun' if (directory / 'search').exists() else 'not begun'}"
    fitness = [row["fitness"] for row in rows if row["fitness"] is not None]
    dropped = f" ({len(rows) - len(fitness)} dropped on the way)" if len(fitness) < len(rows) else ""
    state = "done" if (directory / "search" / "done.json").exists() else "under way"
    but = f", {failed} more failed (search/failed.jsonl)" if failed else ""
    front = directory / "search" / "front.json"
    found = f", {len(read_json(front))} on the front (search/front.json)" if front.exists() else ""
    best = f"{recipe.search.score} {max(fitness):.3f}"
    return f"search: {state}, {len(rows)} of {total} candidates{dropped}{but}, best {best} on the search split{found}"
