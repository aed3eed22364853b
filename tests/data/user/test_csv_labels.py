"""Lists with a column of labels per task: which kinds they seem to be, and how fields are read."""

import pytest

from mola.data.user.csv_labels import likely_kinds, listed_labels
from mola.types import BadInput


def written(tmp_path, columns):
    """A list of images that are not there, with these columns of words."""
    names = ["image", *columns]
    rows = zip(*([f"{i}.png" for i in range(len(next(iter(columns.values()))))], *columns.values()), strict=True)
    path = tmp_path / "list.csv"
    path.write_text("\n".join([",".join(names), *(",".join(row) for row in rows)]) + "\n")
    return path


@pytest.mark.parametrize(
    ("words", "kind", "holds"),
    [
        (["cat", "dog", ""] * 8, "classes", "2 classes (cat, dog); 16 of 24 known"),
        (["cat", "dog"] * 11 + ["cat", "hen"], "classes", "3 classes (cat, dog, hen); all known"),
        (["0", "1"] * 12, "classes", "2 whole numbers, regression if their size counts; all known"),
        ([f"{i}.5" for i in range(24)], "regression", "numbers from 0.5 to 23.5; all known"),
        ([str(i % 22) for i in range(24)], "regression", "numbers from 0 to 21; all known"),
        (["1", "NA"] * 11 + ["2", "3"], "regression", "numbers from 1 to 3; all known"),
        ([str(i) for i in range(24)], None, "whole numbers that all differ, as of an index; all known"),
        (["a;b", "a", "none"] * 8, "multilabel", "2 labels; all known"),
        (["a|b", ""] * 12, "multilabel", "2 labels; 12 of 24 known"),
        ([f"text {i}" for i in range(24)], None, "24 different texts (text 0, text 1, text 10, text 11, …); all known"),
        (["one"] * 24, None, "1 different texts (one); all known"),
        ([""] * 24, None, "empty"),
    ],
)
def test_likely_kinds(tmp_path, words, kind, holds):
    columns = {"split": ["train"] * 24, "group": ["g"] * 24, "it": words}
    assert likely_kinds(written(tmp_path, columns)) == {"it": (kind, holds)}


def test_fields(tmp_path):
    columns = {"Kind": ["a", "", "b "], "size": ["1e2", "nan", " 2"], "marks": ["x ; y", "None", "y|x|x"]}
    path = written(tmp_path, columns)
    for i in range(3):
        (tmp_path / f"{i}.png").touch()
    listed = listed_labels(path, {"kind": "classes", "Size": "regression", "marks": "multilabel"})
    assert not listed.findings
    assert [dict(image.labels) for image in listed.images] == [
        {"kind": "a", "Size": 100.0, "marks": {"x", "y"}},
        {"marks": frozenset()},
        {"kind": "b", "Size": 2.0, "marks": {"x", "y"}},
    ]
    assert {name: task.names for name, task in listed.tasks.items()} == {
        "kind": ["a", "b"],
        "Size": [],
        "marks": ["x", "y"],
    }


def test_a_list_of_tasks_points_to_the_other_benchmark(tmp_path):
    from mola.data.user.csv_lists import listed_csv

    path = written(tmp_path, {"age": ["1", "2"]})
    with pytest.raises(BadInput, match=r"expected columns image, task, label, found image, age; .*image_labels$"):
        listed_csv(path)
