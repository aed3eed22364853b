"""Experiments: settings resolved once, one answer to what is stale, and planning without torch."""

import json
import subprocess
import sys

import pytest
import timm
import torch

from mola import registry
from mola.config import Suite, load
from mola.experiment import record as records
from mola.experiment import run, spec
from mola.experiment.inputs import write_inputs
from mola.experiment.provenance import uncommitted
from mola.experiment.status import state, versions_behind
from mola.source import ROOT
from mola.types import BadInput


@pytest.fixture(autouse=True)
def _one_thread():
    torch.set_num_threads(1)


@pytest.fixture
def experiment(suite_file):
    return spec.experiment(load(suite_file()), "digits", "shared")


def changed_record(experiment, **changes):
    path = experiment.run_folder(0) / "record.json"
    record = records.read(path)
    records.write(path, record.model_copy(update=changes))
    return record


def test_settings_are_resolved_once(suite_file, monkeypatch):
    calls = []
    resolved = Suite._resolved
    monkeypatch.setattr(Suite, "_resolved", lambda self, *names: calls.append(names) or resolved(self, *names))
    suite = load(suite_file(methods={"shared": None, "mola_grad": None}))
    for experiment in spec.experiments(suite):
        assert experiment.settings is experiment.configured
        assert experiment.fingerprint == experiment.configured_fingerprint
        state(experiment, 0)
    write_inputs(spec.experiments(suite))
    assert sorted(calls) == [("digits", "mola_grad"), ("digits", "shared")]


