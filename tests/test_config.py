import json
from pathlib import Path

import jsonschema
import pytest

from mola import config, yaml_file
from mola.types import BadInput

ROOT = Path(__file__).parent.parent
FILES = sorted((ROOT / "config").glob("*.yaml"))


@pytest.mark.parametrize("path", FILES, ids=lambda p: p.name)
def test_committed_configurations_are_valid_for_us_and_for_the_schema(path):
    assert config.load(path).methods
    jsonschema.validate(yaml_file.read(path), config.json_schema())


def test_committed_schema_is_the_models():
    committed = json.loads((ROOT / "workflow/schemas/config.schema.json").read_text())
    assert committed == config.json_schema(), "python -m mola.config > workflow/schemas/config.schema.json"


def test_layers_of_settings(suite_file):
    path = suite_file(
        training={"epochs": 5, "batch_size": 16},
        benchmarks={"digits": {"limit": 16, "training": {"epochs": 7}, "backbone": {"name": "resnet10t"}}},
        methods={"shared": None, "wide": {"method": "mola_grad", "rank": 8, "training": {"lr": 0.5}}},
        shared_options={"rank": 2, "where": "layer1.*"},
    )
    suite = config.load(path)
    wide, shared = suite.settings("digits", "wide"), suite.settings("digits", "shared")
    assert (wide.method, wide.method_options["rank"], wide.method_options["where"]) == ("mola_grad", 8, "layer1.*")
    assert (wide.training.epochs, wide.training.lr, wide.training.batch_size) == (7, 0.5, 16)
    assert (shared.training.lr, shared.method_options, shared.backbone.name) == (1e-4, {"norm": "shared"}, "resnet10t")
    assert shared.benchmark_options["limit"] == 16


def test_one_benchmark_under_several_labels(suite_file):
    path = suite_file(
        benchmarks={
            "digits": {"limit": 16},
            "digits_24": {"benchmark": "digits", "limit": 24, "training": {"epochs": 7}},
        }
    )
    jsonschema.validate(yaml_file.read(path), config.json_schema())
    suite = config.load(path)
    settings = {label: suite.settings(label, "shared") for label in suite.benchmarks}
    assert {label: of.benchmark for label, of in settings.items()} == {"digits": "digits", "digits_24": "digits"}
    assert [of.benchmark_options["limit"] for of in settings.values()] == [16, 24]
    assert [of.training.epochs for of in settings.values()] == [2, 7]
    spelled = config.load(suite_file(benchmarks={"digits": {"benchmark": "digits", "limit": 16}}))
    assert spelled.settings("digits", "shared") == settings["digits"], "the label is the default name"


def test_entries_that_share_their_arrays_agree_in_what_changes_them(suite_file):
    entries = {
        "small": {"benchmark": "pacs", "size": 64, "mirror": "https://example.org", "train": 25},
        "same": {"benchmark": "pacs", "size": 64, "training": {"epochs": 1}},
        "large": {"benchmark": "pacs", "size": 96},
    }
    small, same, large = config.load(suite_file(benchmarks=entries)).benchmarks.values()
    assert small.data_options == same.data_options == {"size": 64} != large.data_options


@pytest.mark.parametrize("label", ["summary", "digits.tests", "digits.curves"])
def test_labels_that_other_files_of_results_have_are_refused(suite_file, label):
    with pytest.raises(BadInput, match=r"benchmarks: expected a label without a full stop, and not summary"):
        config.load(suite_file(benchmarks={label: {"benchmark": "digits"}}))


