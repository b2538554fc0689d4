"""The weights of a supernet that was trained before."""

from torch import nn

from detnas.config import Preprocessing
from detnas.models.backbone import SpaceBackbone, Subnet
from detnas.models.supernet import Supernet
from detnas.spaces import SearchSpace
from detnas.utils.errors import UserError

FACTS = ("family", "stem", "first_block", "channels", "repeats", "stage_strides", "ops")
"""What two spaces have in common if the weights of one fit the other."""


class TrainedSupernet:
    """A `WeightSource`: a supernet that an earlier run, or the official code, has trained."""

    def __init__(self, supernet: Supernet, preprocessing: Preprocessing, where: str, digest: str) -> None:
        self.supernet = supernet
        self.preprocessing = preprocessing
        self.where = where
        self.digest = digest
        self.shuffle = supernet.shuffle

    def check(self, space: SearchSpace) -> None:
        for name in FACTS:
            wanted, own = getattr(space, name), getattr(self.supernet.space, name)
            if wanted != own:
                raise UserError(
                    f"{self.where}: is a supernet with {name} {own}, but space {space.name} has {wanted}; name another "
                    "supernet, or its space"
                )

    def fill(self, backbone: SpaceBackbone) -> None:
        self.check(backbone.space)
        if isinstance(backbone, Subnet):
            backbone.load_state_dict(self.supernet.subnet(backbone.architecture).state_dict())
        else:
            backbone.load_state_dict(self.supernet.state_dict())

    def fill_head(self, head: nn.Sequential) -> None:
        """Nothing: the classifier's head is not part of a supernet."""
