"""Decoding images, and image folders."""

import os
import struct
import warnings
import zlib
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from detnas.data.batches import iterate_batches
from detnas.data.classification import read_image_folder
from detnas.data.decoding import EXTENSIONS
from detnas.data.find_images import FileFinder, find_images, list_files
from detnas.data.images import Images, read_image
from detnas.data.packed_images import PackedImages
from detnas.data.samples import ClassSamples
from detnas.utils.errors import UserError

PIXELS = np.random.default_rng(0).integers(0, 256, (20, 30, 3), dtype=np.uint8)


def test_images_are_read_as_rgb(tmp_path: Path) -> None:
    Image.fromarray(PIXELS).save(tmp_path / "a.png")
    image = read_image(tmp_path / "a.png")
    assert image.dtype == torch.uint8 and torch.equal(image, torch.from_numpy(PIXELS).permute(2, 0, 1))


@pytest.mark.parametrize(
    ("mode", "name"),
    [
        ("L", "a.png"),
        ("LA", "a.png"),
        ("P", "a.png"),
        ("RGBA", "a.png"),
        ("1", "a.png"),
        ("CMYK", "a.jpg"),
        ("RGB", "a.webp"),
        ("RGB", "a.bmp"),
        ("RGB", "a.tif"),
    ],
)
def test_images_of_other_kinds_become_rgb_bytes(mode: str, name: str, tmp_path: Path) -> None:
    Image.fromarray(PIXELS).convert(mode).save(tmp_path / name)
    image = read_image(tmp_path / name)
    assert image.dtype == torch.uint8 and image.shape == (3, 20, 30)


@pytest.mark.parametrize("name", ["a.png", "a.tif"])
def test_gray_images_of_sixteen_bits_become_bytes(name: str, tmp_path: Path) -> None:
    # As many microscopes and satellites write them.
    Image.fromarray(PIXELS[..., 0].astype(np.uint16) * 257).save(tmp_path / name)
    image = read_image(tmp_path / name)
    assert image.dtype == torch.uint8
    assert torch.equal(image, torch.from_numpy(PIXELS[..., 0]).expand(3, 20, 30))


def test_color_images_of_sixteen_bits_become_bytes(tmp_path: Path) -> None:
    # Written by hand: Pillow reads them only.
    rows = b"".join(b"\0" + row.astype(">u2").tobytes() for row in PIXELS.astype(np.uint16) * 257)
    chunks = (
        (b"IHDR", struct.pack(">IIBBBBB", 30, 20, 16, 2, 0, 0, 0)),
        (b"IDAT", zlib.compress(rows)),
        (b"IEND", b""),
    )
    content = b"\x89PNG\r\n\x1a\n"
    for kind, data in chunks:
        content += struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
    (tmp_path / "a.png").write_bytes(content)
    assert torch.equal(read_image(tmp_path / "a.png"), torch.from_numpy(PIXELS).permute(2, 0, 1))


def test_decoding_warns_of_nothing(tmp_path: Path) -> None:
    for name in ("a.png", "a.jpg"):
        Image.fromarray(PIXELS).save(tmp_path / name)
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            read_image(tmp_path / name)


def test_a_broken_image_is_named_in_one_line(tmp_path: Path) -> None:
    Image.fromarray(PIXELS).save(tmp_path / "whole.jpg")
    (tmp_path / "torn.jpg").write_bytes((tmp_path / "whole.jpg").read_bytes()[:300])
    (tmp_path / "empty.png").touch()
    (tmp_path / "text.png").write_text("hello")
    Image.fromarray(PIXELS[..., 0].astype(np.float32)).save(tmp_path / "float.tif")
    for name in ("torn.jpg", "empty.png", "text.png", "float.tif", "missing.png"):
        with pytest.raises(UserError) as refusal:
            read_image(tmp_path / name)
        message = str(refusal.value)
        assert message.startswith(f"{tmp_path / name}: ") and "replace it" in message and "\n" not in message
    with pytest.raises(UserError, match=r"torn\.jpg"):
        Images([tmp_path / "whole.jpg", tmp_path / "torn.jpg"], cache_mb=10)


@pytest.mark.parametrize("cache_mb", [0, 10])
def test_an_image_of_another_size_than_stated_is_refused(cache_mb: int, tmp_path: Path) -> None:
    for name in ("a.png", "b.png"):
        Image.fromarray(PIXELS).save(tmp_path / name)
    files = [tmp_path / "a.png", tmp_path / "b.png"]
    assert Images(files, cache_mb, np.array([[30, 20], [30, 20]]))[1].shape == (3, 20, 30)
    with pytest.raises(UserError, match=r"b\.png: the image has 30x20 pixels, but the annotations say 20x30; fix"):
        Images(files, cache_mb, np.array([[30, 20], [20, 30]]))


