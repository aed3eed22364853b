"""Divides images by a seed: of every class its share in each split, and no group in two splits."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Hashable, Iterable, Mapping, Sequence

from mola.data.splits.rule import ORDER, ranked
from mola.types import Split

TRIES = 32  # orders of the groups, where the first leaves a class out of a split
Counts = dict[Split, int]


def joined(keys: Sequence[Iterable[Hashable]]) -> list[int]:
    """Return the group of each item: two items that share a key are in one, and so are those that others connect.

    keys: of each item. The number of a group is the position of its first item.
    """
    parent = list(range(len(keys)))

    def root(item: int) -> int:
        while parent[item] != item:
            parent[item] = item = parent[parent[item]]
        return item

    first: dict[Hashable, int] = {}
    for item, of_item in enumerate(keys):
        for key in of_item:
            one, other = sorted((root(first.setdefault(key, item)), root(item)))
            parent[other] = one
    return [root(item) for item in range(len(keys))]


def shares(number: int, percent: Mapping[Split, int]) -> Counts:
    """Return how many of some items each split gets: the nearest to its share, but at least one from three items on."""
    least = int(number >= len(ORDER))
    counts = {split: max(least, number * percent[split] // 100) for split in ORDER}
    while (rest := number - sum(counts.values())) != 0:
        step = 1 if rest > 0 else -1
        # what is furthest below its share gets one more; what is furthest above it, one less
        fit = [split for split in ORDER if step > 0 or counts[split] > least]
        counts[max(fit, key=lambda s: step * (number * percent[s] - 100 * counts[s]))] += step
    return counts


def divided_groups(
    strata: Sequence[Hashable], groups: Sequence[int], names: Sequence[str], percent: Mapping[Split, int], seed: int
) -> list[Split]:
    """Return the split of each item.

    strata: the task and class of each item, of which each split shall have its share. groups: that of each item.
    names: of the items, whose ranks under the seed take the place of chance; of equal names items are of one group.

    Where no item shares its group, each split has of each class what :func:`shares` gives. Otherwise larger groups
    come first, each to the split that lacks most of what it has.
    """
    members: dict[int, list[int]] = defaultdict(list)
    for item, group in enumerate(groups):
        members[group].append(item)
    contents = {group: Counter(strata[item] for item in items) for group, items in members.items()}
    targets = {stratum: shares(number, percent) for stratum, number in Counter(strata).items()}
    by_name: dict[str, int] = {}
    for group, items in members.items():
        by_name[min(names[item] for item in items)] = group
    best: tuple[int, float] | None = None
    result: dict[int, Split] = {}
    for attempt in range(TRIES):
        order = [by_name[name] for name in ranked(by_name, f"{seed}/{attempt}/")]
        placed = _placed(sorted(order, key=lambda group: -len(members[group])), contents, targets)
        cost = _cost(placed, contents, targets)
        if best is None or cost < best:
            best, result = cost, placed
        if not cost[0]:
            break
    return [result[group] for group in groups]


def _placed(
    order: Sequence[int], contents: Mapping[int, Counter[Hashable]], targets: Mapping[Hashable, Counts]
) -> dict[int, Split]:
    lacking = {stratum: dict(counts) for stratum, counts in targets.items()}
    # shares of a class count, and not numbers: a rare class as much as a frequent one
    weight = {stratum: 1 / sum(counts.values()) ** 2 for stratum, counts in targets.items()}
    waiting = Counter(stratum for content in contents.values() for stratum in content)
    # of classes that have a group for each split
    empty = {stratum: set(ORDER) for stratum, number in waiting.items() if number >= len(ORDER)}
    placed: dict[int, Split] = {}
    for group in order:
        content = contents[group]
        gain = {s: sum(weight[k] * number * lacking[k][s] for k, number in content.items()) for s in ORDER}
        # classes whose last groups are needed by the splits that have none of them yet
        urgent = [stratum for stratum in content if waiting[stratum] <= len(empty.get(stratum, ()))]
        needed = {s: sum(s in empty[stratum] for stratum in urgent) for s in ORDER}
        split = placed[group] = max(ORDER, key=lambda s: (needed[s], gain[s]))
        for stratum, number in content.items():
            lacking[stratum][split] -= number
            empty.get(stratum, set()).discard(split)
        waiting.subtract(content.keys())
    return placed


def _cost(
    placed: Mapping[int, Split], contents: Mapping[int, Counter[Hashable]], targets: Mapping[Hashable, Counts]
) -> tuple[int, float]:
    """How many (class, split) have no item, and how far the numbers are from the shares."""
    counts: dict[Hashable, Counter[Split]] = {stratum: Counter() for stratum in targets}
    for group, split in placed.items():
        for stratum, number in contents[group].items():
            counts[stratum][split] += number
    missing = sum(not counts[stratum][split] for stratum in targets for split in ORDER)
    return missing, sum(abs(counts[k][s] - targets[k][s]) / sum(targets[k].values()) for k in targets for s in ORDER)
