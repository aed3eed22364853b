"""Identical images in several splits are found and named."""

import numpy as np

from mola.data.prepare.prepared import Recipe, write_prepared


def recipe(rows, names=()):
    images = np.array([np.full((2, 2, 3), row, np.uint8) for row in rows])
    return Recipe(
        len(rows), {"images": ((2, 2, 3), "uint8")}, list(rows), lambda start: iter([{"images": images[start:]}]), names
    )


def test_images_in_several_splits_are_named_and_those_within_one_are_not(tmp_path, capsys):
    recipes = {
        "a.train": recipe([1, 1, 2, 3], ["x/1", "x/2", "x/3", "x/4"]),
        "a.valid": recipe([4, 2], ["y/1", "y/2"]),
        # the same images as valid, as published splits have it
        "a.test": recipe([4, 2], ["y/1", "y/2"]),
        "b.train": recipe([7]),
        "b.test": recipe([8, 3]),
    }
    write_prepared(tmp_path / "data", recipes, {})
    assert (tmp_path / "data/duplicates.txt").read_text() == (
        "a/x/3 (train) = a/y/2 (valid)\na/x/4 (train) = b/number 1 (test)\n"
    )
    assert "2 images are in several splits, pixel by pixel, as a/x/3 (train) = a/y/2 (valid)" in capsys.readouterr().err
    write_prepared(tmp_path / "data", recipes | {"a.train": recipe([1]), "b.test": recipe([8])}, {})
    assert not (tmp_path / "data/duplicates.txt").exists()
