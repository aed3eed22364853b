"""Folders of images: which task and class they have, by names alone."""

import pytest

from mola.data.user.image_lists import class_order, folder_classes, listed_folder, numbered
from mola.types import BadInput


def touch(root, *names):
    for name in names:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_bytes(b"")
    return root


def test_what_is_listed(tmp_path):
    files = ["by day/cup/b.PNG", "by day/cup/a.jpeg", "by day/hat/c.webp", "night/cup/d.tif", "night/hat/e.gif"]
    touch(tmp_path, *files, "by day/cup/.a.jpg", "__MACOSX/by day/cup/._a.jpg", ".git/x/y.png", "by day/cup/Thumbs.db")
    touch(tmp_path, "by day/list.txt", "night/hat/raw.heic", "night/hat/raw2.HEIC", "readme")
    result = listed_folder(tmp_path)
    assert not result.findings
    assert [(i.task, i.label, i.file) for i in result.images] == [
        ("by_day", "cup", "by day/cup/a.jpeg"),
        ("by_day", "cup", "by day/cup/b.PNG"),
        ("by_day", "hat", "by day/hat/c.webp"),
        ("night", "cup", "night/cup/d.tif"),
        ("night", "hat", "night/hat/e.gif"),
    ]
    assert result.others == {".txt": 1, ".heic": 2, "none": 1}
    assert folder_classes(tmp_path) == result.classes


@pytest.mark.parametrize(
    ("files", "finding"),
    [
        (["cup/a.png", "hat/b.png"], "images outside of <domain>/<class>/: 2"),
        (["a.png"], "images outside of <domain>/<class>/: 1"),
        (["one/cup/inner/a.png"], "images deeper than <domain>/<class>/: 1"),
        (["train/cup/a.png", "test/cup/a.png"], "folders named like splits"),
        (["one/list.txt"], "domains without a folder of a class: 1"),
        (["one/cup/list.txt"], "folders of a class without an image: 1"),
        (["v1.0/cup/a.png"], "names that a task can't have"),
        (["values/cup/a.png"], "names that a task can't have"),
        (["by day/cup/a.png", "by_day/cup/a.png"], "tasks of one name, apart from blanks: 1"),
        (["one/cup/a\n.png"], "names of files that are no text in UTF-8: 1"),
        ([], "folders <domain>/<class>/ with images, expected some"),
    ],
)
def test_what_is_wrong(tmp_path, files, finding):
    assert finding in "\n".join(listed_folder(touch(tmp_path, *files)).findings.lines())


def test_no_folder(tmp_path):
    with pytest.raises(BadInput, match="expected a folder of images or a CSV file, found none"):
        listed_folder(tmp_path / "gone")
    (tmp_path / "file.txt").write_text("")
    with pytest.raises(BadInput, match="found a file"):
        listed_folder(tmp_path / "file.txt")


def test_the_order_of_classes():
    assert class_order(["10", "9", "b", "A", "a1"]) == ["9", "10", "A", "a1", "b"]


def test_which_classes_a_task_has():
    alike = {"one": {"x", "y"}, "two": {"x"}}
    apart = {"one": {"x", "y"}, "two": {"z"}}
    assert numbered(alike, "auto") == numbered(alike, "shared") == {"one": ["x", "y"], "two": ["x", "y"]}
    assert numbered(apart, "auto") == numbered(apart, "per_task") == {"one": ["x", "y"], "two": ["z"]}
    assert numbered(apart, "shared")["two"] == ["x", "y", "z"] and numbered(alike, "per_task")["two"] == ["x"]
    assert numbered({"one": {"x", "y"}}, "auto") == {"one": ["x", "y"]} and numbered({}, "auto") == {}
