"""The data path: what is made ahead, in a thread, is what would have been made one by one."""

import threading
import time
from contextlib import closing

import numpy as np
import pytest
import torch

from mola.training.loading import AHEAD, ahead, load
from mola.types import Batch

CPU = torch.device("cpu")


@pytest.mark.parametrize("split", ["train", "valid"])
def test_loaded_batches_are_the_benchmarks_normalised(digits, split):
    expected = list(digits.batches(split, size=16, seed=3, epoch=2))
    batches = list(load(digits, split, CPU, size=16, seed=3, epoch=2))
    assert len(batches) == len(expected) > AHEAD
    for ours, raw in zip(batches, expected, strict=True):
        assert raw.x.dtype == torch.uint8 and ours.x.dtype == torch.float32
        assert torch.equal(ours.task, raw.task) and ours.tasks == raw.tasks
        assert all(torch.equal(ours.y[name], raw.y[name]) for name in raw.y)
        # the formula in numpy, whose float32 division is IEEE's too
        pixels, mean, std = raw.x.numpy(), *(np.float32(v).reshape(1, 3, 1, 1) for v in (digits.mean, digits.std))
        assert np.array_equal(ours.x.numpy(), (pixels.astype(np.float32) / np.float32(255) - mean) / std)


def test_items_are_made_ahead_in_order_by_one_thread():
    makers, produced = set(), []

    def items():
        for i in range(6):
            makers.add(threading.current_thread().name)
            produced.append(i)
            yield i

    with closing(ahead(items(), 2)) as ready:
        assert next(ready) == 0
        deadline = time.monotonic() + 10
        while len(produced) < 3 and time.monotonic() < deadline:
            time.sleep(0.01)
        time.sleep(0.05)
        assert produced == [0, 1, 2]  # the one taken and two more, no further
        assert list(ready) == [1, 2, 3, 4, 5]
    assert len(makers) == 1 and threading.current_thread().name not in makers


def test_an_error_comes_in_its_items_place():
    def items():
        yield 1
        raise ValueError("damaged")

    ready = ahead(items(), 3)
    assert next(ready) == 1
    with pytest.raises(ValueError, match="damaged"):
        next(ready)
    assert _no_thread_left()


def test_a_pass_that_is_left_early_ends_its_thread(digits):
    passes = load(digits, "train", CPU, size=16)
    next(passes)
    passes.close()
    assert _no_thread_left()


def test_rows_are_a_slice_where_a_tasks_samples_follow_each_other():
    def rows(*task):
        return Batch(torch.zeros(4, 1), torch.tensor(task), {}, ("a", "b", "c")).rows("b")

    assert rows(0, 1, 1, 2) == slice(1, 3)
    assert rows(1, 0, 1, 2).tolist() == [0, 2]
    assert rows(0, 0, 2, 2).tolist() == []


def _no_thread_left() -> bool:
    return not [thread for thread in threading.enumerate() if thread.name.startswith("mola-loader")]
