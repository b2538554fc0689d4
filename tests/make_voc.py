"""VOC trees on the disk."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from xml.sax.saxutils import escape

from PIL import Image

Object = tuple[str, tuple[float, float, float, float], int]
"""Name; xmin, ymin, xmax, ymax; difficult."""

DOG: Object = ("dog", (3, 4, 12, 14), 0)


def xml_of(objects: Sequence[Object], filename: str, width: int = 24, height: int = 24) -> str:
    """An annotation as the devkit writes it, with what detnas does not look at."""
    things = "".join(
        f"<object><name>{escape(name)}</name><pose>Left</pose><truncated>1</truncated><difficult>{difficult}</difficult>"
        f"<bndbox><xmax>{x2}</xmax><xmin>{x1}</xmin><ymax>{y2}</ymax><ymin>{y1}</ymin></bndbox>"
        "<part><name>head</name><bndbox><xmin>1</xmin><ymin>1</ymin><xmax>2</xmax><ymax>2</ymax></bndbox></part>"
        "</object>"
        for name, (x1, y1, x2, y2), difficult in objects
    )
    size = f"<size><width>{width}</width><height>{height}</height><depth>3</depth></size>"
    return f"<annotation><folder>VOC</folder><filename>{filename}</filename>{size}{things}</annotation>\n"


def write_voc(
    tree: Path,
    lists: Mapping[str, Sequence[str]],
    objects: Mapping[str, Sequence[Object]] | None = None,
    *,
    annotations: str = "Annotations",
    images: str = "JPEGImages",
) -> Path:
    """A tree whose lists name these images; an image without `objects` has one dog."""
    for name in {name for names in lists.values() for name in names}:
        write_image(tree / annotations, tree / images, name, (objects or {}).get(name, [DOG]))
    for split, names in lists.items():
        file = tree / "ImageSets" / "Main" / f"{split}.txt"
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text("".join(f"{name}\n" for name in names))
    return tree


def write_image(annotations: Path, images: Path, name: str, objects: Sequence[Object] = (DOG,)) -> None:
    file, image = annotations / f"{name}.xml", images / f"{name}.jpg"
    for path in (file, image):
        path.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(xml_of(objects, image.name))
    Image.new("RGB", (24, 24)).save(image)
