"""Builds a run directory out of invented but plausible numbers, as far as wanted."""

import json
import math
import random
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from PIL import Image, ImageDraw
from small_recipe import small_tree

from detnas.config import Recipe, load_recipe
from detnas.report import Box, Example
from detnas.rundir.directory import write_stored_run
from detnas.rundir.layout import FORMAT, StoredRun
from detnas.spaces import Architecture, Cost, search_space

SPACE = search_space("small")
STEPS = {"supernet-pretrain": 6.9, "supernet-finetune": 2.1, "pretrain": 6.9, "finetune": 1.8}
BASELINES = ("shuffle3", "random")
VERSIONS = {"detnas": "0.2.0", "torch": "2.11.0", "torchvision": "0.26.0", "python": "3.11.9"}


def write_json(path: Path, value: Any) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(value))


def write_lines(path: Path, lines: list[dict[str, Any]]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(json.dumps(line) + "\n" for line in lines))


RECIPE = {
    "name": "shapes-quick",
    "seed": 7,
    "space": {"name": "small"},
    "budget": {"of": "backbone", "aspect_ratio": 4 / 3, "macs_min": 200e6, "macs_max": 320e6},
    "detector": {"type": "fpn"},
    "pretraining": {"source": "folder", "folder": "classes"},
    "baselines": list(BASELINES),
    "search": {"evaluations": 120},
    **{name: small_tree()[name] for name in ("supernet_pretrain", "supernet_finetune", "pretrain", "finetune")},
}


def write_recipe(
    run: Path, versions: Mapping[str, str] = VERSIONS, fingerprint: str = "9f2c4e", **changes: Any
) -> None:
    """recipe.yaml of a run whose recipe has `changes`, each a whole section or a value."""
    stored = StoredRun(
        recipe=Recipe.model_validate(RECIPE | changes).model_dump(mode="json"),
        format=FORMAT,
        versions=dict(versions),
        data_directory="/data",
        data_fingerprint=fingerprint,
    )
    run.mkdir(parents=True, exist_ok=True)
    write_stored_run(run, stored)


def add_training(run: Path, stage: str, network: str = "", steps: int = 3000, done: bool = True) -> None:
    chance = random.Random(stage + network)
    folder = run / stage / network
    detection = stage.endswith("finetune")
    lines = []
    for step in range(10, steps + 1, 10):
        loss = STEPS[stage] * math.exp(-3 * step / steps) + 0.3 + chance.gauss(0, 0.08)
        line = {"step": step, "loss": loss, "lr": 0.01, "images_per_second": chance.gauss(210, 5), "seconds": step / 13}
        if detection:
            line |= {"loss_classifier": 0.4 * loss, "loss_box_reg": 0.35 * loss, "loss_objectness": 0.25 * loss}
        elif step % 100 == 0:
            line["accuracy"] = 0.8 * (1 - math.exp(-3 * step / steps))
        lines.append(line)
    write_lines(folder / "metrics.jsonl", lines)
    if done:
        write_json(folder / "done.json", {"seconds": steps / 13, "steps": steps})


def timed(run: Path, facts: dict[str, float]) -> dict[str, float]:
    """With a latency, where the run has a table of latencies."""
    if load_recipe(run / "recipe.yaml").budget.latencies is None:
        return facts
    return facts | {"latency_ms": facts["macs"] / 1e7}


def add_search(run: Path, candidates: int = 120, done: bool = True) -> list[dict[str, Any]]:
    chance = random.Random(1)
    has_latencies = load_recipe(run / "recipe.yaml").budget.latencies is not None
    lines = []
    for number in range(candidates):
        architecture = SPACE.architecture([chance.randrange(4) for _ in SPACE.blocks])
        cost = SPACE.cost(architecture)
        generation = number // 20
        origin = chance.choice(("mutation", "crossover", "crossover", "random")) if generation else "random"
        fitness = 0.28 + 0.008 * generation + cost.macs / 6e9 + chance.gauss(0, 0.012)
        line: dict[str, Any] = {"number": number, "generation": generation, "origin": origin}
        line |= {
            "architecture": str(architecture),
            **cost.facts(),
            **({"latency_ms": cost.macs / 1e7} if has_latencies else {}),
        }
        lines.append(line | {"fitness": fitness, "metric": "mAP", "AP50": 1.6 * fitness, "seconds": 9.5})
    write_lines(run / "search" / "candidates.jsonl", lines)
    if done:
        write_json(run / "search" / "best.json", max(lines, key=lambda line: line["fitness"]))
        write_json(run / "search" / "done.json", {"seconds": 9.5 * candidates, "evaluations": candidates})
    return lines


