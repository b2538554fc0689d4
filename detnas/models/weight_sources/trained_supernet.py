"""The weights of a supernet that was trained before."""

from detnas.config import Preprocessing
from detnas.models.backbone import SpaceBackbone, Subnet
from detnas.models.supernet import Supernet
from detnas.models.weight_sources.layout import SUPERNET_LAYOUT, check_layout
from detnas.spaces import SearchSpace


class TrainedSupernet:
    """A `WeightSource`: a supernet that an earlier run, or the official code, has trained."""

    def __init__(self, supernet: Supernet, preprocessing: Preprocessing, where: str, digest: str) -> None:
        self.supernet = supernet
        self.preprocessing = preprocessing
        self.where = where
        self.digest = digest
        self.shuffle = supernet.shuffle

    def check(self, space: SearchSpace) -> None:
        check_layout(self.where, self.supernet.space, space, SUPERNET_LAYOUT)

    def fill(self, backbone: SpaceBackbone) -> None:
        self.check(backbone.space)
        source = self.supernet
        filled = source.subnet(backbone.architecture) if isinstance(backbone, Subnet) else source
        backbone.load_state_dict(filled.state_dict())