@pytest.mark.parametrize("workers", [0, 1])
def test_an_image_that_breaks_in_training_is_named_whoever_reads_it(workers: int, tmp_path: Path) -> None:
    files = [tmp_path / f"{name}.png" for name in range(6)]
    save(*files)
    images = Images(files, cache_mb=0)
    files[3].write_bytes(b"")
    with pytest.raises(UserError) as refusal:
        list(iterate_batches(images_by_key(images), None, batch_size=2, seed=0, start=0, stop=3, workers=workers))
    assert (
        str(refusal.value)
        == f"{files[3]}: this image cannot be decoded (its format is none of BMP, JPEG, PNG, TIFF and WebP); replace it"
    )


def images_by_key(images: Images) -> ClassSamples:
    return ClassSamples(images, [0] * len(images), 16, 0.5, None)


@pytest.mark.parametrize("room", [0, 700, 10**6])
def test_a_block_holds_images_of_any_size(room: int) -> None:
    images = [torch.full((3, 2 + side, 9 - side), side, dtype=torch.uint8) for side in range(8)]
    block = PackedImages(iter(images), room)
    assert len(block) == 8 and all(torch.equal(one, other) for one, other in zip(block, images, strict=True))
    assert torch.equal(block[-1], images[-1]) and block[2].shape == (3, 4, 7) and block[3].shape == (3, 5, 6)
    assert len({one.untyped_storage().data_ptr() for one in block}) == 1  # one piece of memory
    with pytest.raises(IndexError):
        block[8]
    assert list(PackedImages([], 0)) == []


def save(*files: Path) -> None:
    for file in files:
        file.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(PIXELS).save(file)


def test_a_folder_of_classes_is_read(tmp_path: Path) -> None:
    save(tmp_path / "b" / "1.png", tmp_path / "b" / "deep" / "2.jpg", tmp_path / "a" / "3.PNG", tmp_path / "4.png")
    (tmp_path / "a" / "notes.txt").touch()
    files, labels, classes = read_image_folder(tmp_path)
    assert classes == ["a", "b"]
    assert sorted(zip(files, labels, strict=True)) == [
        (tmp_path / "a" / "3.PNG", 0),
        (tmp_path / "b" / "1.png", 1),
        (tmp_path / "b" / "deep" / "2.jpg", 1),
    ]


def test_of_a_folder_of_classes_what_is_hidden_or_not_read_is_skipped(tmp_path: Path) -> None:
    save(tmp_path / "a" / "1.png", tmp_path / "a" / "._1.png", tmp_path / ".cache" / "1.png", tmp_path / "b" / "2.png")
    save(tmp_path / "a" / ".thumbnails" / "1.png")
    for name in ("1.ppm", "2.pgm", "3.txt"):
        (tmp_path / "a" / name).write_bytes(b"P6 1 1 255 abc")
    files, labels, classes = read_image_folder(tmp_path)
    assert classes == ["a", "b"] and list(labels) == [0, 1]
    assert list(files) == [tmp_path / "a" / "1.png", tmp_path / "b" / "2.png"]


def test_a_folder_that_is_none_of_classes_is_refused(tmp_path: Path) -> None:
    flat, bare = tmp_path / "flat", tmp_path / "bare"
    save(flat / "1.png", bare / "a" / "1.png")
    (bare / "b").mkdir()
    (tmp_path / "empty").mkdir()
    for folder in (tmp_path / "nowhere", flat / "1.png", flat, bare, tmp_path / "empty"):
        with pytest.raises(UserError) as refusal:
            read_image_folder(folder)
        message = str(refusal.value)
        assert message.startswith(f"pretraining.folder {folder}: ") and "\n" not in message
        assert "sub-folder" in message
    with pytest.raises(UserError, match="classes b"):
        read_image_folder(bare)


# Finding files


def touched(folder: Path, *names: str) -> Path:
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).touch()
    return folder


def listed(folder: Path, **more: bool) -> list[str]:
    return [file.relative_to(folder).as_posix() for file in list_files(folder, EXTENSIONS, **more)]


def test_a_folder_is_listed_by_one_rule(tmp_path: Path) -> None:
    touched(tmp_path, "a.jpg", "B.JPEG", "deep/c.Png", "._a.jpg", ".thumbnails/a.jpg", "deep/._c.png", "d.txt", ".jpg")
    (tmp_path / "folder.png").mkdir()
    os.mkfifo(tmp_path / "pipe.png")
    assert listed(tmp_path) == ["B.JPEG", "a.jpg", "deep/c.Png"]
    assert listed(tmp_path, deep=False) == ["B.JPEG", "a.jpg"]
    assert find_images([tmp_path]) == [tmp_path / "B.JPEG", tmp_path / "a.jpg"]
    assert listed(touched(tmp_path / ".hidden", "a.jpg")) == ["a.jpg"]  # who names it means it


