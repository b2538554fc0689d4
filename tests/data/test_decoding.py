"""Image files of every kind are read as viewers show them, or refused."""

import io
import re
import struct
import subprocess
import sys
import zlib
from pathlib import Path

import numpy as np
import pytest
from PIL import EpsImagePlugin, Image, ImageOps

import detnas
from detnas.data import decoding
from detnas.data.decoding import ImageTooLarge, UnreadableImage, read_header, read_pixels, read_size
from detnas.utils.errors import UserError

PIXELS = np.random.default_rng(0).integers(0, 256, (20, 30, 3), dtype=np.uint8)
ORIENTATION = 0x0112


def save(file: Path, orientation: int | None = None, pixels: np.ndarray = PIXELS, **options: object) -> Path:
    image = Image.fromarray(pixels)
    exif = Image.Exif()
    if orientation is not None:
        exif[ORIENTATION] = orientation
    image.save(file, exif=exif, **options)
    return file


def write_png(file: Path, width: int, height: int, *, depth: int = 8, color: int = 0, data: bytes = b"") -> Path:
    """A PNG file that says that it has this size, whatever its `data` are."""
    content = b"\x89PNG\r\n\x1a\n"
    header = struct.pack(">IIBBBBB", width, height, depth, color, 0, 0, 0)
    for kind, part in ((b"IHDR", header), (b"IDAT", zlib.compress(data)), (b"IEND", b"")):
        content += struct.pack(">I", len(part)) + kind + part + struct.pack(">I", zlib.crc32(kind + part))
    file.write_bytes(content)
    return file


# Formats

POSTSCRIPT = b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 48 48\n%%EndComments\nshowpage\n"


