"""The sizes that docs/balancers.md names, measured where they can't hide: all tasks with one gradient."""

import re
from pathlib import Path

import pytest
import torch
from linear import CONFLICT, update

from mola import registry

TEXT = (Path(__file__).parents[2] / "docs" / "balancers.md").read_text()
SCALE = re.search(r"- \*\*Scale\*\*.*?(?=\n- )", TEXT, re.DOTALL)[0]
GROUPS = re.fullmatch(r"(.*)size of the sum, (.*)of the mean, (.*)of the sum of the losses'(.*)", SCALE, re.DOTALL)
SUM, MEAN, LOGARITHMS, OTHERS = (re.findall(r"`(\w+)`", part) for part in GROUPS.groups())


def test_every_balancer_has_a_scale():
    assert sorted(SUM + MEAN + LOGARITHMS + OTHERS) == sorted(registry.names("balancers"))


@pytest.mark.parametrize("name", SUM + MEAN + LOGARITHMS)
def test_of_one_gradient(name):
    """Three times g is the sum, g the mean, and with losses of 2 the sum of the logarithms 3 g / 2."""
    if name == "cagrad":
        pytest.importorskip("cvxpy")
    size = 3.0 if name in SUM else 1.0 if name in MEAN else 1.5
    size *= 1.4 if name == "cagrad" else 1.0  # 1 + c: the far end of its ball around the mean
    options = {"beta": 0.0} if name == "db_mtl" else {}  # its average starts at zero
    g = CONFLICT[0]
    torch.testing.assert_close(update(name, g.expand(3, 4), [2.0] * 3, **options), size * g, rtol=1e-5, atol=1e-5)
