"""An adapted model merged, exported as a plain one, and counted."""

import copy
import pickle

import onnxruntime
import pytest
import torch
from networks import MODELS, adapted, run_expert
from reference import filled
from torch import nn

import mola
from mola import export, load_adapters, merge, parameter_counts, save_adapters, unmerge
from mola.layers.adapter import LowRank
from mola.layers.router import Router
from mola.types import BadInput


@pytest.mark.parametrize("name", MODELS)
def test_merge_unmerge_and_export_are_the_gated_model(name):
    model, x = adapted(name)
    expected = [run_expert(model, x, expert) for expert in range(3)]
    assert not torch.allclose(expected[0], expected[1])
    before = {key: value.clone() for key, value in model.state_dict().items()}
    for expert in (1, 0):
        plain = export(model, expert)
        torch.testing.assert_close(plain(x), expected[expert], rtol=1e-9, atol=1e-9)
        fresh = MODELS[name][0]().double().eval()
        fresh.load_state_dict(plain.state_dict())
        torch.testing.assert_close(fresh(x), expected[expert], rtol=1e-9, atol=1e-9)
        assert [type(module) for module in plain.modules()] == [type(module) for module in fresh.modules()]
        assert not plain._forward_hooks and not plain._forward_pre_hooks
        assert all(torch.equal(value, before[key]) for key, value in model.state_dict().items())

        assert merge(model, expert) is model
        torch.testing.assert_close(model(x), expected[expert], rtol=1e-9, atol=1e-9)
        assert f"merged={expert}" in repr(model)
        torch.testing.assert_close(pickle.loads(pickle.dumps(copy.deepcopy(model)))(x), model(x))
        with pytest.raises(BadInput, match=f"gate: the model is merged with expert {expert}; unmerge it first"):
            run_expert(model, x, expert)
        with pytest.raises(BadInput, match=f"merge: the model is merged with expert {expert}"):
            merge(model, 2)
        unmerge(model)
        assert all(torch.equal(value, before[key]) for key, value in model.state_dict().items())
    torch.testing.assert_close(run_expert(model, x, 2), expected[2])


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
            expected = routed(other)
        (actual,) = session.run(None, {session.get_inputs()[0].name: other.numpy()})
        torch.testing.assert_close(
            torch.from_numpy(actual), expected, rtol=1e-3, atol=1e-4 * float(expected.abs().max())
        )


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


@pytest.mark.parametrize("name", MODELS)
def test_a_mixture_of_experts_merges(name):
    model, x = adapted(name)
    weights = torch.tensor([0.7, -0.4, 1.5], dtype=torch.float64)
    with torch.no_grad(), mola.gate(model, weights.expand(len(x), 3)):
        expected = model(x)
    for given in (weights, weights.tolist()):
        torch.testing.assert_close(export(model, given)(x), expected, rtol=1e-9, atol=1e-9)
    merge(model, weights)
    torch.testing.assert_close(model(x), expected, rtol=1e-9, atol=1e-9)
    with pytest.raises(BadInput, match=r"merge: the model is merged with expert weights \[0\.7, -0\.4, 1\.5\]"):
        merge(model, 0)
    unmerge(model)
    for wrong in ([0.5, 0.5], [float("nan"), 0, 1], ["a", "b", "c"], torch.ones(3, 1), None):
        with pytest.raises(BadInput, match="merge: expected an expert from 0 to 2, or 3 finite weights, found"):
            merge(model, wrong)


@pytest.mark.parametrize("name", MODELS)
def test_unadapt_is_the_model_before(name):
    model, x = adapted(name)
    expected = [run_expert(model, x, expert) for expert in range(3)]
    plain = {key: value for key, value in model.state_dict().items() if not key.endswith((".A", ".B"))}
    for expert in (None, 1):
        twin = copy.deepcopy(model)
        assert mola.unadapt(twin, expert) is twin
        fresh = MODELS[name][0]().double().eval()
        assert [type(module) for module in twin.modules()] == [type(module) for module in fresh.modules()]
        if expert is None:
            assert all(torch.equal(value, plain[key]) for key, value in twin.state_dict().items())
        else:
            torch.testing.assert_close(twin(x), expected[expert], rtol=1e-9, atol=1e-9)
    merged = merge(copy.deepcopy(model), 2)
    state = mola.unadapt(merged).state_dict()
    assert all(torch.equal(value, plain[key]) for key, value in state.items())


def test_parts_of_a_model_learn():
    model, x = adapted("resnet18")
    names = {part: set() for part in ("adapters", "shared", "all")}
    for part, learning in names.items():
        parameters = mola.trainable(model, part)
        learning |= {name for name, parameter in model.named_parameters() if parameter.requires_grad}
        assert len(parameters) == len(learning)
    assert names["adapters"] and all(name.endswith((".A", ".B")) for name in names["adapters"])
    assert names["adapters"] | names["shared"] == names["all"] and not names["adapters"] & names["shared"]
    mola.trainable(model, "adapters")
    with mola.gate(model, torch.zeros(len(x), dtype=torch.int64)):
        model(x).sum().backward()
    assert {name for name, p in model.named_parameters() if p.grad is not None} == names["adapters"]
    with pytest.raises(BadInput, match="trainable: expected all, adapters, shared, found 'experts'"):
        mola.trainable(model, "experts")