def test_a_balancer_by_name_or_with_its_options(suite_file):
    path = suite_file(
        balancer={"name": "dwa", "temperature": 1.0},
        methods={
            "shared": None,
            "vac": {"method": "shared", "balancer": {"name": "gradvac", "beta": 0.5}},
            "plain": {"method": "shared", "balancer": "famo"},
        },
    )
    jsonschema.validate(yaml_file.read(path), config.json_schema())
    suite = config.load(path)
    settings = {label: suite.settings("digits", label) for label in suite.methods}
    assert {label: values.balancer for label, values in settings.items()} == {
        "shared": "dwa",
        "vac": "gradvac",
        "plain": "famo",
    }
    assert settings["shared"].balancer_options == {"temperature": 1.0}
    assert settings["vac"].balancer_options == {"beta": 0.5}
    assert settings["plain"].balancer_options == {"lr": 0.025, "decay": 0.001}


def test_an_integer_counts_seeds(suite_file):
    assert config.load(suite_file(seeds=3)).seeds == [0, 1, 2]


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"sutie": 1}, r"sutie: unknown key, did you mean 'suite'\?"),
        ({"suite": "a/b"}, r"suite: expected a name that can be a folder: .*found 'a/b'"),
        ({"seeds": [1, 1]}, r"seeds: expected seeds that all differ, found \[1, 1\]"),
        ({"seeds": []}, r"seeds: "),
        (
            {"reference": "shred"},
            r"reference: expected one of the methods or null, found 'shred', did you mean 'shared'",
        ),
        ({"training": {"epochs": "ten"}}, r"training\.epochs: .*integer.*found 'ten'"),
        ({"training": {"epoch": 1}}, r"training\.epoch: unknown key, did you mean 'epochs'\?"),
        ({"training": {"lr": -1}}, r"training\.lr: .*greater than 0, found -1"),
        ({"training": {"lr": {"mnist": -1}}}, r"training\.lr\.mnist: .*greater than 0, found -1"),
        ({"training": {"lr": [1]}}, r"training\.lr: should be a valid number, found \[1\]"),
        ({"benchmarks": {"digts": None}}, r"unknown benchmark 'digts', did you mean 'digits'\?"),
        ({"benchmarks": {"x": {"benchmark": "digts"}}}, r"unknown benchmark 'digts', did you mean 'digits'\?"),
        ({"benchmarks": {"x": {"benchmark": 3}}}, r"benchmarks\.x\.benchmark: .*string, found 3"),
        ({"benchmarks": {"digits": {"limt": 3}}}, r"benchmarks\.digits\.limt: unknown option of digits, did you mean"),
        (
            {"benchmarks": {"digits": {"training": {"lr": "x"}}}},
            r"benchmarks\.digits\.training\.lr: .*number.*found 'x'",
        ),
        ({"methods": {"mola_grd": None}}, r"unknown method 'mola_grd', did you mean 'mola_grad'\?"),
        ({"methods": {"../x": {"method": "shared"}}}, r"methods: expected a name that can be a folder.*found '\.\./x'"),
        ({"methods": {"shared": {"balancer": "smu"}}}, r"unknown balancer 'smu', did you mean 'sum'\?"),
        (
            {"balancer": {"name": "dwa", "temprature": 1}},
            r"balancer\.temprature: unknown option of dwa, did you mean 'temperature'\?",
        ),
        (
            {"methods": {"shared": {"balancer": {"name": "gradvac", "beta": "x"}}}},
            r"methods\.shared\.balancer\.beta: .*number.*found 'x'",
        ),
        ({"balancer": {"beta": 1}}, r"balancer\.name: expected the name of a balancer, found None"),
        ({"balancer": 5}, r"balancer: .*string.*found 5"),
        ({"shared_options": {"rnk": 3}}, r"shared_options\.rnk: no method has this option, did you mean 'rank'\?"),
        ({"methods": {}}, r"methods: "),
    ],
)
def test_bad_configuration_names_the_key_in_one_line(suite_file, changes, message):
    with pytest.raises(BadInput, match=message) as caught:
        config.load(suite_file(**changes))
    assert "\n" not in str(caught.value)


