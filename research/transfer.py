"""How a detector is trained best from ImageNet weights: EfficientNet-Lite0, on real images.

EfficientNet-Lite0 is trained standalone as `own-data-quick` trains its networks, changed in one respect at a time. By
the recipe it begins with the weights of a supernet that has learned detection, which is trained first; from the seeds
it begins with the ImageNet weights themselves. The supernets are those of `python -m research own-data`, unless a
change is one of theirs. A training takes four to eight minutes on one core, a supernet as long.
"""

from pathlib import Path

from detnas.run.networks import train_standalone
from detnas.run.opening import open_run
from detnas.run.pipeline import run
from detnas.rundir.layout import EVALUATION, FINETUNE, SUPERNET_FINETUNE
from detnas.spaces.published import PUBLISHED
from detnas.utils.progress import Progress
from research.own_data import RECIPE, supernet_run
from research.trials import DataSets, Trials, Unit
from research.workspace import Row, Summary, Tiny, Workspace, load_changed, seconds_of

NETWORK = PUBLISHED["efficientnet-lite0"].architecture
SEEDED = "inherit=false"
WAYS: dict[str, tuple[str, ...]] = {
    "the recipe": (),
    "BN trained": ("finetune.frozen_norms=false",),
    "stem and first stage frozen, too": ("finetune.frozen_stages=2",),
    "backbone at a third of the rate": ("finetune.backbone_lr_factor=0.3",),
    "half the rate": ("finetune.lr=5.0e-4",),
    "half the steps of twice the batch": ("finetune.steps=300", "finetune.batch_size=8"),
    "from the seeds": (SEEDED,),
    "from scratch": (SEEDED, "finetune.frozen_norms=false", "pretraining.source=none", "pretraining.weights=null"),
    "half the steps for the supernet, more for the network": ("supernet_finetune.steps=400", "finetune.steps=1000"),
    "anchors by hand": ("detector.anchor_sizes=[24,48,112]",),
    "images of 320 pixels": ("detector.min_size=320", "detector.max_size=480"),
}


def work(trials: Trials, unit: Unit, folder: Path, data: Path) -> Row:
    """Train EfficientNet-Lite0 by the way of a unit, and return its scores on the validation set."""
    way, _, seed = unit
    recipe = load_changed(trials.recipe, [*trials.ways[way], f"seed={seed}"], trials.workspace.tiny)
    run(recipe, folder, data, progress=Progress(), stages=())
    if all(change.startswith("finetune.") for change in trials.ways[way]):
        trials.workspace.take_stage(SUPERNET_FINETUNE, supernet_run(trials.workspace, data, seed), folder)
    if recipe.inherit:
        run(recipe, folder, data, progress=Progress(), stages=(SUPERNET_FINETUNE,))
    with open_run(recipe, folder, data, Progress()) as opened:
        train_standalone(opened, NETWORK)
    trained = folder / FINETUNE / NETWORK.hyphenated
    scores = EVALUATION.read(trained).scores
    return {**{name: round(scores[name] or 0.0, 5) for name in ("mAP", "AP50")}, "seconds": seconds_of(trained)}


def main(data_sets: DataSets, summary: Summary = False, tiny: Tiny = False) -> None:
    """Train EfficientNet-Lite0 in several ways. Writes research/results/transfer.json."""
    trials = Trials(Workspace(tiny), "transfer", RECIPE, WAYS, ("trees", "bccd"), (0, 1))
    if not summary:
        trials.measure(data_sets, lambda unit, folder, data: work(trials, unit, folder, data))
    trials.summarize()
