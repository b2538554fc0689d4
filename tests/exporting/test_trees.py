"""Exported detectors evaluated on real images."""

import json
from pathlib import Path

import numpy as np
import onnxruntime
import pytest
import torch
from torch import Tensor, nn
from trees import TREES, train_on_trees, trees

import detnas
from detnas.data.images import Images
from detnas.evaluation.evaluate import evaluate
from detnas.exporting.onnx_model import ABOUT
from detnas.exporting.postprocess import detections, prepare
from detnas.models.weights import load_detector

FORMATS = ("onnx", "onnx-raw")


class Exported(nn.Module):
    """An exported file in the eager detector's place, used as its users would."""

    def __init__(self, file: Path) -> None:
        super().__init__()
        self.session = onnxruntime.InferenceSession(file)
        self.about = json.loads(self.session.get_modelmeta().custom_metadata_map[ABOUT])

    def forward(self, images: list[Tensor]) -> list[dict[str, Tensor]]:
        pixels = [(image * 255).round().to(torch.uint8).permute(1, 2, 0).numpy() for image in images]
        found = []
        for one in pixels:
            if self.about["holds"] == "detector":
                found.append(self.session.run(None, {"image": one}))
            else:
                batch = prepare([one], self.about)
                found += detections(self.session.run(None, batch.inputs), batch, self.about)
        return [
            dict(zip(("boxes", "scores", "labels"), map(torch.from_numpy, map(np.asarray, one)), strict=True))
            for one in found
        ]


@pytest.mark.slow
@pytest.mark.learns
@pytest.mark.parametrize("kind", ["fpn", "retinanet"])
def test_exported_detectors_score_as_the_eager_one(kind: str, tmp_path: Path) -> None:
    data = trees()
    weights = train_on_trees(kind, tmp_path, steps=200)
    images = Images(data.files, cache_mb=100, sizes=data.sizes)
    detector, _ = load_detector(weights)
    # One at a time: in a batch of images of several sizes the smaller are padded, and other things are found on them.
    eager = evaluate(detector, data, images, batch_size=1, device=torch.device("cpu")).scores
    assert eager["mAP"] is not None and eager["mAP"] > 0.05
    for format in FORMATS:
        file = detnas.export(weights, format, tmp_path / f"{format}.onnx", data=TREES)
        scores = evaluate(Exported(file).eval(), data, images, batch_size=1, device=torch.device("cpu")).scores  # type: ignore[arg-type]
        for name, score in eager.items():
            assert scores[name] == pytest.approx(score, abs=1e-3), name
