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
CHOICES = [
    (name, option)
    for name in registry.names("balancers")
    for option, default in registry.check_options("balancers", name, {}, name).items()
    if isinstance(default, str)
]
PUBLISHED = [
    ("aligned_mtl", "scale", "min", "Senushkin et al. 2023: the smallest singular value"),
    ("aligned_mtl_ub", "scale", "min", "Senushkin et al. 2023: the smallest singular value"),
    ("cagrad", "c", 0.4, "Liu et al. 2021: NYUv2"),
    ("db_mtl", "beta", 0.9, "Lin et al. 2023: of 0.1 to 0.9"),
    ("db_mtl", "sigma", 0.5, "Lin et al. 2023: beta / k^0.5"),
    ("dwa", "temperature", 2.0, "Liu, Johns and Davison 2019: T = 2"),
    ("fairgrad", "alpha", 1.0, "Ban and Ji 2024: the released code"),
    ("famo", "lr", 0.025, "Liu et al. 2023: the released code"),
    ("famo", "decay", 0.001, "Liu et al. 2023: the released code"),
    ("graddrop", "leak", 0.0, "Chen et al. 2020: Algorithm 1"),
    ("gradnorm", "alpha", 1.5, "Chen et al. 2018: NYUv2"),
    ("gradnorm", "lr", 0.025, "Chen et al. 2018: of the weights"),
    ("gradvac", "beta", 0.01, "Wang et al. 2021"),
    ("mgda", "normalisation", "none", "Sener and Koltun 2018: Algorithm 2"),
    ("mgda_ub", "normalisation", "none", "Sener and Koltun 2018: Algorithm 2"),
    ("static", "weights", None, "the sum"),
]


def refused(name, option, value):
    with pytest.raises(BadInput, match=rf"^balancer\.{option}[:.]"):
        registry.check_options("balancers", name, {option: value}, "balancer")


def accepted(name, option, value):
    assert registry.check_options("balancers", name, {option: value}, "balancer")[option] == value


@pytest.mark.parametrize(("name", "option", "value", "source"), PUBLISHED)
def test_defaults_are_the_published_ones(name, option, value, source):
    assert registry.check_options("balancers", name, {}, name)[option] == value, source


@pytest.mark.parametrize(("name", "option"), NUMBERS)
def test_a_number_is_finite_and_in_its_range(name, option):
    for value in (math.inf, -math.inf, math.nan, "much", None, [0.5]):
        refused(name, option, value)
    if (name, option) not in {row[:2] for row in PUBLISHED}:
        return  # the range of an option that is not listed is its balancer's business
    refused(name, option, -0.1)
    (refused if (name, option) in POSITIVE else accepted)(name, option, 0.0)
    (refused if (name, option) in SHARES else accepted)(name, option, 1.5)
    accepted(name, option, 1.0)


@pytest.mark.parametrize(("name", "option"), CHOICES)
def test_a_choice_is_one_of_its_words(name, option):
    for value in ("max", 1, None):
        refused(name, option, value)


def test_static_weights_are_finite_and_not_negative():
    for value in ({"a": -1.0}, {"a": math.inf}, {"a": "much"}, 2.0, ["a"]):
        refused("static", "weights", value)
    accepted("static", "weights", {"a": 0.0, "b": 2.5})


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
