"""What other libraries and torch's own tools do to adapted layers: right, or refused in one line."""

import copy

import pytest
import timm
import torch
from networks import MIXED, convolutions, live
from reference import filled
from timm.utils import reparameterize_model
from torch import nn
from torch.nn.utils import fuse_conv_bn_eval, parametrizations, prune, weight_norm
from torch.optim.swa_utils import AveragedModel

import mola
from mola.layers.adapter import LowRank
from mola.types import BadInput


def linear(**how):
    model = mola.adapt(nn.Sequential(nn.Linear(4, 5)), **{"experts": 3, "rank": 2, **how})
    filled(model[0])
    return model


@pytest.mark.parametrize(
    "change",
    [
        lambda layer: prune.l1_unstructured(layer, "weight", 0.5),
        lambda layer: prune.l1_unstructured(layer, "A", 0.5),
        lambda layer: weight_norm(layer),
        lambda layer: parametrizations.weight_norm(layer),
        lambda layer: parametrizations.spectral_norm(layer),
        lambda layer: parametrizations.orthogonal(layer, "B"),
    ],
    ids=["pruned", "pruned adapters", "weight_norm", "new weight_norm", "spectral_norm", "orthogonal adapters"],
)
def test_what_computes_a_weight_stays_in_force_and_is_not_merged(change):
    model, x = linear(), torch.randn(6, 4)
    change(model[0])
    model.eval()
    layer = model[0]
    with mola.gate(model, MIXED):
        y = model(x)
    whole = layer.weight + layer.delta()
    torch.testing.assert_close(y, torch.stack([whole[e] @ row for e, row in zip(MIXED, x, strict=True)]) + layer.bias)
    for function in (lambda: mola.merge(model, 1), lambda: mola.export(model, 1), lambda: mola.unadapt(model)):
        with pytest.raises(BadInput, match=r"(weight|A|B) of layer '0' is computed by something else"):
            function()
    with mola.gate(model, MIXED):
        torch.testing.assert_close(model(x), y)


def test_permanent_pruning_is_merged():
    model = linear()
    prune.l1_unstructured(model[0], "weight", 0.5)
    prune.remove(model[0], "weight")
    x = torch.randn(6, 4)
    with mola.gate(model, torch.ones(6, dtype=torch.int64)):
        expected = model(x)
    torch.testing.assert_close(mola.export(model, 1)(x), expected)


def test_folding_batch_norm_is_refused_and_right_after_export():
    model = live(mola.adapt(nn.Sequential(nn.Conv2d(3, 8, 3, bias=False), nn.BatchNorm2d(8)), experts=3, rank=2)).eval()
    nn.init.uniform_(model[1].running_var, 0.1, 0.3)
    with pytest.raises(BadInput, match="weight: expected no other weight for an adapted LowRankConv2d"):
        fuse_conv_bn_eval(model[0], model[1])
    x, plain = torch.randn(2, 3, 6, 6).double(), mola.export(model, 1)
    torch.testing.assert_close(fuse_conv_bn_eval(plain[0], plain[1])(x), plain(x))
    with pytest.raises(BadInput, match="change it in place"):
        model[0].weight = nn.Parameter(torch.zeros_like(model[0].weight))
    same = model[0].weight
    with torch.no_grad():
        model[0].weight.zero_()
    assert model[0].weight is same


@pytest.mark.parametrize("name", ["repvgg_a0", "fastvit_t8"])
def test_reparameterising_is_refused_and_right_after_export(name):
    model = timm.create_model(name, num_classes=3).eval()
    mola.adapt(model, experts=2, rank=1, where=r"stages?\.?1?.*\.1\..*conv.*", factorisation="two_conv")
    layers = [module for module in model.modules() if isinstance(module, LowRank)]
    for layer in layers:
        nn.init.normal_(layer.B, std=0.01)
    for candidate in (model, copy.deepcopy(model)):
        with pytest.raises(BadInput, match=r"this \w+ has adapted layers, whose adapters would be lost; export"):
            reparameterize_model(candidate)
    plain, x = mola.export(model, 1), torch.randn(1, 3, 64, 64)
    with torch.no_grad():
        torch.testing.assert_close(reparameterize_model(plain)(x), plain(x), rtol=1e-3, atol=1e-3)


