"""torchvision's ResNets as backbones, for comparison."""

import torch
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode
from torchvision.models import get_model

from detnas.models.backbone import Backbone
from detnas.spaces.cost import Cost, Size, to_size


class ResNet(Backbone):
    """The ResNet that torchvision calls `name`, without its classifier; images (N, 3, H, W) -> maps of four stages.

    `name` is "resnet50" or "resnet101". Images are float32 and normalized; map sizes are rounded up. Weights are fresh,
    and all of them are trainable, BN included. Tensors have torchvision's names.
    """

    architecture = None
    """None: the network is not in a search space."""

    def __init__(self, name: str) -> None:
        super().__init__()
        self.name = name
        network = get_model(name, weights=None)
        self.conv1, self.bn1, self.relu, self.maxpool = network.conv1, network.bn1, network.relu, network.maxpool
        stages = network.layer1, network.layer2, network.layer3, network.layer4
        self.layer1, self.layer2, self.layer3, self.layer4 = stages
        self.channels = [stage[-1].bn3.num_features for stage in stages]
        self.strides = [4, 8, 16, 32]

    @property
    def parts(self) -> list[list[nn.Module]]:
        return [[self.conv1, self.bn1], [self.layer1], [self.layer2], [self.layer3], [self.layer4]]

    def forward(self, images: Tensor) -> list[Tensor]:
        x = self.maxpool(self.relu(self.bn1(self.conv1(images))))
        maps = []
        for stage in (self.layer1, self.layer2, self.layer3, self.layer4):
            x = stage(x)
            maps.append(x)
        return maps

    def cost(self, size: int | Size = 224) -> Cost:
        """MACs of the convolutions, and parameters, for one image of `size` pixels, height and width, or one side of
        a square."""
        with torch.device("meta"):  # only shapes: nothing is computed
            twin, images = ResNet(self.name).eval(), torch.empty(1, 3, *to_size(size))
        with FlopCounterMode(display=False) as counter, torch.no_grad():
            twin(images)
        return Cost(counter.get_total_flops() // 2, sum(parameter.numel() for parameter in twin.parameters()))
