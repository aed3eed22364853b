"""What becomes of an adapted model: merged, exported, stored."""

import copy
import pickle

import onnxruntime
import pytest
import timm
import torch
from reference import filled
from torch import nn

import mola
from mola import export, load_adapters, merge, parameter_counts, save_adapters, unmerge
from mola.layers.adapter import LowRank
from mola.layers.router import Router
from mola.types import BadInput

MODELS = {
    "resnet18": (
        lambda: timm.create_model("resnet18", num_classes=5, zero_init_last=False),
        r"layer[34]\..*conv\d",
        40,
    ),
    "vit": (
        lambda: timm.create_model("vit_tiny_patch16_224", num_classes=5, img_size=32, depth=2),
        r"blocks\..*(qkv|proj|fc1|fc2)",
        32,
    ),
    "padded by size": (
        lambda: timm.create_model("tf_efficientnet_lite0", num_classes=5),
        r"blocks\.[12]\..*conv_(dw|pwl?)",
        40,
    ),
}


def adapted(name, seed=0, **how):
    torch.manual_seed(seed)
    make, where, size = MODELS[name]
    rank = {r".*conv_dw": 1, r".*": 2}
    model = mola.adapt(make().double(), experts=3, **{"rank": rank, "where": where, **how}).eval()
    for layer in model.modules():
        if isinstance(layer, LowRank):
            filled(layer)
    return model, torch.randn(2, 3, size, size, dtype=torch.float64)


def run(model, x, expert):
    with mola.gate(model, torch.full((len(x),), expert)), torch.no_grad():
        return model(x)


@pytest.mark.parametrize("name", MODELS)
def test_merge_unmerge_and_export_are_the_gated_model(name):
    model, x = adapted(name)
    wanted = [run(model, x, expert) for expert in range(3)]
    assert not torch.allclose(wanted[0], wanted[1])
    before = {key: value.clone() for key, value in model.state_dict().items()}
    for expert in (1, 0):
        plain = export(model, expert)
        torch.testing.assert_close(plain(x), wanted[expert], rtol=1e-9, atol=1e-9)
        fresh = MODELS[name][0]().double().eval()
        fresh.load_state_dict(plain.state_dict())
        torch.testing.assert_close(fresh(x), wanted[expert], rtol=1e-9, atol=1e-9)
        assert [type(module) for module in plain.modules()] == [type(module) for module in fresh.modules()]
        assert not plain._forward_hooks and not plain._forward_pre_hooks
        for key, value in model.state_dict().items():  # to the rounding of the first unmerge
            torch.testing.assert_close(value, before[key], rtol=1e-13, atol=1e-13)

        assert merge(model, expert) is model
        torch.testing.assert_close(model(x), wanted[expert], rtol=1e-9, atol=1e-9)
        assert f"merged_expert={expert}" in repr(model)
        torch.testing.assert_close(pickle.loads(pickle.dumps(copy.deepcopy(model)))(x), model(x))
        with pytest.raises(BadInput, match=f"gate: the model is merged with expert {expert}; unmerge it first"):
            run(model, x, expert)
        with pytest.raises(BadInput, match=f"merge: the model is merged with expert {expert}"):
            merge(model, 2)
        unmerge(model)
        for key, value in model.state_dict().items():
            torch.testing.assert_close(value, before[key], rtol=1e-5, atol=1e-5)
    torch.testing.assert_close(run(model, x, 2), wanted[2])


@pytest.mark.parametrize("name", MODELS)
def test_adapters_come_back_into_an_adapted_and_a_plain_model(name, tmp_path):
    model, x = adapted(name)
    wanted = run(model, x, 2)
    save_adapters(model, tmp_path / "a.safetensors")
    assert [path.name for path in tmp_path.iterdir()] == ["a.safetensors"]
    other, _ = adapted(name, seed=1)
    plain = MODELS[name][0]().double().eval()
    shared = {key: value for key, value in model.state_dict().items() if not key.endswith((".A", ".B"))}
    for target in (other, plain):
        target.load_state_dict(shared, strict=False)
        assert load_adapters(target, tmp_path / "a.safetensors") is target
        assert torch.equal(run(target, x, 2), wanted)
    twin, _ = adapted(name, seed=2)
    twin.load_state_dict(model.state_dict())
    assert torch.equal(run(twin, x, 2), wanted)


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
    for model, found in ((MODELS["vit"][0](), "no such layer"), (timm.create_model("resnet26"), r"a weight \[")):
        with pytest.raises(BadInput, match=rf"layer 'layer3\.0\.conv1' differs: .* found {found}"):
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


def test_wrong_experts_and_models():
    model, _ = adapted("resnet18")
    for wrong in (-1, 3, "1"):
        with pytest.raises(BadInput, match="merge: expected an expert from 0 to 2, found"):
            merge(model, wrong)
        with pytest.raises(BadInput, match="expected an expert from 0 to 2"):
            export(model, wrong)
    with pytest.raises(BadInput, match="unmerge: the model is not merged"):
        unmerge(model)
    for function in (lambda m: merge(m, 0), unmerge, lambda m: export(m, 0), parameter_counts):
        with pytest.raises(BadInput, match=r"call mola\.adapt"):
            function(nn.Linear(2, 2))


