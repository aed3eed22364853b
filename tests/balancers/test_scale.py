"""The sizes that balancers declare, measured where they can't hide: all tasks with one gradient."""

import re
from pathlib import Path

import pytest
import torch
from linear import CONFLICT, update

from mola import registry

BALANCERS = {name: registry.load("balancers", name) for name in registry.names("balancers")}
TEXT = (Path(__file__).parents[2] / "docs" / "balancers.md").read_text()
ROWS = re.findall(r"^\| `(\w+)` \| (\w+) \| ([^|:]+)[^|]* \|$", TEXT, re.MULTILINE)
WORDS = {"the sum": "sum", "the mean": "mean", "the sum of the logarithms": "logarithms", "its own": None}


@pytest.mark.parametrize("name", [name for name, balancer in BALANCERS.items() if balancer.size])
def test_of_one_gradient(name):
    """Three times g is the sum, g the mean, and with losses of 2 the sum of the logarithms 3 g / 2."""
    if name == "cagrad":
        pytest.importorskip("cvxpy")
    size = {"sum": 3.0, "mean": 1.0, "logarithms": 1.5}[BALANCERS[name].size]
    size *= 1.4 if name == "cagrad" else 1.0  # 1 + c: the far end of its ball around the mean
    options = {"beta": 0.0} if name == "db_mtl" else {}  # its average starts at zero
    g = CONFLICT[0]
    torch.testing.assert_close(update(name, g.expand(3, 4), [2.0] * 3, **options), size * g, rtol=1e-5, atol=1e-5)


def test_the_table_says_what_the_balancers_declare():
    assert len(ROWS) > 20
    for name, family, size in ROWS:
        balancer = BALANCERS[name]
        assert (family, WORDS[size.strip()]) == (balancer.cost, balancer.size), name
