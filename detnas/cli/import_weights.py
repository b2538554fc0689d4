"""Conversion of weights of others to weights files: of the official code, and of EfficientNet-Lite."""

from collections.abc import Iterator
from pathlib import Path
from typing import get_args

from detnas.models.backbone import Subnet, find_backbone
from detnas.models.official import read_official
from detnas.models.ops.shuffle import Shuffle
from detnas.models.state_dicts import read_state_dict
from detnas.models.weight_sources.efficientnet_lite import FAMILY, EfficientNetLite
from detnas.models.weight_sources.efficientnet_lite_names import find_convention
from detnas.models.weights import BackboneInfo, save_backbone, save_detector
from detnas.spaces.published import PUBLISHED
from detnas.utils.errors import UserError

LITE = [name for name, network in PUBLISHED.items() if network.space.family == FAMILY]


def import_weights(checkpoint: Path, name: str, out: Path, shuffle: str | None) -> Iterator[str]:
    """Convert the weights of network `name`; yields lines of text. Raises `UserError` if it cannot."""
    shuffles: dict[str | None, Shuffle | None] = {None: None} | {shuffle: shuffle for shuffle in get_args(Shuffle)}
    if shuffle not in shuffles:
        raise UserError(f"--shuffle {shuffle}: choose one of {', '.join(get_args(Shuffle))}")
    if out.is_dir() or (out.exists() and checkpoint.exists() and out.samefile(checkpoint)):
        reason = "a folder" if out.is_dir() else "the checkpoint itself"
        raise UserError(f"--out {out}: is {reason}; name another file, such as {name}.safetensors")
    if name in LITE:
        yield from _import_lite(checkpoint, name, out, shuffle)
        return
    imported = read_official(checkpoint, name, shuffles[shuffle])
    info = imported.info
    if isinstance(info, BackboneInfo):
        save_backbone(out, imported.model, info)
        yield f"{out}: the backbone {name}"
    else:
        save_detector(out, imported.model, info)
        names = ", ".join(name for _, name in info.categories[:3])
        yield f"{out}: the detector {name} ({info.settings.type}), {len(info.categories)} categories ({names}, …)"
    yield f"  channels split as {info.shuffle}; images are fed as BGR values in 0-255"
    if imported.left_out:
        yield f"  left out, since a backbone has no such tensors: {', '.join(imported.left_out)}"


def _import_lite(checkpoint: Path, name: str, out: Path, shuffle: str | None) -> Iterator[str]:
    if shuffle is not None:
        raise UserError(f"--shuffle {shuffle}: {name} splits no channels; leave it out")
    network, tensors = PUBLISHED[name], read_state_dict(checkpoint)
    if find_convention(tensors) is None:
        raise UserError(
            f"{checkpoint}: holds no EfficientNet-Lite with the names of efficientnet-lite-pytorch or timm; give "
            "another file, or --as the name of its network"
        )
    source = EfficientNetLite(tensors, network.space, f"{checkpoint}, as {name}", digest="")
    native = find_backbone(source.native)
    assert isinstance(native, Subnet)
    kernels = ([one.space.ops[op] for op in one.architecture.ops] for one in (native, network))
    if next(kernels) != next(kernels):
        raise UserError(f"{checkpoint}: its kernels are not those of {name}; give the weights of that network")
    backbone = Subnet(network.space, network.architecture)
    source.fill(backbone)
    save_backbone(out, backbone, BackboneInfo(network.space, network.architecture, source.preprocessing))
    yield f"{out}: the backbone {name}"
    yield "  images are fed as (x - 127) / 128 for RGB values x in 0-255; the classifier's head is left out"