def test_a_layer_under_two_names_stays_one(tmp_path):
    shared = nn.Linear(4, 4)
    model = mola.adapt(nn.ModuleDict({"a": shared, "b": nn.Sequential(shared)}), experts=2, rank=1)
    filled(model["a"])
    plain = export(model, 1)
    assert plain["a"] is plain["b"][0]
    torch.testing.assert_close(plain["a"].weight, (shared.weight + model["a"].delta()[1]).detach())
    merge(model, 1)
    torch.testing.assert_close(model["b"][0].weight, plain["a"].weight)
    unmerge(model)
    save_adapters(model, tmp_path / "a")
    other = mola.adapt(nn.ModuleDict({"a": (s := nn.Linear(4, 4)), "b": nn.Sequential(s)}), experts=2, rank=1)
    load_adapters(other, tmp_path / "a")
    assert torch.equal(other["b"][0].B, model["a"].B)
    assert parameter_counts(model).total == sum(parameter.numel() for parameter in model.parameters())


def test_parameters_are_counted_once():
    model = mola.adapt(nn.Sequential(nn.Conv2d(3, 8, 3), nn.Flatten(), nn.Linear(8, 5)), experts=4, rank=2)
    counts = parameter_counts(model)
    convolution, linear = 2 * 3 * 3 * 3 + 8 * 3 * 2 * 3, 2 * 8 + 5 * 2
    assert counts.per_expert == convolution + linear
    assert counts.adapters == 4 * (convolution + linear)
    assert counts.shared == (8 * 27 + 8) + (5 * 8 + 5)
    assert counts.total == counts.shared + counts.adapters


def test_frozen_weights_stay_frozen():
    model, _ = adapted("resnet18")
    for layer in model.modules():
        if isinstance(layer, LowRank):
            layer.weight.requires_grad_(False)
    plain = export(model.train(), 0)
    assert plain.training and not plain.layer3[0].conv1.weight.requires_grad and plain.conv1.weight.requires_grad


class Routed(nn.Module):
    def __init__(self, backbone):
        super().__init__()
        self.backbone, self.router = backbone, Router(experts=3, width=4).double()

    def forward(self, x):
        with mola.gate(self.backbone, self.router(x).softmax(1)):
            return self.backbone(x)


def test_a_router_model_is_exported_by_torch_for_any_batch():
    backbone, x = adapted("resnet18")
    routed = Routed(backbone).eval()
    sizes = ({0: torch.export.Dim("batch", min=1, max=64)},)
    program = torch.export.export(routed, (x,), dynamic_shapes=sizes, strict=False).module()
    for size in (1, 2, 5):
        other = torch.randn(size, *x.shape[1:], dtype=x.dtype)
        with torch.no_grad():
            torch.testing.assert_close(program(other), routed(other))
    assert not torch.allclose(routed(x), routed(torch.randn_like(x)))


@pytest.mark.parametrize("name", MODELS)
def test_a_router_model_runs_as_onnx(name, tmp_path):
    backbone, x = adapted(name)
    routed, x = Routed(backbone).float().eval(), x.float()
    sizes = ({0: torch.export.Dim("batch", min=1, max=64)},)
    torch.onnx.export(routed, (x,), tmp_path / "routed.onnx", dynamo=True, dynamic_shapes=sizes, verbose=False)
    session = onnxruntime.InferenceSession(tmp_path / "routed.onnx")
    for size in (1, 2, 5):
        other = torch.randn(size, *x.shape[1:])
        with torch.no_grad():
            wanted = routed(other)
        (found,) = session.run(None, {session.get_inputs()[0].name: other.numpy()})
        torch.testing.assert_close(torch.from_numpy(found), wanted, rtol=1e-3, atol=1e-4 * float(wanted.abs().max()))


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


def test_single_precision_comes_back_from_a_merge():
    model, _ = adapted("resnet18")
    model.float()
    before = {key: value.clone() for key, value in model.state_dict().items()}
    for key, value in unmerge(merge(model, 2)).state_dict().items():
        torch.testing.assert_close(value, before[key], rtol=0, atol=1e-5)


@pytest.mark.parametrize("memory_format", [torch.contiguous_format, torch.channels_last])
def test_a_merge_and_its_undoing_build_one_experts_update_in_full_precision(memory_format, monkeypatch):
    """Also in a region of autocast, and for convolutions with groups."""
    convolutions = nn.Conv2d(4, 6, 3, groups=2), nn.Conv2d(6, 4, (1, 3))
    model = mola.adapt(nn.Sequential(*convolutions, nn.Linear(3, 2)), experts=3, rank=1, factorisation="two_conv").to(
        memory_format=memory_format
    )
    layers = [filled(layer) for layer in model]
    before, deltas = [layer.weight.clone() for layer in layers], [layer.delta()[2] for layer in layers]
    monkeypatch.setattr(torch, "bmm", None)  # what all experts' updates are made with
    with torch.autocast("cpu", torch.bfloat16):
        merge(model, 2)
    for layer, weight, delta in zip(layers, before, deltas, strict=True):
        torch.testing.assert_close(layer.weight, weight + delta, rtol=1e-6, atol=1e-6)
        assert layer.weight.stride() == weight.stride()
    with torch.autocast("cpu", torch.bfloat16):
        unmerge(model)
    for layer, weight in zip(layers, before, strict=True):
        torch.testing.assert_close(layer.weight, weight, rtol=1e-6, atol=1e-6)


def test_a_weight_of_two_layers_is_refused():
    tied = nn.Sequential(nn.Linear(4, 4), nn.Linear(4, 4))
    tied[1].weight = tied[0].weight
    with pytest.raises(BadInput, match="layer '0' shares its weight with another layer"):
        mola.adapt(tied, experts=2, rank=1)


def test_others_may_read_the_file_as_the_umask_says(tmp_path):
    model, _ = adapted("vit")
    save_adapters(model, tmp_path / "file")
    (tmp_path / "plain").write_bytes(b"")
    assert (tmp_path / "file").stat().st_mode == (tmp_path / "plain").stat().st_mode
