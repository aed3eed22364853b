import pytest

from mola import registry
from mola.types import BadInput


@pytest.mark.parametrize("kind", ["methods", "benchmarks", "balancers"])
def test_every_file_loads_and_says_where_it_comes_from(kind):
    for name in registry.names(kind):
        assert registry.load(kind, name).__name__.lower() == name.replace("_", "")
        summary, source = registry.describe(kind, name)
        assert summary.endswith("."), name
        assert len(source) > 10, name


def test_unknown_name_gets_the_nearest():
    with pytest.raises(BadInput, match=r"unknown method 'mola_gard', did you mean 'mola_grad'\?"):
        registry.load("methods", "mola_gard")


def test_options_come_from_the_signature_with_their_defaults():
    options = registry.check_options("methods", "mola_router", {"experts": 3}, "methods.mola_router")
    assert options["experts"] == 3
    assert options["twd"] == 0.1
    assert options["temperature"] == 1.0
    assert options["projection"] == 32


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"rnak": 4}, r"m\.rnak: unknown option of mola_grad, did you mean 'rank'\?"),
        ({"rank": "four"}, r"m\.rank: .*integer.*found 'four'"),
        ({"alpha": 0}, r"m\.alpha: .*greater than 0, found 0"),
        ({"factorisation": "svd"}, r"m\.factorisation: .*'loralib' or 'two_conv', found 'svd'"),
    ],
)
def test_wrong_options_name_the_key_the_wish_and_the_find(options, message):
    with pytest.raises(BadInput, match=message):
        registry.check_options("methods", "mola_grad", options, "m")
