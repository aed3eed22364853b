"""``mola bench compare``: the others do the same work, and what they refuse is said in their words."""

import importlib.util
import json

import pytest
import torch
from torch import nn

import mola
from mola.bench.compare import adapters, expert_loop, with_torchjd
from mola.bench.compare.adapters import parts
from mola.bench.layers import with_random_adapters
from mola.bench.lookup import workload
from mola.bench.page import page
from mola.bench.workloads import Setting

HAS_PEFT = importlib.util.find_spec("peft") is not None
TINY = ("--model", "test_vit", "--size", "32", "--batch", "4", "--repeats", "1")


@pytest.fixture
def vit():
    return workload("test_vit", 6, 32)


def test_the_tables_and_their_json(tmp_path, bench, capsys, quick_peak):
    path = tmp_path / "rows.json"
    bench("compare", *TINY, "-e", "2", "--balancer", "pcgrad", "--json", str(path))
    content = json.loads(path.read_text())
    training, inference, _ = content["parts"]
    names = [[row["name"] for row in part["rows"]] for part in content["parts"]]
    assert names[0][:3] == names[1][:3] == ["plain", "mola.adapt", "a loop over experts"]
    engines = ("ours", "TorchJD autojac", "TorchJD autogram", "TorchJD autogram by sample")
    assert names[2] == ["plain step", *(f"pcgrad, {engine}" for engine in engines)]
    out = capsys.readouterr().out
    assert all(line in out for part in content["parts"] for line in (part["title"], *part["remarks"]))
    assert content["versions"].keys() >= {"torch", "torchjd"}
    assert training["title"] in page([path]) and "| pcgrad, TorchJD autojac |" in page([path])
    if HAS_PEFT:
        assert "PEFT, adapter_names=" in names[1] and "PEFT, adapter_names=" not in names[0]
        assert any(line.startswith("PEFT, adapter_names=: refused: ValueError") for line in training["remarks"])
    else:
        line = "PEFT: not measured: mola bench compare needs peft: pip install 'mola-bench[compare]'"
        assert line in training["remarks"] and line in inference["remarks"]


@pytest.mark.parametrize("name", ["test_vit", "test_resnet"])
def test_the_loop_over_experts_computes_what_the_adapters_do(name):
    work = workload(name, 5, 32)
    torch.manual_seed(0)
    model = work.plain(3).double()
    reference = work.plain(3).double()
    reference.load_state_dict(model.state_dict())
    reference = mola.adapt(reference, experts=3, factorisation="two_conv", **work.adapters)
    with_random_adapters(reference)
    chosen = expert_loop.Chosen()
    chosen.index = torch.tensor([2, 0, 2, 0, 0])
    x = torch.randn(5, 3, 32, 32, dtype=torch.float64)
    # adapters that do nothing would agree, too
    plain = model(x)
    loop = expert_loop.looped(model, reference, chosen)
    with mola.gate(reference, chosen.index):
        expected = reference(x)
    torch.testing.assert_close(loop(x), expected)
    assert not torch.allclose(plain, expected)


class Peft(nn.Module):
    """Like PEFT's model: one that takes ``adapter_names`` where it likes to."""

    refuses = True

    def __init__(self, model, reference, experts):
        super().__init__()
        self.model = model

    def set_adapter(self, name):
        pass

    def forward(self, x, adapter_names=None):
        if adapter_names and self.training and self.refuses:
            raise ValueError("No mixed batches\nin training")
        return self.model(x)


@pytest.mark.parametrize("refuses", [True, False])
def test_a_refusal_is_found_out_by_doing_it(monkeypatch, vit, quick_peak, refuses):
    """A PEFT that takes mixed batches in training has a row there."""
    monkeypatch.setattr(adapters, "with_lora", Peft)
    monkeypatch.setattr(Peft, "refuses", refuses)
    training, inference = parts(vit, Setting(), 2, 1)
    row, line = "PEFT, adapter_names=", "PEFT, adapter_names=: refused: ValueError: No mixed batches"
    assert (row in [each.name for each in training.rows]) != refuses
    assert (line in training.remarks) == refuses
    assert row in [each.name for each in inference.rows] and line not in inference.remarks
    # it has no adapters: all that they change is missing
    assert f"{row}: outputs differ from mola.adapt's by 1e+00 of what adapters change" in inference.remarks


@pytest.mark.skipif(not HAS_PEFT, reason="needs mola-bench[compare]")
@pytest.mark.parametrize("name", ["test_vit", "test_resnet"])
def test_peft_has_the_same_adapters(name, quick_peak):
    """Outputs agree to fp32, in convolutions, too."""
    _, inference = parts(workload(name, 6, 32), Setting(), 3, 1)
    rows = ("a loop over experts", "PEFT, set_adapter in turn", "PEFT, adapter_names=")
    lines = {line.partition(":")[0]: line for line in inference.remarks}
    for row in rows:
        assert float(lines[row.partition(":")[0]].partition(" by ")[2].split()[0]) < 1e-4, lines


def test_torchjd_gives_the_same_updates(vit, quick_peak):
    """UPGrad and MGDA depend on nothing that is drawn."""
    part = with_torchjd.part(vit, Setting(), ["upgrad", "mgda"], 3, 1)
    assert len(part.rows) == 9 and len(part.remarks) == 6
    for line in part.remarks:
        assert "the update is 1 times as long as ours" in line, part.remarks
        assert float(line.rpartition(" by ")[2]) < 1e-3, line


def test_what_torchjd_refuses_is_said(quick_peak):
    part = with_torchjd.part(workload("test_resnet", 4, 32), Setting(), ["graddrop"], 2, 1)
    refused = [line for line in part.remarks if "refused" in line]
    assert len(refused) == 2 and all("TorchJD autogram" in line for line in refused)


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--balancer", "upgrat"], "found 'upgrat', did you mean 'upgrad'?"),
        (["--balancer", "db_mtl"], "--balancer: expected one of mgda, pcgrad"),
        (["-e", "5"], "--experts: expected 2 to 4, the images of a batch, found 5"),
    ],
)
def test_a_wrong_option_is_one_line(words, message, bench, capsys):
    bench("compare", *TINY, *words, code=2)
    assert message in capsys.readouterr().err
