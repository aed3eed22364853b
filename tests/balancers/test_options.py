"""Wrong values of a balancer's options are refused when the configuration is read: nothing has run by then."""

import math

import pytest

from mola import config, registry
from mola.types import BadInput

NUMBERS = [
    (name, option)
    for name in registry.names("balancers")
    for option, default in registry.check_options("balancers", name, {}, name).items()
    if isinstance(default, float)
]
POSITIVE = {("dwa", "temperature"), ("fairgrad", "alpha"), ("famo", "lr"), ("gradnorm", "lr")}
SHARES = {("gradvac", "beta"), ("graddrop", "leak"), ("db_mtl", "beta")}
CHOICES = {
    ("mgda", "normalisation"),
    ("mgda_ub", "normalisation"),
    ("aligned_mtl", "scale"),
    ("aligned_mtl_ub", "scale"),
}


def refused(name, option, value):
    with pytest.raises(BadInput, match=rf"^balancer\.{option}[:.]"):
        registry.check_options("balancers", name, {option: value}, "balancer")


def accepted(name, option, value):
    assert registry.check_options("balancers", name, {option: value}, "balancer")[option] == value


@pytest.mark.parametrize(("name", "option"), NUMBERS)
def test_a_number_is_finite_and_in_its_range(name, option):
    for value in (-0.1, math.inf, -math.inf, math.nan, "much", None, [0.5]):
        refused(name, option, value)
    (refused if (name, option) in POSITIVE else accepted)(name, option, 0.0)
    (refused if (name, option) in SHARES else accepted)(name, option, 1.5)
    accepted(name, option, 1.0)


@pytest.mark.parametrize(("name", "option"), sorted(CHOICES))
def test_a_choice_is_one_of_its_words(name, option):
    for value in ("max", 1, None):
        refused(name, option, value)


def test_static_weights_are_finite_and_not_negative():
    for value in ({"a": -1.0}, {"a": math.inf}, {"a": "much"}, 2.0, ["a"]):
        refused("static", "weights", value)
    accepted("static", "weights", {"a": 0.0, "b": 2.5})


def test_every_option_is_looked_at_here():
    known = {(n, o) for n in registry.names("balancers") for o in registry.option_names("balancers", n)}
    assert known == {*NUMBERS, *CHOICES, ("static", "weights")}


@pytest.mark.parametrize(
    ("place", "changes"),
    [
        ("balancer", {"balancer": {"name": "cagrad", "c": -0.4}}),
        ("benchmarks.digits.balancer", {"benchmarks": {"digits": {"balancer": {"name": "cagrad", "c": -0.4}}}}),
        (
            "methods.row.balancer",
            {"methods": {"row": {"method": "shared", "balancer": {"name": "cagrad", "c": -0.4}}}, "reference": None},
        ),
    ],
)
def test_the_configuration_names_the_place(place, changes):
    content = {"suite": "s", "seeds": 1, "benchmarks": {"digits": None}, "methods": {"single_task": None}} | changes
    with pytest.raises(BadInput, match=rf"^f\.yaml: {place}\.c: should be greater than or equal to 0, found -0\.4$"):
        config.parse(content, "f.yaml")
