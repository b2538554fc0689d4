"""Image files of every kind are read as viewers show them, or refused."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageOps

from detnas.data.decoding import UnreadableImage, read_header, read_pixels
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