@pytest.mark.parametrize("ending", decoding.EXTENSIONS)
@pytest.mark.parametrize(
    "kind", ["GIF", "PPM", "ICO", "TGA", "PCX", "DIB", "JPEG2000", "PDF", "EPS", "PostScript", "SVG"]
)
def test_other_formats_are_refused_whatever_their_name(
    kind: str, ending: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def run(*args: object, **kwargs: object) -> None:
        raise AssertionError("Ghostscript is called")

    monkeypatch.setattr(EpsImagePlugin, "Ghostscript", run)
    buffer = io.BytesIO()
    if kind == "PostScript":
        buffer.write(POSTSCRIPT)
    elif kind == "SVG":
        buffer.write(b"<svg xmlns='http://www.w3.org/2000/svg' width='9' height='9'/>")
    else:
        Image.fromarray(PIXELS).save(buffer, kind)
    file = tmp_path / f"a{ending}"
    file.write_bytes(buffer.getvalue())
    for decode in (False, True):
        with pytest.raises(UnreadableImage, match="its format is none of BMP, JPEG, PNG, TIFF and WebP"):
            read_header(file, decode=decode)
    with pytest.raises(UserError, match=r"cannot be decoded .*none of BMP, JPEG, PNG, TIFF and WebP.*; replace it"):
        read_pixels(file)


@pytest.mark.parametrize("kind", ["BMP", "JPEG", "MPO", "PNG", "TIFF", "WEBP"])
@pytest.mark.parametrize("name", ["a.png", "a.jpg", "a.eps", "a"])
def test_an_image_is_read_by_its_content_whatever_its_name(kind: str, name: str, tmp_path: Path) -> None:
    options = {"lossless": True} if kind == "WEBP" else {}
    with (tmp_path / name).open("wb") as file:
        Image.fromarray(PIXELS).save(file, kind, **options)
    assert read_size(tmp_path / name) == (30, 20)
    assert kind in ("JPEG", "MPO") or np.array_equal(read_pixels(tmp_path / name), PIXELS)


def test_nothing_else_opens_images() -> None:
    opens = re.compile(r"Image\.open|torchvision\.io|decode_image|IMG_EXTENSIONS|pil_loader|\bcv2\b|imageio|\.imread")
    package = Path(detnas.__file__).parent
    found = [path.relative_to(package).as_posix() for path in package.rglob("*.py") if opens.search(path.read_text())]
    assert found == ["data/decoding.py"]


# Sizes and memory


def test_a_size_that_memory_cannot_hold_is_refused_by_the_header(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("detnas.utils.memory.available_memory", lambda: 5 * 10**9)
    for width, height, takes in ((60000, 60000, "144.0"), (2**31 - 1, 1, "85.9"), (10**9, 10**9, "40,000,000,000.0")):
        file = write_png(tmp_path / "a.png", width, height)
        assert file.stat().st_size < 100
        for decode in (False, True):
            with pytest.raises(
                ImageTooLarge, match=f"{width}x{height} pixels take about {takes} GB of memory, and 5.0 GB"
            ):
                read_header(file, decode=decode)
        with pytest.raises(UserError, match=r"a\.png: too large, its .*; cut the image and its boxes into .*tiles"):
            read_pixels(file)


def test_what_memory_holds_is_read_without_a_word(tmp_path: Path, recwarn: pytest.WarningsRecorder) -> None:
    file = tmp_path / "a.png"
    Image.new("1", (9500, 9500)).save(file)  # Pillow warns of more than 89 megapixels
    header = read_header(file, decode=True)
    assert header.shown == (9500, 9500) and header.is_large and header.memory == pytest.approx(3.6, abs=0.02)
    # It refuses more than 179.
    assert read_header(write_png(file, 20000, 10000)).shown == (20000, 10000)
    assert len(recwarn) == 0


def test_memory_is_asked_for_large_images_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[int] = []
    monkeypatch.setattr("detnas.utils.memory.available_memory", lambda: asked.append(1))
    file = save(tmp_path / "a.png")
    assert not read_header(file, decode=True).is_large and read_pixels(file).shape == PIXELS.shape and asked == []
    monkeypatch.setattr(decoding, "LARGE", 600)
    # Where the memory is not known, the image is read.
    assert read_header(file, decode=True).is_large and read_pixels(file).shape == PIXELS.shape and len(asked) == 4
    monkeypatch.setattr("detnas.utils.memory.available_memory", lambda: 599 * decoding.BYTES_PER_PIXEL)
    with pytest.raises(UserError, match="too large"):
        read_pixels(file)


def test_memory_that_ends_while_an_image_is_read_is_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(image: Image.Image) -> None:
        raise MemoryError

    monkeypatch.setattr(decoding, "_converted", fail)
    with pytest.raises(UserError, match="too large, the memory does not suffice to read it; cut"):
        read_pixels(save(tmp_path / "a.png"))


def test_what_pillow_warns_of_does_not_reach_the_terminal(tmp_path: Path) -> None:
    file = tmp_path / "a.png"
    Image.fromarray(PIXELS).save(file, exif=b"Exif\0\0junk" * 9)
    write_png(tmp_path / "b.png", 10000, 9000)
    Image.fromarray(PIXELS).save(tmp_path / "c.tif", compression="tiff_adobe_deflate")
    content = (tmp_path / "c.tif").read_bytes()
    (tmp_path / "c.tif").write_bytes(content[:200] + bytes(100) + content[300:])
    script = """
import sys, warnings
from pathlib import Path
from detnas.data.decoding import UnreadableImage, read_header
for name in sys.argv[1:]:
    try:
        print(read_header(Path(name)).shown)
    except UnreadableImage:
        print("damaged")
"""
    command = [sys.executable, "-c", script, *(str(tmp_path / name) for name in ("a.png", "b.png", "c.tif"))]
    done = subprocess.run(command, capture_output=True, text=True)
    assert (done.stdout, done.stderr) == ("(30, 20)\n(10000, 9000)\ndamaged\n", "")


# Which way up


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("name", ["a.png", "a.jpg", "a.webp", "a.tif"])
def test_images_are_turned_as_viewers_do(name: str, orientation: int, tmp_path: Path) -> None:
    file = save(tmp_path / name, orientation)
    with Image.open(file) as image:
        shown = np.asarray(ImageOps.exif_transpose(image).convert("RGB"))
    assert np.array_equal(read_pixels(file), shown)
    height, width = shown.shape[:2]
    assert read_header(file).shown == (width, height) == ((30, 20) if orientation < 5 else (20, 30))
    assert np.array_equal(read_pixels(file, (width, height)), shown)


@pytest.mark.parametrize("orientation", range(1, 9))
def test_the_stated_size_tells_whether_boxes_were_drawn_on_the_turned_image(orientation: int, tmp_path: Path) -> None:
    file = save(tmp_path / "a.png", orientation)
    if orientation < 5:  # both ways have this size
        assert np.array_equal(read_pixels(file, (30, 20)), read_pixels(file))
        with pytest.raises(UserError, match="the image has 30x20 pixels, but the annotations say 20x30"):
            read_pixels(file, (20, 30))
    else:
        assert np.array_equal(read_pixels(file, (30, 20)), PIXELS)
        assert np.array_equal(read_pixels(file, (20, 30)), read_pixels(file))
        with pytest.raises(UserError, match="the image has 20x30 pixels, but the annotations say 20x20"):
            read_pixels(file, (20, 20))


@pytest.mark.parametrize("tag", [0, 9, 65535])
def test_an_orientation_that_does_not_exist_turns_nothing(tag: int, tmp_path: Path) -> None:
    assert np.array_equal(read_pixels(save(tmp_path / "a.png", tag)), PIXELS)


@pytest.mark.filterwarnings("ignore:Corrupt EXIF")
def test_broken_tags_turn_nothing(tmp_path: Path) -> None:
    for number, exif in enumerate((b"Exif\0\0", b"Exif\0\0MM\0*\0\0\0\x08\0\x01\x01\x12", b"Exif\0\0junk" * 9)):
        file = tmp_path / f"{number}.png"
        Image.fromarray(PIXELS).save(file, exif=exif)
        assert np.array_equal(read_pixels(file), PIXELS) and read_header(file).shown == (30, 20)


# Pixels


def test_gray_has_three_equal_channels(tmp_path: Path) -> None:
    file = save(tmp_path / "a.png", pixels=PIXELS[..., 0])
    assert np.array_equal(read_pixels(file), np.repeat(PIXELS[..., :1], 3, axis=2))


def test_alpha_and_transparent_colors_are_left_out_without_a_warning(
    tmp_path: Path, recwarn: pytest.WarningsRecorder
) -> None:
    alpha = np.random.default_rng(1).integers(0, 256, (20, 30, 1), dtype=np.uint8)
    assert np.array_equal(read_pixels(save(tmp_path / "a.png", pixels=np.concatenate([PIXELS, alpha], 2))), PIXELS)
    indices = np.random.default_rng(2).integers(0, 4, (20, 30), dtype=np.uint8)
    palette = np.array([[10, 20, 30], [40, 50, 60], [70, 80, 90], [200, 210, 220]], np.uint8)
    for number, transparency in enumerate((b"\x80\x00\xff", 2)):
        image = Image.frombytes("P", (30, 20), indices.tobytes())
        image.putpalette(palette.ravel().tolist())
        image.save(tmp_path / f"{number}.png", transparency=transparency)
        assert np.array_equal(read_pixels(tmp_path / f"{number}.png"), palette[indices])
    assert len(recwarn) == 0


def test_cmyk_has_its_colors(tmp_path: Path) -> None:
    # As Photoshop writes it, inverted: Pillow does likewise.
    inks = np.zeros((16, 16, 4), np.uint8)
    inks[:8, :, 0], inks[8:, :8, 2], inks[8:, 8:, 3] = 255, 200, 100
    Image.frombytes("CMYK", (16, 16), inks.tobytes()).save(tmp_path / "a.jpg", quality=100)
    cmyk = inks.astype(float) / 255
    rgb = np.rint(255 * (1 - cmyk[..., :3]) * (1 - cmyk[..., 3:]))
    assert np.abs(read_pixels(tmp_path / "a.jpg") - rgb).max() <= 4


def test_sixteen_bits_keep_their_upper_eight(tmp_path: Path) -> None:
    deep = np.random.default_rng(3).integers(0, 65536, (20, 30), dtype=np.uint16)
    for name in ("a.png", "a.tif"):
        Image.fromarray(deep).save(tmp_path / name)
        found = read_pixels(tmp_path / name)
        assert np.abs(found - deep[..., None] / 257).max() <= 0.5 and (found == found[..., :1]).all()


@pytest.mark.parametrize("brightest", [0, 4095, 16383, 17000, 65535])
@pytest.mark.parametrize("kind", ["gray.png", "gray.tif", "colors.png"])
def test_images_of_cameras_with_fewer_bits_are_dark(kind: str, brightest: int, tmp_path: Path) -> None:
    deep = np.random.default_rng(3).integers(0, brightest, (20, 30, 3), dtype=np.uint16, endpoint=True)
    deep[0, 0] = brightest
    file = tmp_path / kind
    if kind.startswith("gray"):
        Image.fromarray(deep[..., 0]).save(file)
    else:
        write_png(file, 30, 20, depth=16, color=2, data=b"".join(b"\0" + row.astype(">u2").tobytes() for row in deep))
    assert read_header(file, decode=True).is_dark == (brightest < 2**14)


def test_dark_images_of_eight_bits_are_as_they_should_be(tmp_path: Path) -> None:
    for name, mode in (
        ("a.png", "RGB"),
        ("b.png", "L"),
        ("c.png", "1"),
        ("d.jpg", "L"),
        ("e.tif", "RGB"),
        ("f.bmp", "P"),
    ):
        Image.new(mode, (8, 8)).save(tmp_path / name)
        assert not read_header(tmp_path / name, decode=True).is_dark


@pytest.mark.parametrize("name", ["with space.jpg", "ä 図.jpg", "sub folder/deep/a.b.jpg"])
def test_names_may_be_anything(name: str, tmp_path: Path) -> None:
    (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
    assert read_pixels(save(tmp_path / name)).shape == (20, 30, 3)


# Damage


@pytest.mark.filterwarnings("ignore:Corrupt EXIF")
@pytest.mark.parametrize("name", ["a.jpg", "a.png", "a.webp", "a.tif", "a.bmp"])
@pytest.mark.parametrize("kept", [0, 1, 10, 0.3, 0.7, 0.95])
def test_an_image_that_was_cut_short_is_known_by_its_header(name: str, kept: float, tmp_path: Path) -> None:
    content = save(tmp_path / name).read_bytes()
    torn = tmp_path / f"torn {name}"
    torn.write_bytes(content[: int(kept if kept >= 1 else kept * len(content))])
    with pytest.raises(UnreadableImage):
        read_header(torn)
    with pytest.raises(UserError, match=f"torn {name}: this image cannot be decoded .*; replace it"):
        read_pixels(torn)


@pytest.mark.parametrize("name", ["a.jpg", "a.png"])
def test_what_stands_behind_an_image_does_no_harm(name: str, tmp_path: Path) -> None:
    file = save(tmp_path / name)
    before = read_pixels(file)
    with file.open("ab") as end:
        end.write(b"\0" * 100)
    assert read_header(file).shown == (30, 20) and np.array_equal(read_pixels(file), before)


def test_damage_within_is_found_by_decoding_alone(tmp_path: Path) -> None:
    file = save(tmp_path / "a.png")
    content = bytearray(file.read_bytes())
    content[len(content) // 2] ^= 255
    file.write_bytes(content)
    assert read_header(file).shown == (30, 20)
    with pytest.raises(UnreadableImage):
        read_header(file, decode=True)


@pytest.mark.parametrize("mode", ["I", "F"])
def test_32_bits_a_channel_are_refused(mode: str, tmp_path: Path) -> None:
    Image.new(mode, (8, 8)).save(tmp_path / "a.tif")
    with pytest.raises(UnreadableImage, match="32 bits"):
        read_header(tmp_path / "a.tif")