def test_missing_broken_and_doubled(tmp_path):
    with pytest.raises(BadInput, match=r"nowhere\.yaml': no such file"):
        config.load(tmp_path / "nowhere.yaml")
    broken = tmp_path / "broken.yaml"
    broken.write_text("suite: [a\nseeds: 1\n")
    with pytest.raises(BadInput, match=r"broken\.yaml', line 2"):
        config.load(broken)
    broken.write_text("methods:\n  shared:\n  shared:\n")
    with pytest.raises(BadInput, match="key 'shared' stands twice"):
        config.load(broken)
    broken.write_text("- a\n")
    with pytest.raises(BadInput, match="expected a mapping of keys, found list"):
        config.load(broken)


def test_numbers_written_like_1e_3_are_numbers(suite_file):
    path = suite_file()
    path.write_text(path.read_text().replace("lr: 0.002", "lr: 2e-3"))  # YAML 1.1 reads that as a string
    assert config.load(path).training.lr == 0.002


@pytest.mark.parametrize("value", [None, False])
def test_tuning_is_off_unless_asked_for(suite_file, value):
    path = suite_file(tune=value)
    jsonschema.validate(yaml_file.read(path), config.json_schema())
    assert config.load(path).tune is None
    assert config.load(suite_file(tune={})).tune.trials == 20


@pytest.mark.parametrize(
    ("tune", "message"),
    [
        ({"trails": 3}, "tune.trails: unknown key, did you mean 'trials'?"),
        ({"trials": 0}, "tune.trials: should be greater than 0, found 0"),
        ({"space": {"lrr": [1]}}, "tune.space.lrr: not a knob of the training section, did you mean 'lr'?"),
        ({"space": {"epochs": [1, 2]}}, "tune.space.epochs: not a knob"),
        ({"space": {"lr": {"low": 1, "high": 0.1}}}, "tune.space.lr: expected low < high, found low 1 and high 0.1"),
        ({"space": {"lr": {"low": 0, "high": 1, "log": True}}}, "tune.space.lr: expected 0 < low < high"),
        ({"space": {"batch_size": [16, "many"]}}, "tune.space.batch_size: should be a valid integer"),
        ({"space": {"optimizer": ["sgd", "adagrad"]}}, "tune.space.optimizer: should be 'adamw', 'adam' or 'sgd'"),
        ({"space": {"lr": []}}, "tune.space.lr: expected a range, choices or null, found an empty list"),
        ({"pruner": "hyperband"}, "tune.pruner: should be 'none' or 'median'"),
    ],
)
def test_a_wrong_tune_section_is_one_line(suite_file, tune, message):
    with pytest.raises(BadInput) as caught:
        config.load(suite_file(tune=tune))
    assert message in str(caught.value) and "\n" not in str(caught.value)


def test_a_balancer_may_belong_to_a_benchmark(suite_file):
    suite = config.load(
        suite_file(
            balancer="mean",
            benchmarks={"digits": {"balancer": {"name": "rlw"}}, "glyphs": None},
            methods={"shared": None, "own": {"method": "shared", "balancer": "uw"}},
        )
    )
    settings = {(b, m): suite.settings(b, m).balancer for b in suite.benchmarks for m in suite.methods}
    assert settings == {
        ("digits", "shared"): "rlw", ("glyphs", "shared"): "mean", ("digits", "own"): "uw", ("glyphs", "own"): "uw"
    }  # fmt: skip


def test_the_suites_balancer_is_checked_where_no_row_takes_it(suite_file):
    with pytest.raises(BadInput, match="unknown balancer 'sumx'"):
        config.load(suite_file(balancer="sumx", methods={"shared": {"balancer": "sum"}}))


def test_rows_of_all_methods_are_called_after_what_they_run():
    """A suite is a choice: what is new need not stand in it."""
    suite = config.load(ROOT / "config/all-methods.yaml")
    rows = {label: suite.settings("digits", label) for label in suite.methods}
    for label, settings in rows.items():
        assert label.startswith(settings.method)
        assert settings.balancer == "sum" or label == f"{settings.method}_{settings.balancer}"
    assert len({(s.method, str(s.method_options), s.balancer) for s in rows.values()}) == len(rows)