def test_links_are_followed_but_no_folder_is_listed_twice(tmp_path: Path) -> None:
    store, top = touched(tmp_path / "store", "a.jpg", "deep/b.jpg"), touched(tmp_path / "top", "own/c.jpg", "d.jpg")
    for name, target in {
        "camera": store,
        "again": store,
        "loop": top,
        "above": tmp_path,
        "a first": top / "own",
        "own/back": top,
        "gone.jpg": tmp_path / "nowhere.jpg",
        "gone": tmp_path / "nowhere",
        "file.jpg": store / "a.jpg",
        "itself.jpg": top / "itself.jpg",
        "device.jpg": Path("/dev/zero"),
    }.items():
        (top / name).symlink_to(target)
    (store / "deep" / "home").symlink_to(store)
    assert listed(top) == [
        "again/a.jpg",
        "again/deep/b.jpg",
        "d.jpg",
        "file.jpg",
        "gone.jpg",
        "itself.jpg",
        "own/c.jpg",
    ]
    (tmp_path / "linked").symlink_to(top)
    assert listed(tmp_path / "linked") == listed(top)


@pytest.mark.parametrize(
    ("called", "found"),
    [
        ("a.jpg", "a.jpg"),
        ("./a.jpg", "./a.jpg"),
        ("a.JPG", "a.jpg"),
        ("A.jpg", "a.jpg"),
        ("a.jpeg", "a.jpg"),
        ("a.png", "a.jpg"),
        ("a.bmp.jpg", None),
        ("a", "a.jpg"),
        ("b.jpg", "b.PNG"),
        ("v1.2", "v1.2.tif"),
        ("v1.3", None),
        ("v1.2.jpg", "v1.2.tif"),
        ("deep\\c.jpg", "deep/c.jpg"),
        (".\\deep\\C.JPG", "deep/c.jpg"),
        ("c.jpg", None),
        ("images/train/a.jpg", "a.jpg"),
        ("train/deep/c.png", "deep/c.jpg"),
        ("images\\train\\a.jpg", "a.jpg"),
        ("val/a.jpg", None),
        ("/home/me/data/a.jpg", "a.jpg"),
        ("/home/me/data/deep/c.jpg", "deep/c.jpg"),
        ("C:\\data\\deep\\c.JPG", "deep/c.jpg"),
        ("\\\\server\\share\\deep\\c.jpg", "deep/c.jpg"),
        ("D:/a.png", "a.jpg"),
        ("../train/a.jpg", "../train/a.jpg"),
        ("link.jpg", "link.jpg"),
        ("._a.jpg", "._a.jpg"),
        ("._a.png", None),
        ("gone.jpg", None),
        ("deep", None),
        ("same.jpg", "same.jpg"),
        ("same.JPG", "same.JPG"),
        ("same.Jpg", "same.jpg"),
        ("same", "same.jpg"),
        ("mask.tif", "mask.jpg"),
        ("ä 図.JPG", "ä 図.jpg"),
        ("", None),
        (".", None),
        ("..", None),
        ("/", None),
        ("\0", None),
        ("x" * 5000, None),
        ("x/" * 3000, None),
        ("/x" * 2000 + "/deep/c.jpg", "deep/c.jpg"),
        ("x/" * 2000 + "a.jpg", None),
        ("itself.jpg", None),
    ],
)
def test_an_image_is_found_by_what_an_annotation_calls_it(called: str, found: str | None, tmp_path: Path) -> None:
    folder = touched(
        tmp_path / "images" / "train",
        *("a.jpg", "b.PNG", "deep/c.jpg", "v1.2.tif", "v1.jpg", "._a.jpg", "same.jpg", "same.JPG", "ä 図.jpg"),
        *("mask.png", "mask.jpg", "other/deep/c.jpg"),
    )
    (folder / "link.jpg").symlink_to(folder / "deep" / "c.jpg")
    (folder / "gone.jpg").symlink_to(folder / "nowhere.jpg")
    (folder / "itself.jpg").symlink_to(folder / "itself.jpg")
    finder = FileFinder(folder)
    assert finder.find(called) == found and finder.find(called) == found
    assert FileFinder(Path(os.path.relpath(folder))).find(called) == found
    assert finder.find(str(folder / "a.jpg")) == str(folder / "a.jpg")


def test_where_a_name_must_be_exact_only_the_ending_may_differ(tmp_path: Path) -> None:
    finder = FileFinder(touched(tmp_path, "a.JPG", "b.png"), exact=True)
    assert [finder.find(name) for name in ("a.jpg", "A.jpg", "b.jpg", "B.png")] == ["a.JPG", None, "b.png", None]


def test_other_endings_are_found_by_the_same_rule(tmp_path: Path) -> None:
    finder = FileFinder(touched(tmp_path, "a.XML", "b/c.xml"), (".xml",))
    assert finder.find("a") == finder.find("a.jpg") == "a.XML"
    assert finder.find("b\\c") == "b/c.xml" and FileFinder(tmp_path / "nowhere").find("a") is None


@pytest.mark.parametrize("pattern", ["**.png", "a/**b/*.png", "***", "/**.png"])
def test_what_is_no_pattern_is_refused(pattern: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(UserError, match=r"no pattern \(.*\); name images|no such image"):
        find_images([Path(pattern)])
