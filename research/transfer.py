"""How a detector is trained best from ImageNet weights: EfficientNet-Lite0, on real images.

EfficientNet-Lite0 is trained standalone by the schedule of `own-data-quick`, changed in one respect at a time. A
training takes four to eight minutes on one core.
"""

from functools import partial
from pathlib import Path

from detnas.config import load_recipe
from detnas.run.networks import train_standalone
from detnas.run.opening import open_run
from detnas.rundir.layout import EVALUATION, FINETUNE
from detnas.spaces import Architecture
from detnas.spaces.published import PUBLISHED
from detnas.utils.progress import Progress
from research.trials import DataSets, Trials, Unit
from research.workspace import Row, Summary, Tiny, Workspace, seconds_of

NETWORK = PUBLISHED["efficientnet-lite0"].architecture
WAYS: dict[str, tuple[str, ...]] = {
    "the recipe": (),
    "backbone at a tenth of the rate": ("finetune.backbone_lr_factor=0.1",),
    "backbone at a third of the rate": ("finetune.backbone_lr_factor=0.3",),
    "BN frozen": ("finetune.frozen_norms=true",),
    "stem and first stage frozen": ("finetune.frozen_stages=2",),
    "half the rate": ("finetune.lr=5.0e-4",),
    "twice the rate": ("finetune.lr=2.0e-3",),
    "weights averaged": ("finetune.ema_decay=0.998",),
    "from scratch": ("pretraining.source=none", "pretraining.weights=null"),
}
TINY = ("finetune.steps=4", "finetune.warmup=2")


def train(trials: Trials, architecture: Architecture, unit: Unit, folder: Path, data: Path) -> Row:
    """Train `architecture` by the way of a unit, and return its scores on the validation set."""
    way, _, seed = unit
    changes = (*trials.ways[way], f"seed={seed}", *(TINY if trials.workspace.tiny else ()))
    recipe = load_recipe(trials.recipe, changes)
    with open_run(recipe, folder, data, Progress()) as run:
        train_standalone(run, architecture)
    trained = folder / FINETUNE / architecture.hyphenated
    scores = EVALUATION.read(trained).scores
    return {**{name: round(scores[name] or 0.0, 5) for name in ("mAP", "AP50")}, "seconds": seconds_of(trained)}


def main(data_sets: DataSets, summary: Summary = False, tiny: Tiny = False) -> None:
    """Train EfficientNet-Lite0 in several ways. Writes research/results/transfer.json."""
    trials = Trials(Workspace(tiny), "transfer", "own-data-quick", WAYS, ("trees", "bccd"), (0, 1))
    if not summary:
        trials.measure(data_sets, partial(train, trials, NETWORK))
    trials.summarize()
