"""Which records of a folder or commit count, judged by the files of their row and by each other."""

import json
import subprocess

import pytest
from synthetic import OTHER, drawn, edit, experiment, fill, make_suite, record, tune

from mola.reporting.results.snapshots import snapshot

ROW = ("digits", "mola_grad")
OTHER_TUNING = "left out: of other code, settings or splits than the inputs.json and optuna/tuned.json beside it"
FEW = "left out: of other code, settings or splits than most of its row"


def of(suite, **options):
    row = snapshot(str(suite.folder), suite.folder, **options).rows[ROW]
    return list(row.records), row.problems


def folder(suite):
    return experiment(suite, ROW[1]).folder


@pytest.fixture
def tuned_suite(tmp_path):
    """A study found a rate, and a whole number for alpha, which is a float: runs train with 8.0."""
    suite = make_suite(tmp_path, methods=("mola_grad",), tune={"trials": 2}, reference=None)
    tune(suite, *ROW, {"training": {"lr": 0.004}, "method": {"rank": 2, "alpha": 8}}, value=0.5)
    fill(suite, drawn({}))
    return suite


def test_runs_of_a_tuned_suite_count(tuned_suite, tmp_path, monkeypatch):
    inputs, content = (
        json.loads(p.read_text()) for p in (folder(tuned_suite) / "inputs.json", record(tuned_suite, ROW[1], 0))
    )
    assert content["fingerprint"]["all"] != inputs["fingerprint"]["all"]
    assert repr(content["settings"]["method_options"]["alpha"]) == "8.0"
    assert of(tuned_suite) == ([0, 1, 2, 3, 4, 5], {})
    monkeypatch.chdir(tmp_path)
    who = ["-c", "user.name=someone", "-c", "user.email=someone@example.org"]
    for words in (["init", "-q"], ["add", "-A"], [*who, "commit", "-qm", "tuned"]):
        subprocess.run(["git", *words], check=True, capture_output=True)
    assert list(snapshot("HEAD", tuned_suite.folder).rows[ROW].records) == [0, 1, 2, 3, 4, 5]


@pytest.mark.parametrize(
    ("name", "changes"),
    [
        ("optuna/study.json", {"trials": 3}),
        ("optuna/study.json", {"fingerprint": {"all": "other"}}),
        ("optuna/tuned.json", {"value": 0.6}),
        ("optuna/tuned.json", {"parameters": {"training": {"lr": 0.004}, "method": {"rank": 2, "alpha": 9}}}),
        ("optuna/tuned.json", {"parameters": ["lr"]}),
        ("inputs.json", {"fingerprint": {"all": "other", "code": "other", "manifest": "other"}}),
        ("inputs.json", {"settings": {}}),
        ("inputs.json", {"settings": {"training": {"epochs": 99}, "method_options": {}}}),
    ],
)
def test_runs_of_other_tuning_are_left_out(tuned_suite, name, changes):
    edit(folder(tuned_suite) / name, **changes)
    assert of(tuned_suite) == ([], dict.fromkeys(range(6), OTHER_TUNING))


def test_no_run_counts_whose_study_is_not_there(tuned_suite):
    (folder(tuned_suite) / "optuna/tuned.json").unlink()
    assert set(of(tuned_suite)[1].values()) == {OTHER_TUNING.replace(" and optuna/tuned.json", "")}


def test_a_run_from_before_tuning_is_not_mixed_in(tuned_suite):
    untuned = json.loads((folder(tuned_suite) / "inputs.json").read_text())
    edit(record(tuned_suite, ROW[1], 2), fingerprint=untuned["fingerprint"], settings=untuned["settings"])
    assert of(tuned_suite) == ([0, 1, 3, 4, 5], {2: FEW})


@pytest.mark.parametrize("content", [None, "{", "[]"])
def test_without_inputs_most_of_the_row_counts(tmp_path, content):
    suite = make_suite(tmp_path)
    fill(suite, drawn({}))
    for seed in (1, 4):
        edit(record(suite, ROW[1], seed), fingerprint=OTHER)
    path = folder(suite) / "inputs.json"
    path.unlink()
    if content is not None:
        path.write_text(content)
    assert of(suite) == ([0, 2, 3, 5], {1: FEW, 4: FEW})
    edit(record(suite, ROW[1], 0), fingerprint=OTHER, time="2026-01-02")  # three and three: the newest
    assert of(suite)[0] == [0, 1, 4]


def test_runs_of_an_unclean_tree_count_as_drafts_alone(tmp_path):
    suite = make_suite(tmp_path)
    fill(suite, drawn({}), dirty=lambda b, m, s: s < 4)
    (folder(suite) / "inputs.json").unlink()
    edit(record(suite, ROW[1], 5), fingerprint=OTHER, time="2026-01-02")
    seeds, problems = of(suite)
    assert seeds == [5], "runs that do not count have no say in what most are"
    assert problems[0] == (
        "left out: trained from a working tree with uncommitted changes; counted as a draft with --drafts"
    )
    assert of(suite, drafts=True) == ([0, 1, 2, 3, 4], {5: FEW})


def of_version_1(settings):
    training = {"batch" if key == "batch_size" else key: value for key, value in settings["training"].items()}
    probes = {"paper_rule" if key == "oracle_selection" else key: v for key, v in settings["probes"].items()}
    rest = {key: value for key, value in settings.items() if key != "probes"}
    return {**rest, "training": training, "watch": probes}


def test_tuned_runs_of_version_1_count(tuned_suite):
    inputs = json.loads((folder(tuned_suite) / "inputs.json").read_text())
    edit(folder(tuned_suite) / "inputs.json", settings=of_version_1(inputs["settings"]))
    for seed in tuned_suite.seeds:
        path = record(tuned_suite, ROW[1], seed)
        content = json.loads(path.read_text())
        config, rule = of_version_1(content.pop("settings")), content.pop("oracle_selection")
        del content["version"], content["sha256"]
        path.write_text(json.dumps({**content, "config": config, "paper_rule": rule}))
    assert of(tuned_suite) == ([0, 1, 2, 3, 4, 5], {})


def test_a_copied_or_edited_record_is_named_and_left_out(tmp_path):
    suite = make_suite(tmp_path, methods=("mola_grad",), reference=None)
    fill(suite, drawn({}))
    record(suite, ROW[1], 1).write_bytes(record(suite, ROW[1], 0).read_bytes())
    seeds, problems = of(suite)
    assert 1 not in seeds and problems == {1: "left out: the record of digits/mola_grad, seed 0"}
    listed = {"2": {"status": "done", "sha256": "of another content"}}
    (folder(suite) / "runs.json").write_text(json.dumps({"fingerprint": "of then", "runs": listed}))
    assert of(suite)[1][2] == "left out: not the record that runs.json lists"
