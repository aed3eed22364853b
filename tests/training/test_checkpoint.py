"""Checkpoints of any content: the state that was saved, the one before it, or none; never another one."""

import random

import pytest
import torch
from torch import nn

from mola.training.checkpoint import Checkpoint, Position, older

MUTATIONS = 200


def mutated(content, draw):
    kind = draw.choice(["bit", "bit", "cut", "noise", "longer"])
    place = draw.randrange(len(content))
    return {
        "bit": content[:place] + bytes([content[place] ^ 1 << draw.randrange(8)]) + content[place + 1 :],
        "cut": content[:place],
        "noise": draw.randbytes(draw.randrange(200)),
        "longer": content + draw.randbytes(1 + draw.randrange(9)),
    }[kind]


@pytest.fixture
def saved(tmp_path):
    """A checkpoint, and the one before it, of weights that are all 2 and all 1."""
    layer = nn.Linear(3, 2)
    checkpoint = Checkpoint(tmp_path / "checkpoint.pt", "of this run", {"model": layer})
    for epoch in (1, 2):
        nn.init.constant_(layer.weight, epoch)
        checkpoint.save(Position(epoch), [{"epoch": epoch}])
    return checkpoint, layer


def test_no_mutation_is_a_traceback_or_another_state(saved, caplog):
    checkpoint, layer = saved
    new, old, draw = checkpoint.path.read_bytes(), older(checkpoint.path).read_bytes(), random.Random(0)
    for number in range(MUTATIONS):
        checkpoint.path.write_bytes(mutated(new, draw))
        both = number % 4 == 0
        older(checkpoint.path).write_bytes(mutated(old, draw) if both else old)
        nn.init.constant_(layer.weight, 0)
        caplog.clear()
        state = checkpoint.resume()
        if both:
            assert state is None and torch.equal(layer.weight, torch.zeros(2, 3)) and len(caplog.messages) == 2
        else:
            assert state == (Position(1), [{"epoch": 1}]) and torch.equal(layer.weight, torch.ones(2, 3))
        assert f"{checkpoint.path} is damaged (" in caplog.messages[0] and "\n" not in caplog.messages[0]
        assert not checkpoint.path.exists(), "it is not looked at again"
    checkpoint.path.write_bytes(new)
    assert checkpoint.resume() == (Position(2), [{"epoch": 2}]) and torch.equal(layer.weight, torch.full((2, 3), 2.0))
