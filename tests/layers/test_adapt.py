import copy

import pytest
import timm
import torch
from reference import filled
from torch import nn

import mola
from mola.layers.adapter import LowRank, LowRankConv2d
from mola.layers.router import Router
from mola.types import BadInput

FAMILIES = {
    "resnet18": r"layer[2-4]\..*(conv\d|downsample\.0)",
    "vit_tiny_patch16_224": r"blocks\..*(qkv|proj|fc1|fc2)",
    "convnext_atto": r"stages\..*mlp\.fc\d",
    "tf_efficientnet_lite0": r"blocks\..*conv_pwl?",
    "mobilenetv3_small_050": r"blocks\..*conv_pwl",
    "regnetx_002": r"s[1-4]\..*conv1\.conv",
    "densenet121": r"features\.denseblock[34]\..*conv\d",
    "mixer_s32_224": r"blocks\..*fc\d",
    "poolformer_s12": r"stages\..*mlp\.fc\d",
    "pvt_v2_b0": r"stages\..*(q|kv|proj|fc1|fc2)",
}


def images(name, size):
    return torch.randn(size, 3, *((224, 224) if name.endswith("224") else (64, 64)))


@pytest.mark.parametrize("name", FAMILIES)
def test_a_frozen_timm_model_changes_through_its_adapters_alone(name):
    model = timm.create_model(name, num_classes=0)
    for parameter in model.parameters():  # timm starts some scales near 0, which would hide the adapters behind them
        if parameter.abs().max() < 1e-4:
            nn.init.normal_(parameter, std=0.5)
    plain = copy.deepcopy(model).eval()
    mola.adapt(model.eval(), experts=3, rank=2, where=FAMILIES[name])
    layers = [module for module in model.modules() if isinstance(module, LowRank)]
    adapters = [parameter for layer in layers for parameter in (layer.A, layer.B)]
    model.requires_grad_(False)
    for parameter in adapters:
        parameter.requires_grad_(True)

    x, gates = images(name, 3), (torch.tensor([0, 2, 1]), torch.rand(3, 3))
    for gate in gates:  # B = 0
        with mola.gate(model, gate):
            torch.testing.assert_close(model(x), plain(x), rtol=1e-4, atol=1e-4)
    optimizer = torch.optim.Adam(model.parameters(), 1e-3)
    before = [parameter.clone() for parameter in adapters]
    for _ in range(2):  # in the first step A gets no gradient: B is 0
        for gate in gates:
            with mola.gate(model, gate):
                model(x).square().sum().backward()
        optimizer.step()
    assert layers and not any(torch.equal(old, new) for old, new in zip(before, adapters, strict=True))
    for gate in gates:
        with mola.gate(model, gate), torch.no_grad():
            assert not torch.allclose(model(x), plain(x), rtol=1e-4, atol=1e-4)

    kept = model.state_dict()
    assert all(torch.equal(kept[key], value) for key, value in plain.state_dict().items())
    for layer in layers:
        nn.init.zeros_(layer.B)
    with mola.gate(model, gates[0]), torch.no_grad():
        torch.testing.assert_close(model(x), plain(x), rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("gate", [torch.tensor([1, 0, 1]), torch.rand(3, 2)], ids=["index", "weights"])
def test_a_whole_network_is_its_merged_self(gate):
    """ResNet with live residual branches and BatchNorm statistics, in fp64."""
    model = timm.create_model("resnet18", num_classes=0, zero_init_last=False).double().eval()
    for module in model.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.running_mean.normal_(std=0.1)
            module.running_var.uniform_(0.5, 1.5)
    mola.adapt(model, experts=2, rank=3, where=r"layer\d\..*conv\d")
    layers = {name: filled(m) for name, m in model.named_modules() if isinstance(m, LowRankConv2d)}
    assert len(layers) == 16
    x = torch.randn(3, 3, 40, 40, dtype=torch.float64)
    with mola.gate(model, gate if not gate.is_floating_point() else gate.double()):
        together = model(x)
    weights = gate.double() if gate.is_floating_point() else nn.functional.one_hot(gate, 2).double()
    for row in range(3):
        merged = timm.create_model("resnet18", num_classes=0).double().eval()
        state = {k: v for k, v in model.state_dict().items() if not k.endswith((".A", ".B"))}
        for name, layer in layers.items():
            state[f"{name}.weight"] = layer.weight + torch.einsum("e,e...->...", weights[row], layer.delta())
        merged.load_state_dict(state)
        torch.testing.assert_close(together[row : row + 1], merged(x[row : row + 1]), rtol=1e-9, atol=1e-9)


def test_timms_padding_by_input_size_is_kept():
    from timm.layers import Conv2dSame

    conv = Conv2dSame(4, 6, 3, stride=2)
    for size in (7, 8, 9):
        x = torch.randn(2, 4, size, size + 1)
        expected = conv(x)
        model = mola.adapt(nn.Sequential(Conv2dSame(4, 6, 3, stride=2)), experts=2, rank=2)
        model[0].load_state_dict({**model[0].state_dict(), **conv.state_dict()})
        for gate in (torch.tensor([0, 1]), torch.rand(2, 2)):
            with mola.gate(model, gate):
                torch.testing.assert_close(model(x), expected)


def test_rank_by_pattern_and_reported_size(caplog):
    model = timm.create_model("resnet18", num_classes=0)
    with caplog.at_level("INFO", logger="mola"):
        mola.adapt(model, experts=2, rank={r"layer4\..*": 8, r".*": 2}, where=r"layer[34]\..*conv\d")
    ranks = {name: m.rank for name, m in model.named_modules() if isinstance(m, LowRank)}
    assert {rank for name, rank in ranks.items() if name.startswith("layer4")} == {8}
    assert {rank for name, rank in ranks.items() if name.startswith("layer3")} == {2}
    assert len(ranks) == 8
    added = sum(m.A.numel() + m.B.numel() for m in model.modules() if isinstance(m, LowRank))
    assert f"adapted 8 layers with 2 experts of rank 2, 8: {added} parameters added" in caplog.text


@pytest.mark.parametrize(
    ("how", "message"),
    [
        ({"where": "nowhere"}, r"where: 'nowhere' matches no .* the model has conv1"),
        ({"where": "layer1"}, "matches no"),  # the whole name must match
        ({"where": "("}, "where: '\\(' is no regular expression"),
        ({"rank": 65, "where": r"layer1\..*conv\d"}, r"rank: layer 'layer1\.0\.conv1' allows 1 to 64, found 65"),
        ({"rank": 0, "where": r"layer1\..*conv\d"}, "allows 1 to 64, found 0"),
        ({"rank": {"layer9": 2}, "where": r"layer1\..*conv\d"}, r"rank: no pattern matches layer 'layer1\.0\.conv1'"),
        ({"experts": 0}, "experts: expected at least 1, found 0"),
        ({"factorisation": "svd"}, "factorisation: expected loralib or two_conv, found 'svd'"),
    ],
)
def test_what_is_refused_changes_nothing(how, message):
    model = timm.create_model("resnet18", num_classes=0)
    with pytest.raises(BadInput, match=message) as caught:
        mola.adapt(model, **({"experts": 2, "rank": 2} | how))
    assert "\n" not in str(caught.value)
    assert not any(isinstance(module, LowRank) for module in model.modules())


def test_layers_that_cannot_be_exact_are_named():
    class Odd(nn.Conv2d):
        pass

    with pytest.raises(BadInput, match=r"layer '0' is a .*Odd, which"):
        mola.adapt(nn.Sequential(Odd(4, 4, 3)), experts=2, rank=1)
    spectral = nn.Sequential(nn.utils.parametrizations.weight_norm(nn.Linear(4, 4)))
    with pytest.raises(BadInput, match=r"layer '0' is a .*Parametrized"):
        mola.adapt(spectral, experts=2, rank=1, where="0")


def test_twice_is_refused():
    model = mola.adapt(nn.Sequential(nn.Linear(4, 4)), experts=2, rank=1)
    with pytest.raises(BadInput, match="has adapters already"):
        mola.adapt(model, experts=2, rank=1)


def test_router_is_the_described_network():
    router = Router(5)
    assert sum(isinstance(m, nn.Conv2d) for m in router.modules()) == 19
    assert (
        sum(p.numel() for p in router.parameters()) == 269_722 - 64 * 10 - 10 + 64 * 5 + 5
    )  # CIFAR ResNet-20's known size
    assert router(torch.randn(2, 3, 32, 32)).shape == (2, 5)
    assert Router(5, width=8, pool=2)(torch.randn(2, 3, 32, 32)).shape == (2, 5)
    assert Router(5, channels=1)(torch.randn(2, 1, 28, 28)).shape == (2, 5)
    with pytest.raises(BadInput, match="router_pool: expected no more than the images have pixels, 4×8, found 5"):
        Router(5, pool=5)(torch.zeros(2, 3, 4, 8))


@pytest.mark.parametrize(
    ("make", "where"),
    [
        (lambda: timm.create_model("beit_base_patch16_224", num_classes=0, depth=1), r"blocks\.0\.attn\.qkv"),
        (lambda: nn.Sequential(nn.TransformerEncoderLayer(8, 2, 16, batch_first=True)), r"0\.linear1"),
    ],
    ids=["beit", "torch"],
)
def test_layers_whose_weight_is_used_past_them_are_named(make, where):
    """Their adapters would have no effect, silently."""
    model = make()
    with pytest.raises(BadInput, match=f"layer '{where}' can't be adapted: .* reads its weight"):
        mola.adapt(model, experts=2, rank=2, where=where)
    assert not any(isinstance(module, LowRank) for module in model.modules())


def test_a_layer_used_under_two_names_is_adapted_under_both():
    shared = nn.Linear(4, 4)
    model = mola.adapt(nn.Sequential(shared, nn.ReLU(), shared), experts=2, rank=1, where="2")
    assert isinstance(model[0], LowRank) and model[0] is model[2]
    assert model[0].weight is shared.weight


def test_a_convolution_of_another_library_with_timms_name_is_not_trusted():
    namesake = type("Conv2dSame", (nn.Conv2d,), {})
    with pytest.raises(BadInput, match="Conv2dSame, which can't be adapted exactly"):
        mola.adapt(nn.Sequential(namesake(4, 4, 3)), experts=2, rank=1)


@pytest.mark.parametrize("how", [{"rank": 2.0}, {"rank": "2"}, {"experts": 2.5}])
def test_numbers_that_are_not_whole_are_refused(how):
    with pytest.raises(BadInput, match=f"found {next(iter(how.values()))!r}"):
        mola.adapt(nn.Sequential(nn.Linear(4, 4)), **({"experts": 2, "rank": 2} | how))


def test_channels_last_and_autocast():
    model = mola.adapt(nn.Sequential(nn.Conv2d(6, 8, 3, padding=1)), experts=3, rank=2)
    filled(model[0])
    x = torch.randn(4, 6, 6, 6)
    gates = (torch.tensor([2, 0, 2, 1]), torch.rand(4, 3))
    plain = []
    for gate in gates:
        with mola.gate(model, gate):
            plain.append(model(x))
    model, x = (thing.to(memory_format=torch.channels_last) for thing in (model, x))
    for gate, expected in zip(gates, plain, strict=True):
        with mola.gate(model, gate):
            torch.testing.assert_close(model(x), expected, rtol=1e-4, atol=1e-4)
            with torch.autocast("cpu", torch.bfloat16):
                half = model(x)
        assert half.dtype == torch.bfloat16
        assert (half - expected).norm() < 0.02 * expected.norm()
