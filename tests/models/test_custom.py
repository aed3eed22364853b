"""Backbones of the user's own: any callable that returns a module whose output are features."""

import sys

import pytest
import torch
import user_folder
from torch import nn

from mola import registry
from mola.config import load
from mola.conformance.examples import TASKS, batch_of
from mola.models import custom
from mola.models.backbones import width
from mola.types import BadInput

IMAGES = torch.randn(2, 3, 32, 32, generator=torch.Generator().manual_seed(0))
MODULE = """import torch
from torch import nn


def flat():
    return nn.Sequential(nn.Flatten(), nn.LazyLinear(7))


def tokens():
    return nn.Sequential(nn.Conv2d(3, 4, 8, 8), nn.Flatten(2))


def tuples():
    class Two(nn.Conv2d):
        def forward(self, x):
            return super().forward(x), x

    return Two(3, 4, 3)


def no_module():
    return 3


def raising(depth=2):
    raise OSError("no weights\\nhere")


class Misnamed(nn.Conv2d):
    num_features = 99


def misnamed():
    return Misnamed(3, 5, 3)


three = 3
"""


@pytest.fixture(autouse=True)
def folder(tmp_path):
    registry.look_in(user_folder.fill(tmp_path / "mine", shapes_of_mine=MODULE))
    yield tmp_path / "mine"
    registry.look_in(None)


def built(name, options=None, **changes):
    torch.manual_seed(0)
    return custom.builder(name, options, images=IMAGES, **changes)()


@pytest.mark.parametrize("pooled", [True, False])
def test_features_are_vectors_whose_number_a_pass_shows(pooled):
    model = built("my_net:make_model", {"pooled": pooled, "width": 5})
    assert model(IMAGES).shape == (2, 10) and width(model) == 10
    assert model.training
    with torch.no_grad():
        maps = model.layer2(model.bn1(model.layer1(IMAGES)).relu()).relu()
        torch.testing.assert_close(model(IMAGES), maps.mean((2, 3)))


def test_measuring_changes_neither_weights_nor_statistics_nor_draws():
    model = built("my_net:make_model")
    after = torch.rand(1)
    torch.manual_seed(0)
    plain = sys.modules["my_net"].make_model()
    assert torch.equal(after, torch.rand(1))
    assert all(torch.equal(value, plain.state_dict()[key]) for key, value in model.state_dict().items())


@pytest.mark.parametrize(("name", "number"), [("flat", 7), ("misnamed", 5)])
def test_lazy_layers_and_other_ideas_of_num_features(name, number):
    assert width(built(f"shapes_of_mine:{name}")) == number


def test_dense_tasks_get_the_map():
    model = built("my_net:make_model", dense=True, head_width=9)
    assert model(IMAGES).shape == (2, 12, 7, 7) and model.dense_head_width == 9
    with pytest.raises(
        BadInput, match=r"features of shape \(B, F, h, w\) for dense tasks from my_net:make_model, found"
    ):
        built("my_net:make_model", {"pooled": True}, dense=True)


@pytest.mark.parametrize(
    ("name", "message"),
    [
        (
            "nothing:f",
            "backbone.name: expected a module in a file beside the configuration or installed, found no 'noth",
        ),
        ("my_net:f", "backbone.name: expected a function 'f' in my_net, found none"),
        ("shapes_of_mine:three", "backbone.name: expected shapes_of_mine:three to be a function, found int"),
        ("shapes_of_mine:no_module", "expected shapes_of_mine:no_module to return a torch.nn.Module, found int"),
        ("shapes_of_mine:tokens", r"expected features of shape \(B, F\) or \(B, F, h, w\) .* found \(2, 4, 16\) for"),
        ("shapes_of_mine:tuples", "expected features of shape .* found tuple for"),
        ("shapes_of_mine:raising", r"^shapes_of_mine.py:26: OSError: no weights$"),
    ],
)
def test_what_is_no_backbone_is_said_in_one_line(name, message):
    with pytest.raises(BadInput, match=message):
        built(name)


def test_weights_come_from_a_file(tmp_path):
    other = built("my_net:make_model")
    with torch.no_grad():
        other.layer1.weight.fill_(0.5)
    torch.save(other.state_dict(), tmp_path / "net.pth")
    model = built("my_net:make_model", weights=str(tmp_path / "net.pth"))
    assert (model.layer1.weight == 0.5).all()
    with pytest.raises(BadInput, match=r"expected 'layer1.weight' of shape \(5, 3, 3, 3\), found \(6, 3, 3, 3\)"):
        built("my_net:make_model", {"width": 5}, weights=str(tmp_path / "net.pth"))


@pytest.mark.parametrize(
    ("backbone", "message"),
    [
        (
            {"name": "my_net:make_model", "weights": "timm"},
            "backbone.weights: expected null, a model of timm or weights",
        ),
        (
            {"name": "my_net:make_model", "freeze_stages": 1, "weights": "x.pth", "cached_views": 2},
            "cached_views: expec",
        ),
        ({"name": "my net:make"}, "backbone.name: expected timm's name of a model, or module:function, found"),
        (
            {"name": "not_there:make"},
            "backbone.name: expected a module in a file beside the configuration or installed",
        ),
    ],
)
def test_a_suite_is_refused_for_what_such_a_backbone_has_not(folder, data_root, backbone, message):
    with pytest.raises(BadInput, match=message):
        load(user_folder.suite(folder, data_root, backbone=backbone))


def test_stages_are_frozen_only_where_the_module_names_them():
    with pytest.raises(BadInput, match=r"backbone.freeze_stages: expected 0, as my_net:make_model names no stages"):
        built("my_net:make_model", freeze_stages=1)
    frozen = built("timm:create_model", {"model_name": "test_resnet", "num_classes": 0}, freeze_stages=1)
    assert not next(frozen.layer1.parameters()).requires_grad and next(frozen.layer4.parameters()).requires_grad


@pytest.mark.parametrize("name", ["shared", "single_task", "mola_grad"])
@pytest.mark.parametrize("norm", ["shared", "task"])
def test_methods_run_on_it(name, norm):
    if (name, norm) == ("single_task", "task"):
        pytest.skip("every task has a network of its own")
    options = registry.check_options(
        "methods", name, {"norm": norm, **({"rank": 2} if name == "mola_grad" else {})}, name
    )
    backbone = custom.builder("my_net:make_model", {}, images=IMAGES)
    method = registry.create("methods", name, TASKS, backbone, options=options)
    output = method(batch_of(TASKS))
    assert {task: p.shape[1] for task, p in output.predictions.items()} == {"a": 2, "b": 3, "c": 5}
    adapted = [key for key, module in method.named_modules() if hasattr(module, "delta")]
    assert adapted == (["backbone.layer1", "backbone.layer2"] if name == "mola_grad" else [])


def test_torchvision_models_are_backbones():
    model = built("torchvision.models:mobilenet_v3_small", {"num_classes": 11})
    assert model(IMAGES).shape == (2, 11) and width(model) == 11
    assert isinstance(model, nn.Module)
