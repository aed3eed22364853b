"""``mola bench layers|step|data|checkpoint``: rows, settings and messages; no times are asserted."""

import json
import re
from functools import partialmethod

import pytest
import torch
from torch import nn

import mola
from mola.bench import layers
from mola.bench.lookup import workload
from mola.bench.page import page
from mola.bench.timm_models import pattern
from mola.bench.workloads import Setting
from mola.layers.adapter import adapted_layers
from mola.layers.plans import fused

LAYERS = ["plain", "grad E=2", "sorted E=2", "router E=2"]
HALF, LAST = ("--precision", "bf16"), ("--channels-last",)


def test_the_layers_table_and_its_json(tmp_path, bench, capsys):
    path = tmp_path / "rows.json"
    small = ("--model", "resnet18", "--batch", "2", "--size", "32", "--repeats", "1")
    bench("layers", *small, "-e", "2", "--plans", "--json", str(path))
    content = json.loads(path.read_text())
    assert content["versions"]["torch"] == torch.__version__ and content["workload"]["batch"] == 2
    assert content["thresholds"] == []
    rows = {row["name"]: row for row in content["rows"]}
    gates = {f"grad E=2{plan}" for plan in ("", " grouped", " separate", " stacked", " merged")}
    assert rows.keys() == {
        "plain",
        "sorted E=2",
        *gates,
        *(f"router E=2{plan}" for plan in ("", " factored", " stacked", " merged")),
    }
    assert all(row["time"] > 0 and row["memory"] > 0 and row["images_per_second"] > 0 for row in rows.values())
    assert rows["router E=2 stacked"]["memory"] > rows["router E=2 factored"]["memory"]
    assert rows["router E=2 stacked"]["flops"] > rows["router E=2 factored"]["flops"] > 1
    assert len(capsys.readouterr().out.strip().splitlines()) == 1 + len(rows)


def test_the_fused_plan_is_timed_on_a_gpu_in_the_layers_that_take_it(monkeypatch):
    cuda = torch.device("cuda")
    assert "fused" not in layers._plans("router", torch.device("cpu"))
    monkeypatch.setattr(fused, "unavailable", lambda device: None)
    assert layers._plans("router", cuda) == ("factored", "stacked", "merged", "fused")
    assert "fused" not in layers._plans("grad", cuda) + layers._plans("router", torch.device("cpu"))

    monkeypatch.setattr(layers, "_plans", lambda name, device: ("fused",))
    bottleneck = {"layer3.0.conv1": "fused", "layer3.0.conv2": None, "layer3.0.conv3": "fused"}
    for model, expected in (("test_resnet", bottleneck), ("resnet18", {})):
        works = layers.entries(workload(model, 2, 32, r"layer3\.0\.conv\d", 4), Setting(), [2], True, ["router"])
        assert works.keys() == {"plain", "router E=2", *(["router E=2 fused"] if expected else [])}
        if expected:
            adapted = adapted_layers(works["router E=2 fused"].model)
            assert {name: layer.plan for name, layer in adapted.items()} == expected


def test_the_step_table(bench, capsys):
    bench("step", "--model", "resnet18", "--batch", "4", "--size", "32", "--repeats", "1", "-t", "2")
    lines = capsys.readouterr().out.strip().splitlines()
    names = ["plain step", "MoLA-Grad step", "MoLA-Router step", "MoLA-Router step, small router"]
    parts = ["router network", "small router network", "TwD, B = 256"]
    assert [line.split("  ")[0] for line in lines[1:]] == names + parts


def test_the_data_table_and_its_json(tmp_path, bench, capsys, suite_file):
    path = tmp_path / "rates.json"
    bench("data", "-c", str(suite_file()), "--repeats", "1", "--tera", "2", "--json", str(path))
    content = json.loads(path.read_text())
    rates = content["images_per_second"]
    assert rates.keys() == {"loader", "one_by_one", "step", "training"} and min(rates.values()) > 0
    lines = capsys.readouterr().out.strip().splitlines()
    supply = rates["loader"] / rates["step"]
    verdict = "met" if supply >= 1 else "MISSED"
    assert lines[-2] == f"the loader gives {supply:.1f} times what the step needs, threshold 1.0 {verdict}"
    assert f"2·10¹² a second needs {2e12 / content['flops']:.0f} images/s" in lines[-1]
    assert [f"- {line}" for line in lines[-2:]] == page([path]).splitlines()[-2:]


def test_any_timm_model_at_its_own_size(tmp_path, bench, capsys, quick_peak):
    path = tmp_path / "rows.json"
    words = ["--model", "test_vit", "--batch", "2", "-e", "2", "-e", "3", "--gate", "all", "--repeats", "1"]
    bench("layers", *words, "--json", str(path))
    content = json.loads(path.read_text())
    gates = ("grad", "sorted", "router", "top2", "two_conv")
    assert [row["name"] for row in content["rows"]] == ["plain", *(f"{g} E={e}" for e in (2, 3) for g in gates)]
    workload = content["workload"]
    assert (workload["model"], workload["batch"], workload["size"], workload["rank"]) == ("test_vit", 2, 160, 4)
    assert "| two_conv E=3 |" in page([path])


