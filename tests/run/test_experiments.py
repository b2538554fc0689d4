"""The paper's experiments beside DetNAS itself, in miniature: the whole pipeline of each on shapes."""

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from small_recipe import small_recipe, training

from detnas.data.images import Images
from detnas.data.splits import open_data
from detnas.models.supernet import Supernet
from detnas.profiling.profile import describe
from detnas.run import pipeline, status
from detnas.utils.errors import UserError

SHORT: dict[str, Any] = {
    "baselines": ["shuffle3"],
    "supernet_pretrain": training(steps=10, batch_size=4),
    "supernet_finetune": training(steps=10),
}


def rows(run: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (run / "search" / "candidates.jsonl").read_text().splitlines()]


def finished(run: Path) -> bool:
    return {"detector.safetensors", "report.html"} <= {path.name for path in run.iterdir()}


@pytest.mark.parametrize("source", [pytest.param("crops", marks=pytest.mark.slow), "folder"])
def test_clsnas_is_guided_by_accuracy_alone(source: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """No detector but the final ones; the supernet sees nothing of what candidates are evaluated on; and it is said."""
    stage, seen, read = [""], {}, Images.__getitem__

    def spied(self: Images, index: int) -> torch.Tensor:
        seen.setdefault(stage[0], set()).add(self.files[index])
        return read(self, index)

    def within(name: str) -> Any:
        work = pipeline.STAGES[name]

        def inside(run: pipeline.Run) -> None:
            stage[0] = name
            work(run)

        return inside

    monkeypatch.setattr(Images, "__getitem__", spied)
    for name in pipeline.STAGES:
        monkeypatch.setitem(pipeline.STAGES, name, within(name))
    recipe = small_recipe(
        **SHORT,
        search__fitness="classification",
        pretraining__source=source,
        pretraining__folder="classification/train",
        pretraining__search_fraction=0.25,
        data__cache_mb=0,
    )
    run = pipeline.run(recipe, tmp_path / "run")
    assert finished(run) and not (run / "supernet-finetune").exists()

    data = open_data(run / "data", recipe.data, recipe.seed)
    if source == "crops":
        fit, evaluated_on, everything = set(data.fit.files), set(data.search.files), set(data.train.files)
    else:
        everything = set((run / "data/classification/train").glob("*/*"))
        evaluated_on = seen["search"] - seen["supernet-pretrain"]
        fit = everything - evaluated_on
        assert len(everything) == 24 and len(evaluated_on) == 6
    assert seen["supernet-pretrain"] <= fit and seen["search"] <= fit | evaluated_on and seen["search"] & fit
    assert seen["pretrain"] <= everything and seen["pretrain"] & evaluated_on
    assert "supernet-finetune" not in seen and seen["finetune"] & set(data.search.files)

    assert {row["metric"] for row in rows(run)} == {"accuracy"} and all(0 <= row["fitness"] <= 1 for row in rows(run))
    best = json.loads((run / "search" / "best.json").read_text())
    assert best["metric"] == "accuracy" and best["fitness"] == max(row["fitness"] for row in rows(run))
    said = list(status.format_status(run))
    assert f"search: done, 6 of 6 candidates, best accuracy {best['fitness']:.3f} on the search split" in said
    assert not any(line.startswith("supernet-finetune") for line in said)
    page = (run / "report.html").read_text()
    assert "Fitness is accuracy on the search split of the classification images" in page
    assert "fitness (accuracy x 100)" in page and "fitness (mAP" not in page
    assert "not part of this run" in page.split("Supernet, fine-tuning on detection")[-1][:200]


def test_clsnas_needs_something_to_classify() -> None:
    for change in ({"pretraining__source": "none"}, {"pretraining__supernet": False}):
        with pytest.raises(ValueError, match="needs a supernet that classifies"):
            small_recipe(search__fitness="classification", **change)


def test_a_folder_too_small_to_hold_images_out_is_refused(tmp_path: Path, blocks: Path) -> None:
    recipe = small_recipe(
        search__fitness="classification",
        pretraining__source="folder",
        pretraining__folder=str(blocks / "classes"),  # absolute
        pretraining__search_fraction=0.97,
    )
    with pytest.raises(UserError, match=r"classes: of its 12 images none is left to train on"):
        pipeline.run(recipe, tmp_path / "run", blocks)


def test_profile_leaves_out_the_fine_tuning_of_clsnas() -> None:
    def times(**changes: Any) -> dict[str, str]:
        lines = list(describe(small_recipe(**changes)))
        return dict(line.split(maxsplit=1) for line in lines[lines.index("estimated time on this cpu, roughly:") + 1 :])

    assert times(search__fitness="classification")["supernet-finetune"] == "0 s"
    assert times()["supernet-finetune"] != "0 s"


def test_detnas_scratch_pre_trains_the_networks_alone(tmp_path: Path) -> None:
    run = pipeline.run(small_recipe(**SHORT, pretraining__supernet=False), tmp_path / "run")
    assert finished(run) and not (run / "supernet-pretrain").exists()
    assert {path.name for path in (run / "pretrain").iterdir()} == {"winner", "shuffle3"}
    said = list(status.format_status(run))
    assert said[1].startswith("supernet-finetune: done") and any(line.startswith("pretrain/winner") for line in said)
    table = (run / "report.html").read_text().split("Time spent")[1]
    assert table.count("not part of this run") == 1
    assert "not part of this run" in table.split("Supernet, pre-training")[1].split("</tr>")[0]


@pytest.mark.slow
def test_random_search_draws_every_candidate_at_random(tmp_path: Path) -> None:
    recipe = small_recipe(**SHORT, search__sampler="random", pretraining__source="none")
    run = pipeline.run(recipe, tmp_path / "run")
    assert finished(run)
    assert [(row["origin"], row["generation"]) for row in rows(run)] == [("random", 0)] * 6


def test_a_search_against_a_cost_leaves_its_front_and_shows_it(tmp_path: Path) -> None:
    recipe = small_recipe(
        **SHORT,
        search__sampler="nsga2",
        search__second_objective="params",
        search__evaluations=4,
        pretraining__source="none",
    )
    run = pipeline.run(recipe, tmp_path / "run", stages=("supernet-finetune", "search", "report"))
    front = json.loads((run / "search" / "front.json").read_text())
    best = json.loads((run / "search" / "best.json").read_text())
    assert front[-1] == best and best["fitness"] == max(row["fitness"] for row in rows(run))
    assert f", {len(front)} on the front (search/front.json)" in "\n".join(status.format_status(run))
    page = (run / "report.html").read_text()
    assert f"The Pareto front as a table: {len(front)} " in page and "million parameters" in page


def test_paths_come_from_the_bins_of_each_training(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    recipe = small_recipe(**SHORT, search__evaluations=1)
    space = recipe.search_space()
    cheapest, middle = (space.cost(space.uniform(op)).macs for op in ("shuffle3", "shuffle5"))
    bins = {"supernet_pretrain": [middle, 1e9], "supernet_finetune": [0, cheapest, middle]}
    tree = recipe.model_dump()
    for stage, edges in bins.items():
        tree[stage]["macs_bins"] = edges
    chosen: list[int] = []
    activate = Supernet.activate

    def spied(self: Supernet, architecture: Any) -> None:
        chosen.append(space.cost(architecture).macs)
        activate(self, architecture)

    monkeypatch.setattr(Supernet, "activate", spied)
    for stage, edges in bins.items():
        chosen.clear()
        pipeline.run(type(recipe).model_validate(tree), tmp_path / "run", stages=(stage.replace("_", "-"),))
        assert len(chosen) == 10 and all(edges[0] <= cost < edges[-1] for cost in chosen)
