"""``mola bench layers|step|data|checkpoint``: rows, settings and messages; no times are asserted."""

import json
from functools import partialmethod

import pytest
import torch
from torch import nn

from mola.bench.workloads import Setting, workload

LAYERS = ["plain", "grad E=2", "router E=2"]
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
    assert rows.keys() == {"plain", *gates, *(f"router E=2{plan}" for plan in ("", " factored", " stacked", " merged"))}
    assert all(row["time"] > 0 and row["memory"] > 0 and row["images_per_second"] > 0 for row in rows.values())
    assert rows["router E=2 stacked"]["memory"] > rows["router E=2 factored"]["memory"]
    assert rows["router E=2 stacked"]["flops"] > rows["router E=2 factored"]["flops"] > 1
    assert len(capsys.readouterr().out.strip().splitlines()) == 1 + len(rows)


def test_the_step_table(bench, capsys):
    bench("step", "--model", "resnet18", "--batch", "4", "--size", "32", "--repeats", "1", "-t", "2")
    lines = capsys.readouterr().out.strip().splitlines()
    names = ["plain step", "MoLA-Grad step", "MoLA-Router step", "MoLA-Router step, small router"]
    parts = ["router network", "small router network", "TwD, B = 256"]
    assert [line.split("  ")[0] for line in lines[1:]] == names + parts


def test_the_data_table_and_its_json(tmp_path, bench, capsys, suite_file):
    path = tmp_path / "rates.json"
    bench("data", "-c", str(suite_file()), "--repeats", "1", "--json", str(path))
    rates = json.loads(path.read_text())["images_per_second"]
    assert rates.keys() == {"loader", "one_by_one", "step", "training"} and min(rates.values()) > 0
    last = f"the loader gives {rates['loader'] / rates['step']:.1f} times what the step needs"
    assert capsys.readouterr().out.strip().endswith(last)


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
    assert len(graphs) >= len(names)


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
        (["layers", "--model", "vgg"], "expected resnet50, resnet18, vit_tiny, resnet26_gn, vit_small, found 'vgg'"),
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
