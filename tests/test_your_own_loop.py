"""The code of the page for training loops of one's own runs, and does what the page says."""

import copy

import torch
from running import code_of

import mola


def test_the_page_adapts_trains_evaluates_and_saves(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    scope: dict[str, object] = {}
    code = code_of("your-own-loop.md", "python")
    exec(code, scope)
    assert sum(bool(line.strip()) for line in code.splitlines()) <= 45
    scores = scope["scores"]
    assert scores["side"]["accuracy"] > 0.9
    assert scores["width"]["r2"] > 0.8 and scores["width"]["mean_absolute_error"] < 1, "in pixels"
    trunk, x = scope["trunk"], scope["x"]
    with torch.no_grad(), mola.gate(trunk, torch.ones(len(x), dtype=torch.int64)):
        expected = trunk(x)
    torch.testing.assert_close(scope["plain"](x), expected)
    other = copy.deepcopy(trunk)
    with torch.no_grad():
        other[2].A.zero_()
    mola.load_adapters(other, tmp_path / "adapters.safetensors")
    assert torch.equal(other[2].A, trunk[2].A)
    assert set(torch.load(tmp_path / "model.pt", weights_only=True)) == {"trunk", "heads", "balancer"}