def test_adapters_go_where_they_fit(bench):
    """Swin and MobileViT merge samples with positions, where a gate of one entry for each sample says nothing."""
    for name in ("test_vit", "test_efficientnet", "test_resnet", "test_convnext", "mobilevit_xxs"):
        work = workload(name, 2, 64)
        model = mola.adapt(work.plain(3), experts=2, **work.adapters)
        with mola.gate(model, torch.tensor([1, 0])):
            assert model(torch.randn(2, 3, 64, 64)).shape == (2, 3)
    adapted = adapted_layers(model)
    assert "final_conv.conv" in adapted
    assert not any("transformer" in layer or layer.startswith("head") for layer in adapted)


def test_a_pattern_matches_the_names_and_no_other():
    names = ["a.0.fc1", "a.1.fc1", "a.0.proj", "b.2"]
    assert pattern(["a.0.fc1", "a.1.fc1"], names) == r"a\.\d+\.fc\d+"
    chosen = pattern(["a.0.fc1", "b.2"], names)
    assert [name for name in names if re.fullmatch(chosen, name)] == ["a.0.fc1", "b.2"]


def test_the_cost_of_a_checkpoint(bench, capsys, suite_file, tmp_path):
    bench("checkpoint", "-c", str(suite_file()), "--repeats", "1")
    size, between, share = capsys.readouterr().out.strip().splitlines()
    # weights, two moments of each and the best weights; 0.38 million of four bytes
    assert 4 * 4 * 0.37 < float(size.split()[1]) < 4 * 4 * 0.45
    assert between == "at most one in 300.0 s, and after epochs at most 1%"
    assert share.startswith("costs at most ") and not (tmp_path / "results").exists()


@pytest.mark.parametrize("words", [HALF, LAST, HALF + LAST], ids=" ".join)
def test_layers_in_half_precision_and_channels_last(rows_of, words):
    setting, names = rows_of("layers", "-e", "2", *words)
    assert names == LAYERS
    assert setting["precision"] == ("bf16" if "bf16" in words else "fp32")
    assert setting["channels_last"] == ("--channels-last" in words)


def test_layers_compiled(rows_of, monkeypatch):
    graphs = []

    def backend(graph, inputs):
        graphs.append(graph)
        return graph.forward

    monkeypatch.setattr(nn.Module, "compile", partialmethod(nn.Module.compile, backend=backend))
    setting, names = rows_of("layers", "-e", "2", "--compile", *HALF, *LAST)
    assert names == LAYERS and setting["compiled"]
    # a graph serves every order of the samples
    assert len(graphs) >= len(names) - 1


def test_a_step_in_half_precision_and_channels_last(rows_of):
    setting, names = rows_of("step", "-t", "2", *HALF, *LAST)
    assert len(names) == 7 and setting["precision"] == "bf16" and setting["channels_last"]


def test_a_setting_does_what_it_says(small):
    setting = Setting(precision="bf16", channels_last=True)
    x, model = setting.images(small), setting.place(small.plain(5))
    for tensor in (x, model[0].weight):
        assert tensor.is_contiguous(memory_format=torch.channels_last) and tensor.dtype == torch.float32
    with setting.running():
        y = model(x)
    assert y.dtype == torch.bfloat16 and y.shape == (4, 5)


def test_a_transformer_is_built_for_the_size_of_its_images():
    assert workload("vit_small", 1, 32).plain(3)(torch.zeros(1, 3, 32, 32)).shape == (1, 3)


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (
            ["layers", "--model", "test_rsenet"],
            "resnet26_gn, vit_small, found 'test_rsenet', did you mean 'test_resnet'?",
        ),
        (["layers", "--model", "test_resnet", "--batch", "1", "--size", "8"], "--batch, --size: expected images that"),
        (
            ["layers", "--model", "test_vit", "--rank", "99"],
            "--rank: expected one that fits a layer of test_vit, found 99",
        ),
        (
            ["layers", "--model", "test_vit", "--where", "head."],
            "where: 'head.' matches no convolution or linear layer",
        ),
        (
            ["layers", "--model", "test_vit", "--gate", "top3"],
            "router, top2, two_conv or all, found 'top3', did you mean",
        ),
        (["layers", "--model", "test_vit", "--gate", "top2", "-e", "1"], "at least 2 experts for top2, found -e 1"),
        (["layers", "-e", "0"], "should be greater than or equal to 1"),
        (["step", "--batch", "1", "--size", "32"], "--batch: expected at least 2"),
        (
            ["step", "--balancer", "gradvac", "-o", "beat=1"],
            "--option: expected one of beta, found 'beat', did you mean 'beta'?",
        ),
        (["step", "--balancer", "gradvac", "-o", "beta"], "--option: expected KEY=VALUE, found 'beta'"),
        (["step", "--balancer", "gradvac", "-o", "beta=2"], "gradvac.beta: should be less than or equal to 1, found 2"),
        (["step", "-o", "beta=1"], "--option: expected --balancer or --method with it, found neither"),
        (["step", "-m", "gradvac"], "unknown method 'gradvac'"),
    ],
)
def test_what_can_not_be_measured_is_one_line(words, message, bench, capsys):
    bench(*words, code=2)
    assert message in capsys.readouterr().err
