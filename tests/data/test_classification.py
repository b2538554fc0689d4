"""The classification set of a run: its parts and its classes."""

from pathlib import Path
from typing import Any

import pytest
from small_recipe import small_recipe, write_blocks, write_class_folder

from detnas.data.classification import ClassificationSet, Part
from detnas.data.splits import open_data
from detnas.utils.errors import UserError

PARTS: tuple[Part, ...] = ("train", "fit", "search")


def open_classes(folder: Path, **changes: Any) -> ClassificationSet:
    recipe = small_recipe(pretraining__folder=str(folder / "classes"), **changes)
    return ClassificationSet(recipe, open_data(folder, recipe.data, recipe.seed))


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = write_blocks(tmp_path_factory.mktemp("classes"))
    write_class_folder(folder / "classes")
    return folder


@pytest.mark.parametrize(("background", "classes"), [(0.0, 3), (0.2, 4)])
def test_background_is_a_class_of_crops(background: float, classes: int, folder: Path) -> None:
    data = open_classes(folder, pretraining__background=background)
    assert data.num_classes == classes
    for part in PARTS:
        samples = data.samples(part, None, cache_mb=0)
        labels = {samples[index, 0][1] for index in range(len(samples))}
        assert labels <= set(range(classes)) and (classes - 1 in labels)


def test_a_folder_is_cut_only_where_candidates_are_judged_on_it(folder: Path) -> None:
    whole = open_classes(folder, pretraining__source="folder")
    assert [len(whole.samples(part, None, 0)) for part in PARTS] == [12, 12, 0]
    changes = {"pretraining__source": "folder", "search__fitness": "classification"}
    cut = open_classes(folder, **changes, pretraining__search_fraction=0.25)
    assert [len(cut.samples(part, None, 0)) for part in PARTS] == [12, 9, 3]
    assert sorted(cut.indices["fit"] + cut.indices["search"]) == cut.indices["train"] == list(range(12))
    assert cut.num_classes == whole.num_classes == 3
    again = open_classes(folder, **changes, pretraining__search_fraction=0.25)
    other = open_classes(folder, **changes, pretraining__search_fraction=0.25, seed=4)
    assert cut.indices == again.indices != other.indices


def test_samples_of_a_part_have_the_labels_of_their_files(folder: Path) -> None:
    cut = open_classes(folder, pretraining__source="folder", search__fitness="classification")
    for part in PARTS:
        samples = cut.samples(part, None, 0)
        names = [f"c{(0, 7, 90)[samples[index, 0][1]]}" for index in range(len(samples))]
        assert sorted(set(names)) != [] and names == [file.parent.name for file in samples.images.files]


def test_a_search_split_without_objects_to_cut_out_is_refused_at_once(tmp_path: Path) -> None:
    folder = write_blocks(tmp_path / "data")
    recipe = small_recipe(search__fitness="classification")
    data = open_data(folder, recipe.data, recipe.seed)
    data.search.boxes[:, 2:] = 3
    with pytest.raises(UserError, match=r"pretraining\.source: no box of the 6 images"):
        ClassificationSet(recipe, data)
    ClassificationSet(small_recipe(), data)  # evaluated by detection