def test_weights_of_two_owners_are_refused():
    model = nn.ModuleDict({"embedding": nn.Embedding(7, 4), "head": nn.Linear(4, 7, bias=False)})
    model["head"].weight = model["embedding"].weight
    with pytest.raises(BadInput, match="layer 'head' shares its weight with another layer, 'embedding'"):
        mola.adapt(model, experts=2, rank=1, where="head")
    assert not any(isinstance(module, LowRank) for module in model.modules())


@pytest.mark.parametrize(
    "other", [nn.ConvTranspose2d(4, 4, 3), nn.Conv1d(4, 4, 3), nn.Conv3d(4, 4, 3), nn.Bilinear(4, 4, 4)]
)
def test_kinds_that_cannot_be_adapted_are_named(other):
    model = nn.ModuleDict({"first": nn.Conv2d(4, 4, 3), "other": other})
    with pytest.raises(BadInput, match=f"layer 'other' is a {type(other).__name__}; only Conv2d and Linear"):
        mola.adapt(model, experts=2, rank=1)
    assert isinstance(mola.adapt(model, experts=2, rank=1, where="first")["first"], LowRank)


@pytest.mark.parametrize("dtype", [torch.complex64, torch.complex128])
def test_complex_numbers_are_refused(dtype):
    with pytest.raises(BadInput, match="expected a weight of real floating-point numbers, found complex"):
        mola.adapt(nn.Sequential(nn.Linear(4, 4, dtype=dtype)), experts=2, rank=1)


@pytest.mark.parametrize("kind", [lambda: nn.Linear(16, 8), lambda: nn.Conv2d(16, 8, 3)])
def test_deferred_initialisation(kind):
    with torch.device("meta"):
        model = mola.adapt(nn.Sequential(kind()), experts=3, rank=2)
    model.to_empty(device="cpu")
    layer = model[0]
    for parameter in model.parameters():
        nn.init.constant_(parameter, float("nan"))
    for module in model.modules():
        if hasattr(module, "reset_parameters"):
            module.reset_parameters()
    assert torch.equal(layer.B, torch.zeros_like(layer.B))
    bound = layer.A.shape[2] ** -0.5
    assert 0.8 * bound < layer.A.abs().max() <= bound
    assert all(parameter.isfinite().all() for parameter in model.parameters())


@pytest.mark.parametrize("base", [torch.bfloat16, torch.float16])
def test_adapters_of_another_precision_merge_and_come_off_exactly(base):
    model = mola.adapt(nn.Sequential(nn.Linear(8, 8), nn.Linear(8, 8)), experts=2, rank=2)
    for layer in model:
        filled(layer)
        layer.weight.data = layer.weight.data.to(base)
        layer.bias.data = layer.bias.data.to(base)
    before = [layer.weight.detach().clone() for layer in model]
    expected = [(layer.weight.float() + layer.delta()[1]).to(base) for layer in model]
    mola.merge(model, 1)
    for layer, one, other in zip(model, expected, before, strict=True):
        torch.testing.assert_close(layer.weight, one)
        assert layer.weight.dtype == base and not torch.equal(layer.weight, other)
    for layer, one in zip(mola.unmerge(model), before, strict=True):
        assert torch.equal(layer.weight, one)


def test_a_merge_that_fails_changes_nothing():
    model = mola.adapt(nn.Sequential(nn.Linear(8, 8), nn.Linear(8, 8)), experts=2, rank=2)
    before = {key: value.clone() for key, value in model.state_dict().items()}
    model[1].B.data = model[1].B.data[:, :4]
    with pytest.raises(RuntimeError):
        mola.merge(model, 1)
    assert model[0].merged is None and torch.equal(model[0].weight, before["0.weight"])


