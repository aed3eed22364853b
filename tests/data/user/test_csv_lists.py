"""Lists of images: what is read, and what is said of what can't be."""

import pytest
from own_images import write_list

from mola.data.user.csv_lists import csv_classes, listed_csv
from mola.task_names import WISH
from mola.types import BadInput


def listed(tmp_path, text, encoding="utf-8"):
    for name in ("a.png", "b.png", "c.png"):
        (tmp_path / name).write_bytes(b"")
    path = tmp_path / "list.csv"
    path.write_bytes(text.encode(encoding))
    return listed_csv(path)


def lines(result):
    return "\n".join(result.findings.lines())


@pytest.mark.parametrize("delimiter", [",", ";", "\t"])
def test_what_is_listed(tmp_path, delimiter):
    rows = [
        {"image": f"pictures/{i}.png", "task": task, "label": label, "split": split, "group": f"p{i}", "age": "7"}
        for i, (task, label, split) in enumerate(
            [("by day", "cup", "train"), ("by day", "hat", "val"), ("night", "cup", "test")]
        )
    ]
    result = listed_csv(write_list(tmp_path / "list.csv", rows, delimiter))
    assert not result.findings and result.folder == tmp_path and result.layout == "csv"
    assert [(i.task, i.label, i.file, i.split, i.group) for i in result.images] == [
        ("by_day", "cup", "pictures/0.png", "train", "p0"),
        ("by_day", "hat", "pictures/1.png", "valid", "p1"),
        ("night", "cup", "pictures/2.png", "test", "p2"),
    ]
    assert csv_classes(tmp_path / "list.csv") == result.classes == {"by_day": {"cup", "hat"}, "night": {"cup"}}


def test_a_mark_of_utf_8_blank_lines_and_capitals_do_not_matter(tmp_path):
    result = listed(tmp_path, " Image, TASK ,label\r\n\r\na.png , one,ü \r\n,,\r\n./b.png,one,x\r\n", "utf-8-sig")
    assert not result.findings
    assert [(i.file, i.label) for i in result.images] == [("a.png", "ü"), ("b.png", "x")]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "expected columns image, task, label, found an empty file"),
        ("image,label\na.png,x\n", r"expected columns image, task, label, found image, label; for a column"),
        ("image,tasks,label\n", r"found image, tasks, label, did you mean 'tasks'\?; for a"),
        ("image,task,label,label\n", "expected every column once, label among them"),
        ("image,task,label\na.png,one\n", r"line 2: expected 3 columns, found 2$"),
        ("image,task,label\na.png,one,x,y\n", r"line 2: expected 3 columns, found 4$"),
        ('image,task,label\n"a.png,one,x\n', "expected a list of images in UTF-8, found: unexpected end of data"),
    ],
)
def test_what_is_no_list(tmp_path, text, message):
    with pytest.raises(BadInput, match=rf"list\.csv: .*{message}") as caught:
        listed(tmp_path, text)
    assert "\n" not in str(caught.value)


def test_another_encoding_and_a_missing_file(tmp_path):
    with pytest.raises(BadInput, match="expected a list of images in UTF-8"):
        listed(tmp_path, "image,task,label\na.png,one,ü\n", "latin-1")
    with pytest.raises(BadInput, match=r"none\.csv: expected a list of images, found: No such file"):
        listed_csv(tmp_path / "none.csv")


def test_everything_that_is_wrong_is_said_with_its_line(tmp_path):
    text = (
        "image,task,label,split,group\n"
        "a.png,one,x,train,g\n"
        "b.png,,x,train,g\n"
        "c.png,one,,train,g\n"
        ",one,x,test,g\n"
        "gone.png,one,x,train,g\n"
        "a.png,one,y,train,g\n"
        "b.png,one,y,later,g\n"
        "c.png,one.two,y,test,g\n"
        "/etc/a.png,one,x,test,g\n"
        "c.png,one,x,,\n"
    )
    result = listed(tmp_path, text)
    assert lines(result).splitlines() == [
        "  rows without image: 1",
        "    line 5: no image",
        "  rows without task: 1",
        "    line 3: b.png",
        "  rows without label: 1",
        "    line 4: c.png",
        "  rows without split: 1",
        "    line 11: c.png",
        "  rows without group: 1",
        "    line 11: c.png",
        "  rows whose split is none of train, valid and test: 1",
        "    line 8: b.png (later)",
        f"  names that a task can't have (expected {WISH}): 1",
        "    one.two",
        "  paths that are not relative to the list: 1",
        "    /etc/a.png",
        "  files that are not there: 1",
        "    line 6: gone.png",
        "  images that a task has twice: 1",
        "    line 7: a.png, as in line 2",
    ]


def test_a_list_without_rows(tmp_path):
    assert "rows of images, expected some" in lines(listed(tmp_path, "image,task,label\n"))


def test_an_image_may_have_several_tasks(tmp_path):
    result = listed(tmp_path, "image,task,label\na.png,one,x\na.png,two,y\n")
    assert not result.findings and len(result.images) == 2
