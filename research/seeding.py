"""Which channels of a wide MBConv block a narrow one begins with: two measures of importance compared.

Blocks of EfficientNet-Lite0 are halved, to expansion 3, with the channels that a measure finds most important: one
block at a time, and all together. The maps of 16 images of a data set are compared with those of the whole network; BN
of both is recalibrated on 24 other images. The images are the first of the training set, resized to 256 x 256. Nothing
is trained.
It takes some minutes.
"""

from collections.abc import Sequence
from statistics import fmean

import torch
from torch import Tensor
from torchvision.transforms.functional import resize

from benchmarks.command import machine
from detnas.config import DataSettings
from detnas.data.images import read_image
from detnas.data.splits import open_data
from detnas.models.backbone import Subnet, find_backbone
from detnas.models.ops.mbconv import MBConv
from detnas.models.ops.mbconv_seeding import Importance, expected_response, seed_mbconv
from detnas.models.preprocessing import normalize
from detnas.models.weight_sources.efficientnet_lite import EfficientNetLite, read_shipped
from detnas.search.evaluators.recalibration import recalibrate
from detnas.spaces import search_space
from detnas.utils.files import write_json
from research.trials import SETS, DataSets
from research.workspace import RESULTS, Row

CALIBRATION, COMPARED, BATCH_SIZE, SIDE = 24, 16, 8, 256


def projection_norm(block: MBConv) -> Tensor:
    """The L1 norm of the weights by which the projection takes each inner channel, as in Once-for-all."""
    return block.layers[-2].get_parameter("weight").abs().sum(dim=(0, 2, 3))


MEASURES: dict[str, Importance] = {"expected response": expected_response, "norm in the projection": projection_norm}


@torch.no_grad()
def compare(source: EfficientNetLite, images: Tensor, measure: Importance) -> Row:
    """How far the maps of halved networks are from those of the whole one, relative to their norm."""
    native = find_backbone(source.native)
    assert isinstance(native, Subnet)
    calibration, compared = torch.split(images[:CALIBRATION], BATCH_SIZE), images[CALIBRATION:]

    def maps(halved: Sequence[int]) -> list[Tensor]:
        """Of a network of which these blocks are halved."""
        space = search_space("mobile")
        names = [native.space.ops[op] for op in native.architecture.ops]
        for block in halved:
            names[block] = names[block].replace("mbconv6", "mbconv3")
        network = Subnet(space, space.architecture([space.ops.index(name) for name in names]))
        source.fill(network)
        for block in halved:
            seed_mbconv(network.blocks[block], native.blocks[block], measure)
        recalibrate(network, calibration)
        found: list[Tensor] = network(compared)
        return found

    whole, blocks = maps([]), range(len(native.blocks))

    def differences(halved: Sequence[int]) -> list[float]:
        both = zip(maps(halved), whole, strict=True)
        return [round(float((one - other).norm() / other.norm()), 4) for one, other in both]

    last = [differences([block])[-1] for block in blocks]
    return {"one block": last, "one block, mean": round(fmean(last), 4), "all blocks": differences(blocks)}


def main(data_sets: DataSets) -> None:
    """Compare measures of importance. Writes research/results/seeding.json."""
    source = read_shipped(search_space("mobile"))
    found: Row = {}
    for name in SETS:
        files = open_data(data_sets / name, DataSettings(), 0).train.files[: CALIBRATION + COMPARED]
        images = torch.stack([resize(read_image(file), [SIDE, SIDE]).float() / 255 for file in files])
        images = normalize(images, source.preprocessing)
        found[name] = {measure: compare(source, images, function) for measure, function in MEASURES.items()}
        print(name, found[name], flush=True)
    about = "relative difference of the last map with one block halved, and of all four maps with all blocks halved"
    write_json(RESULTS / "seeding.json", {"machine": machine(), "measured": about, "data sets": found})
