"""Makes the images of the README: `python docs/make_images.py RUN WEIGHTS IMAGE...`; it needs Chromium.

docs/images/report.png is the top of the report of the finished run RUN. docs/images/detections.jpg is what the detector
WEIGHTS finds on the images, in two columns. Those in the repository are of `detnas run shapes-quick`, and of six
validation images of trees with the winner of

    detnas run own-data-quick --data trees --set supernet_pretrain.steps=100 --set supernet_finetune.steps=100 \\
        --set search.evaluations=10 --set 'baselines=[]'
"""

import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

from PIL import Image

from detnas.inference import predict_images
from detnas.utils.progress import Progress

FOLDER = Path(__file__).parent / "images"
REPORT = (960, 1558)
"""Width and height of the browser's window in pixels: what is shown of the report."""
SCALE = 0.6
"""Size of the image of the report, as a part of the window's."""
COLORS = 256
SIDE = 420
"""Side in pixels of a square image on which detections are drawn."""
GAP = 6
SHEET = 0.62
"""Size of the image of all detections, as a part of the drawn size."""
THRESHOLD = 0.35
"""The lowest score that is drawn."""


def screenshot(page: Path, out: Path) -> None:
    """The top of an HTML page, as a PNG file of few colors."""
    with tempfile.TemporaryDirectory() as folder:
        taken = Path(folder) / "taken.png"
        options = ("--headless=new", "--no-sandbox", "--disable-gpu", "--hide-scrollbars", "--virtual-time-budget=9000")
        size = f"--window-size={REPORT[0]},{REPORT[1]}"
        command = ["chromium", *options, size, f"--screenshot={taken}", page.resolve().as_uri()]
        subprocess.run(command, check=True, capture_output=True, timeout=120)
        image = Image.open(taken).convert("RGB")
        smaller = image.resize((round(REPORT[0] * SCALE), round(REPORT[1] * SCALE)), Image.Resampling.LANCZOS)
        smaller.quantize(COLORS, kmeans=3, dither=Image.Dither.NONE).save(out, optimize=True)


def detections(weights: Path, images: Sequence[Path], out: Path) -> None:
    """The images with their detections, as a JPEG file."""
    rows = -(-len(images) // 2)
    sheet = Image.new("RGB", (2 * SIDE + GAP, rows * SIDE + (rows - 1) * GAP), "white")
    with tempfile.TemporaryDirectory() as folder:
        enlarged = []
        for number, image in enumerate(images):
            enlarged.append(Path(folder) / f"{number}.png")
            Image.open(image).convert("RGB").resize((SIDE, SIDE), Image.Resampling.BICUBIC).save(enlarged[-1])
        drawn = Path(folder) / "drawn"
        progress = Progress(quiet=True)
        found = predict_images(
            weights, enlarged, drawn, threshold=THRESHOLD, batch_size=1, device="cpu", progress=progress
        )
        list(found)  # draws as it goes
        for number, file in enumerate(enlarged):
            row, column = divmod(number, 2)
            sheet.paste(Image.open(drawn / file.name), (column * (SIDE + GAP), row * (SIDE + GAP)))
    smaller = sheet.resize((round(sheet.width * SHEET), round(sheet.height * SHEET)), Image.Resampling.LANCZOS)
    smaller.save(out, quality=66, optimize=True)


if __name__ == "__main__":
    run, weights, *images = map(Path, sys.argv[1:])
    FOLDER.mkdir(exist_ok=True)
    screenshot(run / "report.html", FOLDER / "report.png")
    detections(weights, images, FOLDER / "detections.jpg")