def test_a_merged_model_takes_no_other_weights():
    model = linear()
    state = {key: value.clone() for key, value in model.state_dict().items()}
    mola.merge(model, 1)
    with pytest.raises(BadInput, match="load_state_dict: the model is merged"):
        model.load_state_dict(state)
    mola.unmerge(model)
    assert all(torch.equal(value, state[key]) for key, value in model.state_dict().items())
    mola.merge(model, 1)
    with torch.no_grad():
        model[0].weight.mul_(1.5)
    with pytest.raises(BadInput, match="weights of layer '0' were changed since the merge"):
        mola.unmerge(model)


def test_a_copy_of_a_merged_model_unmerges():
    model = linear()
    weight = model[0].weight.detach().clone()
    assert torch.equal(mola.unmerge(copy.deepcopy(mola.merge(model, 2)))[0].weight, weight)


@pytest.mark.parametrize(
    "wrap",
    [
        lambda model: torch.compile(model, backend="eager"),
        AveragedModel,
        nn.DataParallel,
        lambda model: AveragedModel(torch.compile(model, backend="eager")),
        lambda model: nn.Sequential(torch.compile(model[0], backend="eager")),
    ],
    ids=["compiled", "averaged", "DataParallel", "averaged of compiled", "compiled inside"],
)
def test_adapters_of_wrapped_models_have_plain_names(wrap, tmp_path):
    model, x = linear(), torch.randn(6, 4)
    with mola.gate(model, MIXED):
        expected = model(x)
    mola.save_adapters(wrap(copy.deepcopy(model)), tmp_path / "a", shared=True)
    for target in (nn.Sequential(nn.Linear(4, 5)), linear(), wrap(linear())):
        loaded = mola.load_adapters(target, tmp_path / "a")
        assert loaded is target
        inner = [module for module in loaded.modules() if isinstance(module, LowRank)]
        assert torch.equal(inner[0].A, model[0].A) and torch.equal(inner[0].weight, model[0].weight)
    with mola.gate(loaded, MIXED):
        torch.testing.assert_close(loaded(x), expected)


class Gated(nn.Module):
    """A model that takes the weights of the experts as an input."""

    def __init__(self, model):
        super().__init__()
        self.model = model

    def forward(self, x, gate):
        with mola.gate(self.model, gate):
            return self.model(x)


def test_tracing_keeps_the_adapters_and_refuses_indices(tmp_path):
    model = Gated(live(mola.adapt(convolutions(), experts=3, rank=2)).float()).eval()
    x, gate = torch.randn(6, 4, 9, 9), torch.rand(6, 3)
    with torch.no_grad():
        traced = torch.jit.trace(model, (torch.randn(6, 4, 9, 9), torch.rand(6, 3)))
        expected = model(x, gate)
        torch.testing.assert_close(traced(x, gate), expected, rtol=1e-3, atol=1e-4)
        one_hot = nn.functional.one_hot(MIXED, 3).float()
        torch.testing.assert_close(traced(x, one_hot), model(x, MIXED), rtol=1e-3, atol=1e-4)
        with pytest.raises(BadInput, match="tracing would freeze the indices; trace with weights"):
            torch.jit.trace(model, (x, MIXED))


@pytest.mark.parametrize(
    "arguments",
    [
        {"alpha": float("nan")},
        {"alpha": 0},
        {"alpha": -1.0},
        {"alpha": "16"},
        {"alpha": True},
        {"experts": True},
        {"experts": "4"},
        {"experts": []},
        {"experts": ["a", "a"]},
        {"rank": True},
        {"where": [1]},
        {"where": ["0", "("]},
        {"where": ["7"]},
    ],
    ids=str,
)
def test_arguments_of_other_kinds_are_one_line(arguments):
    model = nn.Sequential(nn.Linear(4, 5))
    with pytest.raises(BadInput, match=f"^{next(iter(arguments))}: ") as error:
        mola.adapt(model, **{"experts": 3, "rank": 2, **arguments})
    assert "\n" not in str(error.value)
    assert type(model[0]) is nn.Linear


def test_where_takes_a_list():
    model = mola.adapt(nn.Sequential(*(nn.Linear(4, 4) for _ in range(4))), experts=2, rank=1, where=["0", "[23]"])
    assert [isinstance(layer, LowRank) for layer in model] == [True, False, True, True]