def add_recalibration(run: Path, *candidates: tuple[float, float, float, float]) -> None:
    """Of each candidate: fitness, and with other images, with half of them, and with none."""
    names = ("fitness", "other_images", "half", "none")
    rows = [
        {"number": number, "architecture": f"{number}000 0000 00000000 0000", **dict(zip(names, scores, strict=True))}
        for number, scores in enumerate(candidates)
    ]
    found = {"metric": "mAP", "batches": 20, "batch_size": 8, "seconds": 8.4, "candidates": rows}
    write_json(run / "search" / "recalibration.json", found)


def add_ranking(run: Path) -> None:
    networks = [
        {
            "architecture": f"{op}{op}{op}{op} 0000 00000000 0000",
            "macs": 3e8,
            "params": 1e6,
            "fitness": 0.3,
            "score": at,
        }
        for op, at in enumerate((0.31, 0.33, 0.35))
    ]
    nan = float("nan")
    unknown = {"value": 0.2, "low": nan, "high": nan}
    rest = {"spearman_rho": unknown, "regret": 0.01, "regret_top_5": 0.0}
    quality = {
        "supernet": {"kendall_tau": {"value": 0.71, "low": 0.5, "high": 0.88}, **rest},
        "MACs alone": {"kendall_tau": unknown, **rest},
    }
    ranking = {"metric": "mAP", "fitness": "mAP", "quality": quality, "networks": networks}
    write_json(run / "rank" / "ranking.json", ranking)


def add_evaluation(run: Path, network: str, architecture: str, score: float, images: int = 500) -> None:
    cost = SPACE.cost(Architecture.parse(architecture))
    scores = {"mAP": score, "AP50": 1.55 * score, "AP75": 1.1 * score, "APs": 0.5 * score, "APl": None}
    classes = {"circle": score + 0.03, "square": score - 0.01, "star": None}
    evaluation = {"network": network, "architecture": architecture, **timed(run, cost.facts())}
    parts = {"backbone": cost, "pyramid": Cost(10**8, 10**6), "heads": Cost(3 * 10**8, 10**6)}
    evaluation |= {"input_size": [320, 416], "parts": {name: part.facts() for name, part in parts.items()}}
    evaluation |= {"images": images, "scores": scores, "per_class": classes}
    write_json(run / "finetune" / network / "evaluation.json", evaluation)


def add_networks(run: Path, **scores: float) -> None:
    best = json.loads((run / "search" / "best.json").read_text())["architecture"]
    architectures = {"winner": best, "shuffle3": str(SPACE.uniform("shuffle3")), "random": "0123 3210 01230123 2222"}
    for name, score in scores.items():
        add_training(run, "pretrain", name)
        add_training(run, "finetune", name, steps=2000)
        add_evaluation(run, name, architectures[name], score)


def write_run(run: Path, **changes: Any) -> Path:
    """A whole run, every stage done."""
    write_recipe(run, **changes)
    add_training(run, "supernet-pretrain", steps=6000)
    add_training(run, "supernet-finetune")
    add_search(run)
    add_recalibration(run, (0.341, 0.339, 0.34, 0.01), (0.335, 0.336, 0.33, 0.02))
    add_networks(run, winner=0.364, shuffle3=0.337, random=0.345)
    return run


def write_examples(folder: Path, count: int = 6) -> list[Example]:
    """Images of a circle, which is found, and a square, which is missed by far, with one false alarm."""
    folder.mkdir(parents=True, exist_ok=True)
    examples = []
    for number in range(count):
        width, height = ((640, 480), (480, 640), (900, 600))[number % 3]
        image = Image.new("RGB", (width, height), (90 + 20 * number, 120, 140))
        pen = ImageDraw.Draw(image)
        for x in range(0, width, 12):
            pen.line((x, 0, width - x, height), fill=(150, 150 - 8 * number, 120), width=2)
        pen.ellipse((60, 80, 220, 240), fill=(220, 60, 60))
        pen.rectangle((width - 200, 250, width - 20, 430), fill=(60, 60, 200))
        path = folder / f"val-{number:03}.jpg"
        image.save(path)
        truth = [Box(60, 80, 220, 240, "circle"), Box(width - 200, 250, width - 20, 430, "square")]
        found = [
            Box(66, 76, 224, 236, "circle", 0.94),
            Box(width - 130, 300, width - 8, 436, "square", 0.81),
            Box(5, 3, 130, 90, "star", 0.37),
        ]
        examples.append(Example(path, width, height, truth, found))
    return examples


def write_noise(path: Path, side: int) -> Path:
    """An image that hardly compresses."""
    Image.effect_noise((side, side), 80).save(path)
    return path
