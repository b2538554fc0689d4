"""Does the embedded data set tell architectures apart? python bench/architectures.py writes architectures.json.

Trains a few plain networks of the `shapes-quick` recipe, spread over the space, alone, each with two seeds, and
compares the spread of mAP between architectures with the spread between seeds; under both initialisations of the
depthwise kernels. About two minutes a training on two cores; what has been trained is kept in runs/architectures and
not trained again.
"""

import statistics
from functools import partial
from pathlib import Path

from machine import machine

from detnas.config import load_recipe
from detnas.data.images import Images
from detnas.data.shapes import write_shapes
from detnas.data.sources import open_data
from detnas.device import choose_device
from detnas.files import read_json, write_json
from detnas.models.backbone import Subnet
from detnas.pipeline import Run
from detnas.progress import Progress
from detnas.searching.evaluation import evaluate
from detnas.spaces import Architecture, BudgetSampler

ROOT = Path("runs") / "architectures"
ARCHITECTURES = ("00 00 0000 00", "11 11 1111 11", "22 22 2222 22", "33 33 3333 33")
SEEDS = (0, 1)
INITIALISATIONS = ("official", "fan_in")


def score(architecture: Architecture, seed: int, init: str) -> float:
    """The mAP on the validation set of one network trained by the recipe's schedule with this seed."""
    recipe = load_recipe("shapes-quick", [f"seed={seed}", f"depthwise_init={init}"])
    assert recipe.data.shapes is not None
    data = ROOT / "data"
    if not data.exists():
        ROOT.mkdir(parents=True, exist_ok=True)
        write_shapes(data, **recipe.data.shapes.model_dump())
    name = str(architecture).replace(" ", "-")
    directory = ROOT / f"{init}-{name}-seed{seed}"
    result = directory / "result.json"
    if not result.exists():
        device = choose_device(recipe.device)
        run_data = open_data(data, recipe.data, 0)
        sampler = BudgetSampler(recipe.search_space(), recipe.cost_budget())
        run = Run(recipe, directory, run_data, sampler, device, Progress())
        backbone = partial(Subnet, run.space, architecture)
        task, num_classes = run.classification(recipe.pretrain, "train")
        run.train(run.classifier(backbone, num_classes), task, recipe.pretrain, "pretrain")
        detector = run.detector(backbone, directory / "pretrain")
        run.train(detector, run.detection(recipe.finetune, run_data.train), recipe.finetune, "finetune")
        images = Images(run_data.val.files, recipe.data.cache_mb)
        evaluation = evaluate(detector, run_data.val, images, batch=20, device=device)
        write_json(result, evaluation.scores)
    return float(read_json(result)["mAP"])


def compare(init: str) -> dict[str, object]:
    scores = {text: [score(Architecture.parse(text), seed, init) for seed in SEEDS] for text in ARCHITECTURES}
    between = statistics.stdev(statistics.mean(values) for values in scores.values())
    within = statistics.mean(statistics.variance(values) for values in scores.values()) ** 0.5
    return {
        "mAP by architecture and seed": scores,
        "standard deviation between architectures": between,
        "standard deviation between seeds": within,
        "ratio": between / within,
    }


def main() -> None:
    write_json(
        Path(__file__).parent / "results" / "architectures.json",
        {
            "recipe": "shapes-quick",
            "machine": machine(),
            "by initialisation of depthwise kernels": {init: compare(init) for init in INITIALISATIONS},
        },
    )


if __name__ == "__main__":
    main()
