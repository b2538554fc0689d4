"""What detectors of equal cost can be: EfficientNet-Lite0 on real images, at three resolutions and with several heads.

Each is trained as `own-data-quick` trains its networks, but begins with the ImageNet weights themselves, so that no
supernet is needed. The MACs are those of the whole detector for an image of the data set. A training takes two to five
minutes on one core.
"""

from pathlib import Path

from detnas.run.networks import train_standalone
from detnas.run.opening import open_run
from detnas.rundir.layout import EVALUATION, FINETUNE
from detnas.spaces.published import PUBLISHED
from detnas.utils.progress import Progress
from research.own_data import RECIPE
from research.trials import DataSets, Trials, Unit
from research.workspace import Row, Summary, Tiny, Workspace, load_changed, seconds_of

NETWORK = PUBLISHED["efficientnet-lite0"].architecture
SEEDED = ("inherit=false", "baselines=[]")
SEPARABLE = "detector.head=[[separable,separable],[separable,separable]]"
AT_192 = ("detector.min_size=192", "detector.max_size=288")
AT_320 = ("detector.min_size=320", "detector.max_size=480")
WAYS: dict[str, tuple[str, ...]] = {
    "256 pixels, two full convolutions": SEEDED,
    "256 pixels, two separable ones": (*SEEDED, SEPARABLE),
    "256 pixels, one full": (*SEEDED, "detector.head_convs=1"),
    "256 pixels, one separable": (*SEEDED, "detector.head_convs=1", "detector.head=[[separable],[separable]]"),
    "192 pixels, two full": (*SEEDED, *AT_192),
    "320 pixels, two separable": (*SEEDED, *AT_320, SEPARABLE),
    "320 pixels, two full": (*SEEDED, *AT_320),
}


def work(trials: Trials, unit: Unit, folder: Path, data: Path) -> Row:
    """Train EfficientNet-Lite0 in the detector of a unit, and return its cost and its scores on the validation set."""
    way, _, seed = unit
    recipe = load_changed(trials.recipe, [*trials.ways[way], f"seed={seed}"], trials.workspace.tiny)
    with open_run(recipe, folder, data, Progress()) as opened:
        train_standalone(opened, NETWORK)
    trained = folder / FINETUNE / NETWORK.hyphenated
    evaluation = EVALUATION.read(trained)
    scores = {name: round(evaluation.scores[name] or 0.0, 5) for name in ("mAP", "AP50")}
    macs = sum(part.macs for part in evaluation.parts.values())
    return {**scores, "macs": macs, "seconds": seconds_of(trained)}


def main(data_sets: DataSets, summary: Summary = False, tiny: Tiny = False) -> None:
    """Compare resolutions and heads. Writes research/results/detector_choices.json."""
    trials = Trials(Workspace(tiny), "detector_choices", RECIPE, WAYS, ("trees", "bccd"), (0, 1))
    if not summary:
        trials.measure(data_sets, lambda unit, folder, data: work(trials, unit, folder, data))
    trials.summarize()