def test_planning_never_imports_torch():
    code = (
        "import sys, pathlib, mola.cli, mola.config, mola.experiment.inputs, mola.experiment.status\n"
        "from mola.experiment.spec import experiments\n"
        "suite = mola.config.load(pathlib.Path('config/config.yaml'))\n"
        # the kernels of a portable suite are chosen then
        "assert not {'torch', 'numpy'} & set(sys.modules)\n"
        "for experiment in experiments(suite):\n"
        "    mola.experiment.inputs.inputs(experiment)\n"
        "    mola.experiment.status.state(experiment, 0)\n"
        "assert not {'torch', 'pandas', 'timm'} & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], check=True, cwd=ROOT)


def test_the_label_of_a_benchmark_is_no_part_of_a_run(suite_file):
    entries = {"digits": {"limit": 16}, "again": {"benchmark": "digits", "limit": 16}}
    plain, again = spec.experiments(load(suite_file(benchmarks=entries)))
    assert plain.fingerprint == again.fingerprint
    assert again.folder.parent.name == "again" and again.name == "again/shared"
    assert again.data.name == "digits" and again.data_identity == plain.data_identity
    record = run.train(again, 0)
    assert record.benchmark == "again" and record.settings["benchmark"] == "digits"
    assert again.stale(record, 0) is None and plain.stale(record, 0) == "a record of tiny/again/shared/seed0"
    assert not uncommitted(again) or "data/splits/again.json" not in uncommitted(again)


def test_train_status_and_tables_share_one_answer(experiment):
    run.train(experiment, 0)
    assert state(experiment, 0) == "done"
    record = changed_record(experiment, data="other")
    assert experiment.stale(record, 0) is None
    assert state(experiment, 0) == "stale"
    assert run.finished(experiment, 0) is None
    assert "prepared data" in experiment.stale(records.read(experiment.run_folder(0) / "record.json"), 0)
    assert run.train(experiment, 0).data == record.data, "trained again"
    assert state(experiment, 0) == "done"


def test_a_record_of_another_place_does_not_count(experiment):
    run.train(experiment, 0)
    changed_record(experiment, method="mola_grad")
    assert state(experiment, 0) == "stale"
    changed_record(experiment, method="shared")
    assert state(experiment, 0) == "done"
    changed_record(experiment, seed=1)
    assert state(experiment, 0) == "stale", "a copy of another seed's record"


def test_other_versions_are_reported_and_trained_again_on_request(experiment):
    record = run.train(experiment, 0)
    old = {**record.versions, "torch": "1.0.0", "pandas": "0.1"}
    changed_record(experiment, versions=old)
    assert state(experiment, 0) == "done"
    assert versions_behind([records.read(experiment.run_folder(0) / records.NAME)]) == [
        f"torch 1.0.0, now {record.versions['torch']}"
    ]
    assert run.train(experiment, 0).versions == old, "kept"
    assert run.train(experiment, 0, renew=True).versions == record.versions
    assert versions_behind([records.read(experiment.run_folder(0) / records.NAME)]) == []


def test_a_patch_release_is_no_other_version(experiment):
    record = run.train(experiment, 0)
    major, minor, *_ = record.versions["torch"].split(".")
    changed_record(experiment, versions={**record.versions, "torch": f"{major}.{minor}.99"})
    assert versions_behind([records.read(experiment.run_folder(0) / records.NAME)]) == []


def test_the_content_of_a_weights_file_counts(suite_file, tmp_path):
    weights = tmp_path / "weights.pth"

    def hashes(content):
        weights.write_bytes(content)
        from mola.experiment.fingerprint import forget

        forget()
        suite = load(suite_file(backbone={"name": "test_resnet", "weights": str(weights)}))
        return spec.experiment(suite, "digits", "shared").fingerprint

    one, two = hashes(b"one"), hashes(b"two")
    assert one["settings"] == two["settings"] and one["code"] == two["code"]
    assert one["files"] != two["files"] and one["all"] != two["all"]
    assert hashes(b"one") == one
    weights = tmp_path / "renamed.pth"
    assert hashes(b"one") == one, "the name of the file is no part of it"


def test_the_content_of_the_shipped_weights_counts_and_not_their_place(suite_file, tmp_path, monkeypatch):
    from mola.experiment.fingerprint import forget
    from mola.pretrained import TINY

    def hashes(weights):
        forget()
        return spec.experiment(
            load(suite_file(backbone={"name": "resnet10t", "weights": weights})), "digits", "shared"
        ).fingerprint

    tiny, copy = hashes("tiny"), tmp_path / "copy.safetensors"
    copy.write_bytes(TINY.read_bytes())
    assert hashes(str(copy)) == tiny
    other = tmp_path / "other.pth"
    other.write_bytes(TINY.read_bytes() + b"0")
    monkeypatch.setattr("mola.sections.TINY", other)
    changed = hashes("tiny")
    assert {key for key in tiny if tiny[key] != changed[key]} == {"files", "all"}


def test_weights_that_change_while_a_process_trains_are_noticed(suite_file, tmp_path):
    weights = tmp_path / "weights.pth"
    torch.save(timm.create_model("test_resnet", num_classes=0).state_dict(), weights)
    suite = load(suite_file(seeds=2, backbone={"name": "test_resnet", "weights": str(weights)}))
    experiment = spec.experiment(suite, "digits", "shared")
    run.train(experiment, 0)
    torch.save(timm.create_model("test_resnet", num_classes=0).state_dict(), weights)
    with pytest.raises(BadInput, match=r"backbone\.weights: expected .* found other content"):
        run.train(experiment, 1)


def test_weights_have_one_place(suite_file):
    with pytest.raises(BadInput, match=r"backbone\.options: expected weights under backbone\.weights, not in check"):
        load(suite_file(backbone={"name": "test_resnet", "options": {"checkpoint_path": "w.pth"}}))


def test_later_keys_count_only_where_they_differ_from_their_default(suite_file, monkeypatch):
    def experiment(**backbone):
        return spec.experiment(load(suite_file(backbone={"name": "test_resnet", **backbone})), "digits", "shared")

    plain, spelt, other = experiment(), experiment(freeze_stages=0, cached_views=None), experiment(freeze_stages=2)
    assert spec.plain(plain.settings)["backbone"] == {
        "name": "test_resnet", "options": {}, "weights": None, "head_width": 512,
    }, "as recorded before there were these keys"  # fmt: skip
    assert plain.fingerprint == spelt.fingerprint
    assert spec.plain(other.settings)["backbone"]["freeze_stages"] == 2
    assert plain.fingerprint["settings"] != other.fingerprint["settings"]
    assert plain.fingerprint["code"] == other.fingerprint["code"]


@pytest.mark.parametrize(
    ("section", "key", "value"),
    [
        ("method_options", "freeze", True),
        ("benchmark_options", "limit", 8),
        ("balancer_options", "alpha", 3.0),
        ("training", "momentum", 0.5),
    ],
)
def test_any_part_of_the_settings_may_get_later_keys(suite_file, monkeypatch, section, key, value):
    monkeypatch.setattr(spec, "ADDED_LATER", {section: {key}})
    suite = load(suite_file(methods={"mola_grad": None}, balancer="gradnorm", benchmarks={"digits": None}))
    settings = suite.settings("digits", "mola_grad")
    assert key not in spec.plain(settings)[section]
    part = getattr(settings, section)
    changed = {**part, key: value} if isinstance(part, dict) else part.model_copy(update={key: value})
    assert spec.plain(settings.model_copy(update={section: changed}))[section][key] == value


def test_probes_that_are_off_are_no_part_of_a_run(suite_file):
    def modules(**probes):
        return spec.modules(load(suite_file(probes=probes)).settings("digits", "shared"))

    assert not [name for name in modules() if "probes" in name]
    assert [name for name in modules(routing=4) if "probes" in name] == ["mola.training.probes.routing"]


def test_inputs_are_rewritten_only_when_they_change(experiment):
    write_inputs([experiment])
    path = experiment.folder / "inputs.json"
    content, written = json.loads(path.read_text()), path.stat().st_mtime_ns
    assert content["fingerprint"] == experiment.fingerprint
    write_inputs([experiment])
    assert path.stat().st_mtime_ns == written


def test_list_names_every_part_with_aligned_columns():
    done = subprocess.run([sys.executable, "-m", "mola.cli", "list"], capture_output=True, text=True, check=True)
    lines = done.stdout.splitlines()
    for kind in ("methods", "balancers", "benchmarks"):
        names = registry.names(kind)
        width = max(map(len, names))
        for name in names:
            (line,) = [line for line in lines if line.startswith(f"  {name} ")]
            assert line[2 + width : 4 + width] == "  " and line[4 + width] != " "
