"""What predictions of each kind of task say."""

import pytest
import torch
from building import build
from fake_labels import TASKS
from PIL import Image

from mola.inference.description import Description, Images
from mola.inference.model import Model, Whole
from mola.inference.predict import check, predict
from mola.types import BadInput


def test_classes_numbers_and_labels(tmp_path):
    """Each image has all tasks: a row for each of them, the number in its own unit."""
    classes = {"species": ("cat", "dog", "hen"), "height": ("0",), "defects": ("a", "b", "c", "d")}
    images = Images((16, 16), "photos", mean=(0.5,) * 3, std=(0.5,) * 3)
    about = Description("fake", "single-input task", TASKS, classes, images, (), "shared", {}, {})
    method = build("shared", TASKS).eval()
    for head in method.heads.tasks.values():
        head.weight.data.zero_()
    method.heads.tasks["species"].bias.data = torch.tensor([0.0, 2.0, 0.0])
    method.heads.tasks["height"].bias.data = torch.tensor([2.0])
    method.heads.tasks["defects"].bias.data = torch.tensor([3.0, -3.0, 1.0, -1.0])
    model = Model(Whole(method, about), about, needs_task=False)
    Image.new("RGB", (20, 30)).save(tmp_path / "a.png")
    check(model, None)
    rows = list(predict(model, [tmp_path / "a.png"], None, lambda problem: None))
    assert [(row.task, row.prediction, row.probability) for row in rows] == [
        ("species", "dog", "0.7870"),
        ("height", "220", ""),
        ("defects", "a;c", "0.9526;0.7311"),
    ]
    with pytest.raises(BadInput, match="--task: expected one of species, height, defects, found 'weight'"):
        check(model, "weight")
