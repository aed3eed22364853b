from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mola.data.batches.augment import shift, uniforms
from mola.data.batches.sampling import picks, steps
from mola.types import BadInput

SIZES = st.dictionaries(st.sampled_from("abcde"), st.integers(1, 40), min_size=1)


@given(SIZES, st.integers(5, 30), st.integers(0, 99), st.integers(0, 5))
def test_balanced_batches_hold_every_task_in_equal_shares(sizes, size, seed, epoch):
    batches = list(picks(sizes, size, seed, epoch, "balanced"))
    assert len(batches) == steps(sizes, size, "balanced")
    for batch in batches:
        assert list(batch) == list(sizes)
        shares = [len(rows) for rows in batch.values()]
        assert sum(shares) == size and max(shares) - min(shares) <= 1
    for name, limit in sizes.items():
        collected = np.concatenate([batch[name] for batch in batches])
        counts = np.bincount(collected, minlength=limit)
        assert len(counts) == limit and counts.max() - counts.min() <= 1  # shuffles, not draws with replacement


@given(SIZES, st.integers(1, 30), st.integers(0, 99), st.integers(0, 5))
def test_proportional_is_one_shuffle_of_the_pool(sizes, size, seed, epoch):
    batches = list(picks(sizes, size, seed, epoch, "proportional"))
    collected = [(name, row) for batch in batches for name, rows in batch.items() for row in rows.tolist()]
    assert len(set(collected)) == len(collected)
    assert all(0 <= row < sizes[name] for name, row in collected)
    whole = sum(sizes.values())
    assert len(collected) == min(whole, whole // size * size or whole)
    assert all(len(rows) for batch in batches for rows in batch.values())


@pytest.mark.parametrize("sampling", ["balanced", "proportional"])
def test_order_depends_on_seed_and_epoch_alone(sampling):
    def draw(seed, epoch):
        return [{k: v.tolist() for k, v in b.items()} for b in picks({"a": 30, "b": 20}, 8, seed, epoch, sampling)]

    assert draw(0, 0) == draw(0, 0)
    assert draw(0, 0) != draw(0, 1)
    assert draw(0, 0) != draw(1, 0)


def test_a_balanced_batch_needs_a_sample_per_task():
    with pytest.raises(
        BadInput, match=r"training\.batch_size: expected at least one sample for each of 3 tasks, found 2"
    ):
        list(picks({"a": 5, "b": 5, "c": 5}, 2, 0, 0, "balanced"))


def test_augmentation_numbers_depend_on_the_sample_alone():
    table = uniforms(100, 8, seed=3, epoch=2, task="a")
    assert np.array_equal(uniforms(10, 8, seed=3, epoch=2, task="a"), table[:10])  # a limit changes nothing
    for other in ({"seed": 4}, {"epoch": 3}, {"task": "b"}):
        assert not np.array_equal(uniforms(100, 8, **{"seed": 3, "epoch": 2, "task": "a", **other}), table)
    assert all(not np.array_equal(one, two) for one, two in pairwise(table))


def test_shift_moves_each_image_by_its_own_numbers():
    image = np.arange(25, dtype=np.uint8).reshape(1, 5, 5, 1).repeat(3, 3)
    images = image.repeat(3, 0)
    moved = shift(images, np.array([[0.5, 0.5], [0.0, 0.5], [0.5, 0.99]], dtype=np.float32), 1)
    assert np.array_equal(moved[0], images[0])
    assert np.array_equal(moved[1, 1:], images[0, :-1]) and np.array_equal(moved[1, 0], images[0, 0])
    assert np.array_equal(moved[2, :, :-1], images[0, :, 1:]) and np.array_equal(moved[2, :, -1], images[0, :, -1])
    many = shift(image.repeat(4000, 0), np.random.default_rng(0).random((4000, 2), dtype=np.float32), 1)
    assert len(np.unique(many, axis=0)) == 9
