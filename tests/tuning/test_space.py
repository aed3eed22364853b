"""What is tuned, and on which ranges."""

import pytest

from mola.config import load
from mola.experiment.spec import experiment
from mola.tuning.space import configured, knobs, parameters
from mola.types import Range

TASKS = ["mnist", "optdigits"]


@pytest.fixture
def suite_of(suite_file):
    def write(**changes):
        training = {"epochs": 1, "batch_size": 16, "lr": 0.002, "weight_decay": 0.001}
        return load(suite_file(**{"training": training, "tune": {}, **changes}))

    return write


def test_shared_knobs_have_the_same_ranges_for_all_methods(suite_of):
    methods = {"single_task": None, "shared": None, "mola_grad": None, "mola_router": None}
    suite = suite_of(methods=methods, tune={"space": {"batch_size": [8, 16], "momentum": {"low": 0.5, "high": 0.99}}})
    spaces = [knobs(experiment(suite, "digits", label), TASKS) for label in methods]
    expected = {
        "training.lr": Range(0.0002, 0.02, log=True),
        "training.weight_decay": Range(1e-5, 0.1, log=True),
        "training.batch_size": (8, 16),
        "training.momentum": Range(0.5, 0.99),
    }
    for space in spaces:
        for name, values in expected.items():
            assert space[name] == pytest.approx(values)
        assert list(space)[:4] == list(expected), "first, so that a method's own do not shift their draws"
    assert {"method.twd", "method.rank"} <= set(spaces[3])


def test_the_ranges_follow_the_benchmark_and_not_the_method(suite_of):
    suite = suite_of(
        benchmarks={"digits": {"limit": 16, "training": {"lr": 0.1, "weight_decay": 0}}},
        methods={"shared": None, "slow": {"method": "shared", "training": {"lr": 0.00001}}},
    )
    space = knobs(experiment(suite, "digits", "shared"), TASKS)
    assert space["training.lr"] == pytest.approx(Range(0.01, 1.0, log=True))
    assert space["training.weight_decay"] == Range(1e-6, 1e-2, log=True)
    assert set(knobs(experiment(suite, "digits", "slow"), TASKS)) == {"training.weight_decay"}, (
        "what its entry names is fixed"
    )


def test_what_the_configuration_names_is_fixed(suite_of):
    methods = {
        "mola_grad": None,
        "rank2": {"method": "mola_grad", "rank": 2},
        "dwa": {"method": "shared", "balancer": "dwa"},
        "dwa_published": {"method": "shared", "balancer": {"name": "dwa", "temperature": 2.0}},
    }
    suite = suite_of(methods=methods, tune={"space": {"lr": None, "weight_decay": None}})
    result = {label: set(knobs(experiment(suite, "digits", label), TASKS)) for label in methods}
    assert result == {
        "mola_grad": {"method.rank", "method.alpha"},
        "rank2": {"method.alpha"},
        "dwa": {"balancer.temperature"},
        "dwa_published": set(),
    }
    benchmarks = {"digits": {"limit": 16, "balancer": {"name": "famo", "lr": 0.1}}}
    assert set(
        knobs(experiment(suite_of(benchmarks=benchmarks, tune=suite.tune.model_dump()), "digits", "shared"), TASKS)
    ) == {"balancer.decay"}
    suite = suite_of(methods=methods, shared_options={"rank": 4, "where": ".*"}, balancer="gradvac")
    assert {"method.rank", "training.lr", "balancer.beta", "method.alpha"} - set(
        knobs(experiment(suite, "digits", "mola_grad"), TASKS)
    ) == {"method.rank"}


def test_the_first_trial_is_the_configuration_where_it_lies_in_the_space(suite_of):
    suite = suite_of(
        methods={"w": {"method": "mola_grad", "balancer": "static"}},
        tune={"space": {"lr": {"low": 0.1, "high": 1.0}, "batch_size": [8, 16]}},
    )
    space = knobs(experiment(suite, "digits", "w"), TASKS)
    assert configured(suite.settings("digits", "w"), space) == {
        "training.weight_decay": 0.001,
        "training.batch_size": 16,
        "method.rank": 4,
        "method.alpha": 16.0,
        "balancer.weights.mnist": 1.0,
        "balancer.weights.optdigits": 1.0,
    }


def test_numbers_per_task_have_mean_one():
    drawn = {"training.lr": 0.1, "balancer.weights.a": 0.5, "balancer.weights.b.c": 1.5, "balancer.weights.d": 4.0}
    result = parameters(drawn)
    assert result["training"] == {"lr": 0.1}
    assert result["balancer"]["weights"] == {"a": 0.25, "b.c": 0.75, "d": 2.0}


def test_weights_of_a_single_task_are_no_knob(suite_of):
    suite = suite_of(balancer="static")
    assert set(knobs(experiment(suite, "digits", "shared"), ["only"])) == {"training.lr", "training.weight_decay"}
