import hashlib
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mola.data.splits import manifest
from mola.data.splits.rule import Rule, divided, interleaved, ranked
from mola.types import BadInput

PERCENT = {"train": 60, "valid": 20, "test": 20}
names = st.sets(st.text(min_size=1), min_size=3, max_size=60)


@given(names)
def test_a_division_is_complete_and_every_split_has_some(chosen):
    splits = divided(chosen, PERCENT)
    assert sorted(name for part in splits.values() for name in part) == sorted(chosen)
    assert all(splits.values())
    assert abs(len(splits["train"]) - 0.6 * len(chosen)) <= 1


@given(names, st.randoms())
def test_it_depends_on_the_names_alone(chosen, random):
    shuffled = list(chosen)
    random.shuffle(shuffled)
    assert divided(shuffled, PERCENT) == divided(sorted(chosen), PERCENT)


def test_the_rank_is_that_of_the_whole_name():
    by_hand = sorted(["a", "b", "c", "d"], key=lambda name: hashlib.sha256(f"photo/dog/{name}".encode()).hexdigest())
    assert ranked(["d", "c", "b", "a"], "photo/dog/") == by_hand == ["c", "a", "b", "d"]


def test_classes_take_turns():
    assert interleaved([["a", "b", "c"], ["x"], ["q", "r"]]) == [
        ("a", 0),
        ("x", 1),
        ("q", 2),
        ("b", 0),
        ("r", 2),
        ("c", 0),
    ]


@pytest.mark.parametrize("text", ["", "[1]", '{"benchmark": "toy"}'])
def test_a_damaged_rule_is_bad_input(tmp_path, monkeypatch, text):
    monkeypatch.setattr(manifest, "SPLITS", tmp_path)
    with pytest.raises(BadInput, match=r"toy\.json: expected the split rule of 'toy', found none; git has it"):
        Rule.read("toy", 1)
    (tmp_path / "toy.json").write_text(text)
    with pytest.raises(BadInput, match=r"toy\.json: expected a split rule, found: ") as caught:
        Rule.read("toy", 1)
    assert "\n" not in str(caught.value)


def test_a_rule_of_another_recipe_is_refused(tmp_path, monkeypatch):
    monkeypatch.setattr(manifest, "SPLITS", tmp_path)
    (tmp_path / "toy.json").write_text(json.dumps({"benchmark": "toy", "version": 1, "rule": "as it is", "counts": {}}))
    assert Rule.read("toy", 1).rule == "as it is"
    with pytest.raises(BadInput, match=r"toy\.json: expected version 2 of the recipe, found 1"):
        Rule.read("toy", 2)
