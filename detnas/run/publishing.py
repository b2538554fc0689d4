"""The supernet of a run as one weights file, with which other runs begin."""

from collections.abc import Iterator
from pathlib import Path

from detnas.models.weights import BackboneInfo, save_backbone
from detnas.run.weights import read_supernet
from detnas.rundir.layout import SUPERNET_FINETUNE, SUPERNET_PRETRAIN
from detnas.utils.errors import UserError
from detnas.utils.files import is_folder

STAGES = (SUPERNET_PRETRAIN, SUPERNET_FINETUNE)


def export_supernet(directory: Path, stage: str, out: Path | None = None) -> Iterator[str]:
    """Write the supernet of the run in `directory`, as trained in `stage`, to `out`, by default STAGE.safetensors in
    the run directory: what `pretraining.weights` of another run takes. Yields human-readable lines.

    Raises `UserError` for an unknown stage, and as `read_supernet`.
    """
    if stage not in STAGES:
        raise UserError(f"--what {stage}: unknown; choose {' or '.join(STAGES)}")
    out = out or directory / f"{stage}.safetensors"
    if is_folder(out):
        raise UserError(f"--out {out}: is a folder; name a file, such as {out / f'{stage}.safetensors'}")
    source = read_supernet(directory, stage)
    space = source.supernet.space
    save_backbone(out, source.supernet, BackboneInfo(space, None, source.preprocessing, source.shuffle))
    yield f"{out}: the supernet of space {space.name}, as {stage} left it"
    yield f"  to begin another run with it: --set pretraining.weights={out}"
