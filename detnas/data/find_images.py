"""Finding image files: those in a folder, those named on the command line, and the one that an annotation means."""

import os
from collections.abc import Collection, Iterator, Sequence
from pathlib import Path, PurePosixPath, PureWindowsPath

from detnas.data.decoding import EXTENSIONS
from detnas.utils.errors import UserError
from detnas.utils.files import is_file, is_folder, real_path

MOST_DEPTH = 10
"""Folders below that of the images in which an image of another machine's path is looked for."""


def list_files(folder: Path, endings: Collection[str], *, deep: bool = True) -> list[Path]:
    """The files in `folder`, and below it if `deep`, with one of these `endings` (in lower case), sorted.

    Endings are compared without case. Hidden files and folders are skipped: `._a.jpg`, `.thumbnails/`. Links are
    followed, but no folder is listed twice, and none above `folder`; a link that leads nowhere is listed, so that it is
    noticed.
    Raises `UserError` for a folder that cannot be read.
    """
    return sorted(file for file in _files(folder, deep) if file.suffix.lower() in endings)


def find_images(paths: Sequence[Path]) -> list[Path]:
    """The files, images in folders (sorted) and glob matches of `paths`. Raises `UserError` if one names none."""
    images = []
    for path in paths:
        if is_folder(path):
            inside = list_files(path, EXTENSIONS, deep=False)
            if not inside:
                raise UserError(f"{path}: no image in this folder ({', '.join(EXTENSIONS)}); name another")
            images += inside
        elif is_file(path):
            images.append(path)
        elif named := sorted(filter(is_file, _matches(path))):
            images += named
        else:
            raise UserError(f"{path}: no such image or folder; name one that exists")
    return images


def _matches(pattern: Path) -> Iterator[Path]:
    """The files that a pattern matches. Raises `UserError` for what is none, such as `**.png`."""
    try:
        yield from Path(pattern.anchor).glob(str(pattern.relative_to(pattern.anchor)))
    except ValueError as error:
        raise UserError(f"{pattern}: no pattern ({error}); name images, a folder, or a pattern as in/*.jpg") from None


class FileFinder:
    """Finds files of a folder by what annotations call them. It lists a folder only to find what it is not called.

    `endings`: those that the files may have, in order of precedence, in lower case. With `exact`, only the ending may
    differ, not the case of the name before it.
    """

    def __init__(self, folder: Path, endings: Sequence[str] = EXTENSIONS, *, exact: bool = False) -> None:
        self.folder = folder
        self.endings = endings
        self.exact = exact
        self._listed: dict[Path, dict[str, list[str]]] = {}

    def find(self, called: str) -> str | None:
        """The path of the file that is meant by `called`, relative to the folder if it is below it; None if none is.

        It is the file of that very name, wherever it is. Otherwise, of the names below, the first that a file has
        whose case, or else whose ending, may differ; the ending may also be missing. Backslashes separate folders, the
        path may begin with names of the folder itself, and an absolute path of another machine may begin as it likes.
        """
        if is_file(self.folder / called):
            return called
        places = list(self._places(called))
        return next(
            (found for match in (self._same_name, self._same_stem) for p in places if (found := match(p))), None
        )

    def _places(self, called: str) -> Iterator[PurePosixPath]:
        """Paths relative to the folder that `called` may mean, the longest first."""
        windows = PureWindowsPath(called)
        is_absolute = called.startswith(("/", "\\")) or bool(windows.drive)
        parts = [part for part in windows.parts if part not in (windows.anchor, ".")]
        own = self.folder.absolute().parts
        deepest = max(1, len(parts) - MOST_DEPTH) if is_absolute else 1
        for start in (0, *range(deepest, len(parts) if is_absolute else min(len(parts), len(own)))):
            if parts and (is_absolute or start == 0 or tuple(parts[:start]) == own[-start:]):
                yield PurePosixPath(*parts[start:])

    def _same_name(self, place: PurePosixPath) -> str | None:
        """A file of the same name, perhaps in another case."""
        names = self._names(place).get(place.stem.lower(), [])
        same = [name for name in names if name.lower() == place.name.lower()]
        if self.exact:
            same = [name for name in same if name.startswith(place.stem)]
        return str(place.with_name(min(same, key=lambda name: name != place.name))) if same else None

    def _same_stem(self, place: PurePosixPath) -> str | None:
        """A file of the same name with another ending, or with one where `place` has none."""
        listed = self._names(place)
        has_ending = len(place.suffix) < 6 and any(map(str.isalpha, place.suffix))  # v1.2 has none
        for stem in (place.name, place.stem) if has_ending else (place.name,):
            for ending in self.endings:
                for name in listed.get(stem.lower(), []):
                    if name.lower() == (stem + ending).lower() and name.startswith(stem):
                        return str(place.with_name(name))
        return None

    def _names(self, place: PurePosixPath) -> dict[str, list[str]]:
        """The names of the files beside `place` by their stem in lower case."""
        folder = self.folder / place.parent
        if folder not in self._listed:
            names: dict[str, list[str]] = {}
            try:
                for file in _files(folder, deep=False) if is_folder(folder) else ():
                    if is_file(file):
                        names.setdefault(file.stem.lower(), []).append(file.name)
            except UserError:
                pass  # a file that cannot be listed cannot be read either: it is missing
            self._listed[folder] = {stem: sorted(found, key=str.swapcase) for stem, found in names.items()}
        return self._listed[folder]


def _files(top: Path, deep: bool) -> Iterator[Path]:
    """The files in `top`, and below it if `deep`, as `list_files` has them."""
    folders, links, seen = [top], list[Path](), set(map(_identity, real_path(top).parents))
    while folders or links:
        # Links come last: a folder that is there under two names is listed by its own.
        folder = folders.pop() if folders else links.pop(0)
        try:
            if (identity := _identity(folder)) in seen:
                continue
            seen.add(identity)
            entries = sorted(os.scandir(folder), key=lambda entry: entry.name)
        except OSError as error:
            raise UserError(
                f"{folder}: this folder cannot be read ({error.strerror}); make it readable, or take it away"
            ) from None
        for entry in entries:
            if entry.name.startswith("."):
                continue
            path, is_link = folder / entry.name, entry.is_symlink()
            if is_folder(path) if is_link else entry.is_dir():  # links may lead to themselves
                if deep:
                    (links if is_link else folders).append(path)
            elif is_file(path) or not os.path.exists(path) if is_link else entry.is_file():  # noqa: PTH110, as above
                yield path


def _identity(folder: Path) -> tuple[int, int]:
    status = folder.stat()
    return status.st_dev, status.st_ino
