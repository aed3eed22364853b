"""Keys of older configurations are read, and a line tells the name of today."""

from mola import config


def test_older_keys_are_read_with_a_hint_each(suite_file, capsys):
    path = suite_file(
        training={"epochs": 2, "batch": 12},
        watch={"paper_rule": True, "routing": 4},
        benchmarks={"digits": {"limit": 16, "training": {"batch": 24}}},
        methods={"shared": {"training": {"batch": 48}}, "single_task": None},
        tune={"space": {"batch": [8, 16]}},
    )
    suite = config.load(path)
    assert suite.training.batch_size == 12
    assert suite.settings("digits", "single_task").training.batch_size == 24
    assert suite.settings("digits", "shared").training.batch_size == 48
    assert suite.probes.oracle_selection and suite.probes.routing == 4
    assert suite.tune.space["batch_size"] == [8, 16]
    assert capsys.readouterr().err.splitlines() == [
        "mola: watch is called probes now",
        "mola: training.batch is called batch_size now",
        "mola: probes.paper_rule is called oracle_selection now",
        "mola: benchmarks.digits.training.batch is called batch_size now",
        "mola: methods.shared.training.batch is called batch_size now",
        "mola: tune.space.batch is called batch_size now",
    ]


def test_the_same_suite_in_the_words_of_today_is_the_same_experiment(suite_file):
    from mola.experiment.spec import experiment

    hashes = [
        experiment(config.load(suite_file(**changes)), "digits", "shared").fingerprint["all"]
        for changes in (
            {"training": {"epochs": 2, "batch": 12}, "watch": {"routing": 4}},
            {"training": {"epochs": 2, "batch_size": 12}, "probes": {"routing": 4}},
        )
    ]
    assert hashes[0] == hashes[1]


def test_todays_keys_give_no_hint(suite_file, capsys):
    config.load(suite_file(probes={"routing": 4}))
    assert capsys.readouterr().err == ""
