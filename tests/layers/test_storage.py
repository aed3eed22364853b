"""Adapters in files."""

import copy
import json
import warnings

import pytest
import timm
import torch
from networks import MODELS, adapted, run_expert
from safetensors import safe_open
from safetensors.torch import save, save_file
from torch import nn

import mola
from mola import load_adapters, merge, save_adapters, unmerge
from mola.layers import storage
from mola.layers.adapter import LowRank, adapted_layers
from mola.types import BadInput


@pytest.mark.parametrize("name", MODELS)
def test_adapters_come_back_into_an_adapted_and_a_plain_model(name, tmp_path):
    model, x = adapted(name)
    expected = run_expert(model, x, 2)
    save_adapters(model, tmp_path / "a.safetensors")
    assert [path.name for path in tmp_path.iterdir()] == ["a.safetensors"]
    other, _ = adapted(name, seed=1)
    plain = MODELS[name][0]().double().eval()
    shared = {key: value for key, value in model.state_dict().items() if not key.endswith((".A", ".B"))}
    for target in (other, plain):
        target.load_state_dict(shared, strict=False)
        assert load_adapters(target, tmp_path / "a.safetensors") is target
        assert torch.equal(run_expert(target, x, 2), expected)
    twin, _ = adapted(name, seed=2)
    twin.load_state_dict(model.state_dict())
    assert torch.equal(run_expert(twin, x, 2), expected)


@pytest.mark.parametrize(
    ("how", "message"),
    [
        ({"rank": 3}, r"layer 'layer3\.0\.conv1' differs: expected experts 3, rank 2, .* found experts 3, rank 3"),
        ({"alpha": 8.0}, r"layer 'layer3\.0\.conv1' differs: .*alpha 16\.0.*alpha 8\.0"),
        ({"where": r"layer3\..*conv\d"}, r"layer 'layer4\.0\.conv1' differs: .* found no adapter"),
        ({"where": r"layer[234]\..*conv\d"}, r"layer 'layer2\.0\.conv1' differs: expected no adapter"),
        ({"factorisation": "two_conv"}, "factorisation loralib, .*factorisation two_conv"),
    ],
)
def test_a_model_that_differs(how, message, tmp_path):
    save_adapters(adapted("resnet18")[0], tmp_path / "a")
    other, _ = adapted("resnet18", **how)
    before = copy.deepcopy(other.state_dict())
    with pytest.raises(BadInput, match=message):
        load_adapters(other, tmp_path / "a")
    assert all(torch.equal(value, before[key]) for key, value in other.state_dict().items())


def test_a_plain_model_that_differs_stays_plain(tmp_path):
    save_adapters(adapted("resnet18")[0], tmp_path / "a")
    for model, shape in ((MODELS["vit"][0](), "no such layer"), (timm.create_model("resnet26"), r"a weight \[")):
        with pytest.raises(BadInput, match=rf"layer 'layer3\.0\.conv1' differs: .* found {shape}"):
            load_adapters(model, tmp_path / "a")
        assert not any(isinstance(module, LowRank) for module in model.modules())


@pytest.mark.parametrize("content", [None, b"", b"nothing of the kind", "foreign"])
def test_a_file_of_something_else(content, tmp_path):
    path = tmp_path / "a.safetensors"
    if content == "foreign":
        from safetensors.torch import save_file

        save_file({"x": torch.zeros(2)}, path)
    elif content is not None:
        path.write_bytes(content)
    with pytest.raises(BadInput, match=r"a\.safetensors: expected .* found "):
        load_adapters(adapted("resnet18")[0], path)


def test_a_merged_model_is_not_stored_or_filled_as_if_it_were_not(tmp_path):
    model, _ = adapted("vit")
    save_adapters(model, tmp_path / "file")
    before = model.state_dict()
    merge(model, 1)
    with pytest.raises(BadInput, match="load_adapters: the model is merged; unmerge it first"):
        load_adapters(model, tmp_path / "file")
    with pytest.raises(BadInput, match="state_dict: the model is merged"):
        model.state_dict()
    for key, value in unmerge(model).state_dict().items():
        torch.testing.assert_close(value, before[key])


def test_others_may_read_the_file_as_the_umask_says(tmp_path):
    model, _ = adapted("vit")
    save_adapters(model, tmp_path / "file")
    (tmp_path / "plain").write_bytes(b"")
    assert (tmp_path / "file").stat().st_mode == (tmp_path / "plain").stat().st_mode


def test_shared_weights_of_joint_training_travel_along(tmp_path):
    model, x = adapted("resnet18")
    expected = run_expert(model, x, 1)
    save_adapters(model, tmp_path / "alone")
    save_adapters(model, tmp_path / "whole", shared=True)
    base = MODELS["resnet18"][0]().double().eval()
    with pytest.warns(UserWarning, match="shared weights are not those that the adapters were trained with"):
        other = load_adapters(copy.deepcopy(base), tmp_path / "alone")
    assert not torch.allclose(run_expert(other, x, 1), expected)
    for target in (base, adapted("resnet18", seed=1)[0]):
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            load_adapters(target, tmp_path / "whole")
            assert torch.equal(run_expert(target, x, 1), expected)
            load_adapters(target, tmp_path / "alone")
    with pytest.raises(BadInput, match=r"shared weight 'fc\.bias' differs: expected \(5,\), found \(7,\)"):
        load_adapters(timm.create_model("resnet18", num_classes=7), tmp_path / "whole")


def test_names_of_experts_are_stored(tmp_path):
    model = mola.adapt(nn.Sequential(nn.Linear(4, 5)), experts=["photo", "sketch"], rank=2)
    save_adapters(model, tmp_path / "named", shared=True)
    loaded = load_adapters(nn.Sequential(nn.Linear(4, 5)), tmp_path / "named")
    with mola.gate(loaded, ["sketch", "photo"]):
        assert loaded(torch.randn(2, 4)).shape == (2, 5)


def test_files_of_the_first_version_still_load(tmp_path):
    model, x = adapted("vit")
    expected = run_expert(model, x, 1)
    save_adapters(model, tmp_path / "new")
    with safe_open(tmp_path / "new", framework="pt") as file:
        about = json.loads(file.metadata()["mola"])
        tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    old = {"version": 1, "layers": about["layers"]}
    save_file(tensors, tmp_path / "old", {"mola": json.dumps(old)})
    for layer in adapted_layers(model).values():
        layer.B.data.zero_()
    load_adapters(model, tmp_path / "old")
    assert torch.equal(run_expert(model, x, 1), expected)


def test_files_are_those_that_safetensors_itself_writes():
    """Its own function needs NumPy, which is no dependency of the layers."""
    transposed = torch.randn(5, 7).t()
    tensors = {
        "bfloat16": torch.randn(3, 4).bfloat16(), "scalar": torch.tensor(2), "empty": torch.zeros(0, 3),
        "transposed": transposed, "shared": transposed, "bool": torch.tensor([True]), "half": torch.randn(2).half(),
    }  # fmt: skip
    whole = {name: tensor.clone(memory_format=torch.contiguous_format) for name, tensor in tensors.items()}
    assert storage._serialized(tensors, {"key": "ü"}) == save(whole, {"key": "ü"})
