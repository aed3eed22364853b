"""The seeded split of a user's images: shares of every class, and no group in two splits."""

from collections import Counter

from hypothesis import given
from hypothesis import strategies as st

from mola.data.splits.grouped import divided_groups, joined, shares

SPLITS = ("train", "valid", "test")
PERCENT = {"train": 60, "valid": 20, "test": 20}


@st.composite
def percentages(draw):
    train = draw(st.integers(1, 98))
    valid = draw(st.integers(1, 99 - train))
    return {"train": train, "valid": valid, "test": 100 - train - valid}


strata = st.lists(st.tuples(st.sampled_from("ab"), st.integers(0, 3)), min_size=1, max_size=120)
grouped = st.lists(
    st.tuples(st.tuples(st.sampled_from("ab"), st.integers(0, 2)), st.integers(0, 30)), min_size=1, max_size=150
)


def names_of(items):
    return [f"{i:04}" for i in range(len(items))]


@given(st.integers(0, 500), percentages())
def test_shares_add_up_and_are_near(number, percent):
    counts = shares(number, percent)
    assert sum(counts.values()) == number
    assert min(counts.values()) >= (1 if number >= 3 else 0)
    if all(number * share >= 100 for share in percent.values()):
        assert all(abs(counts[split] - number * percent[split] / 100) < 1 for split in SPLITS)


@given(strata, percentages(), st.integers(0, 5))
def test_single_images_are_divided_within_one_of_their_share(items, percent, seed):
    splits = divided_groups(items, range(len(items)), names_of(items), percent, seed)
    for stratum, number in Counter(items).items():
        counts = Counter(split for item, split in zip(items, splits, strict=True) if item == stratum)
        assert {split: counts[split] for split in SPLITS} == shares(number, percent)


@given(grouped, percentages(), st.integers(0, 5))
def test_no_group_is_divided(items, percent, seed):
    groups = joined([[group] for _, group in items])
    splits = divided_groups([stratum for stratum, _ in items], groups, names_of(items), percent, seed)
    of_group = {}
    for (_, group), split in zip(items, splits, strict=True):
        assert of_group.setdefault(group, split) == split
    assert set(splits) <= set(SPLITS)


@given(grouped, st.integers(0, 5), st.randoms())
def test_the_order_of_the_list_is_no_part_of_it(items, seed, random):
    def result(order):
        some = [items[i] for i in order]
        groups = joined([[group] for _, group in some])
        splits = divided_groups([s for s, _ in some], groups, [f"{i:04}" for i in order], PERCENT, seed)
        return dict(zip(order, splits, strict=True))

    order = list(range(len(items)))
    random.shuffle(order)
    assert result(order) == result(range(len(items)))


def test_another_seed_is_another_split_of_the_same_shares():
    items = [("a", i % 3) for i in range(90)]
    one, same, other = (divided_groups(items, range(90), names_of(items), PERCENT, seed) for seed in (0, 0, 1))
    assert one == same != other
    assert Counter(zip(items, one, strict=True)) == Counter(zip(items, other, strict=True))


def test_groups_of_one_size_are_as_good_as_images():
    """Ten patients of a class with five images each: six train, two validate, two test."""
    items = [("a", label) for label in range(3) for _ in range(50)]
    groups = [i // 5 * 5 for i in range(150)]
    splits = divided_groups(items, groups, names_of(items), PERCENT, 0)
    assert Counter(zip(items, splits, strict=True)) == {
        (("a", label), split): number for label in range(3) for split, number in zip(SPLITS, (30, 10, 10), strict=True)
    }


def test_a_rare_class_reaches_every_split():
    """Large groups of a frequent class, and three small ones that a rare class shares with it."""
    items, groups = [], []
    for group in range(20):
        items += ["often"] * 10 + ["rare"] * (group >= 17)
        groups += [group] * (10 + (group >= 17))
    first = joined([[group] for group in groups])
    for seed in range(20):
        splits = divided_groups(items, first, names_of(items), PERCENT, seed)
        assert {split for item, split in zip(items, splits, strict=True) if item == "rare"} == set(SPLITS)


def test_keys_join_through_others():
    assert joined([["a"], ["b"], ["a", "b"], ["c"], []]) == [0, 0, 0, 3, 4]
    assert joined([["x"], ["y"], ["z"], ["z", "y"], ["w", "x"]]) == [0, 1, 1, 1, 0]


@given(st.lists(st.sets(st.integers(0, 12), max_size=3), max_size=30))
def test_items_are_joined_if_and_only_if_a_chain_of_keys_connects_them(keys):
    groups = joined(keys)
    reached = [{i} for i in range(len(keys))]
    for _ in keys:
        for i in range(len(keys)):
            for j in range(len(keys)):
                if any(keys[a] & keys[b] for a in reached[i] for b in [j]):
                    reached[i].add(j)
    assert all((groups[i] == groups[j]) == (j in reached[i]) for i in range(len(keys)) for j in range(len(keys)))
