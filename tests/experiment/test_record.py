"""Records: typed, versioned, and refused in one line where they are not what they should be."""

import json
import math
from pathlib import Path

import pytest

from mola.experiment import record as records
from mola.types import BadInput

ROOT = Path(__file__).parent.parent.parent
RECORD = {
    "version": 4,
    "suite": "tiny",
    "benchmark": "digits",
    "method": "shared",
    "seed": 0,
    "settings": {"training": {"epochs": 1}},
    "data": "d",
    "remarks": [],
    "fingerprint": {"code": "c", "settings": "s", "manifest": "m", "all": "a"},
    "versions": {"torch": "2.15.0"},
    "commit": None,
    "dirty": None,
    "device": "cpu: x86_64",
    "threads": 1,
    "time": "2026-01-01T00:00:00Z",
    "parameters": {"trainable": 10, "inference": 10},
    "flops_per_sample": 100,
    "status": "done",
    "selected": {"model": 1},
    "valid": {"mnist": {"accuracy": 0.5, "loss": 1}},
    "test": {"mnist": {"accuracy": 0.25, "loss": 2.0}},
    "curve": [
        {
            "epoch": 1,
            "lr": 0.1,
            "steps": 2,
            "train_seconds": 1.0,
            "train": {"mnist": 1.0},
            "valid": {"mnist": {"accuracy": 0.5, "auc": None}},
        }
    ],
    "seconds": 1.0,
    "seconds_per_step": 0.5,
    "peak_memory_bytes": 1,
    "weights_sha256": "w",
}


def parse(**changes):
    return records.parse(json.dumps({**RECORD, **changes}).encode())


def test_what_is_written_is_read_again(tmp_path):
    record = parse()
    records.write(tmp_path / "record.json", record)
    again = records.read(tmp_path / "record.json")
    assert again.model_dump_json() == record.model_dump_json()
    assert math.isnan(again.curve[0].valid["mnist"]["auc"]), "null is a number that was not finite"


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"version": 5}, r"version: should be 4, found 5"),
        ({"status": "perhaps"}, r"status: should be 'done' or 'failed', found 'perhaps'"),
        ({"test": {"mnist": {"accuracy": "0.5"}}}, r"test\.mnist\.accuracy: should be a valid number, found '0\.5'"),
        ({"test": {"mnist": {"accuracy": True}}}, r"test\.mnist\.accuracy: .*found True"),
        ({"seed": -1}, r"seed: should be greater than or equal to 0, found -1"),
        ({"colour": "red"}, r"colour: extra inputs are not permitted, found 'red'"),
        ({"fingerprint": {"all": "a"}}, r"fingerprint\.code: field required"),
    ],
)
def test_a_wrong_record_is_one_line(changes, message):
    with pytest.raises(BadInput, match=f"^unreadable record: {message}") as caught:
        parse(**changes)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("content", [b"", b"{", b"[]", b"null", b"\xff\xfe", b"{}", b"[" * 5000])
def test_a_torn_or_foreign_file_is_one_line(content):
    with pytest.raises(BadInput, match=r"^unreadable record: "):
        records.parse(content)


def test_a_record_of_version_1_has_todays_keys():
    old = {key: value for key, value in RECORD.items() if key not in ("version", "settings")}
    old["config"] = {"training": {"epochs": 1, "batch": 32}, "watch": {"paper_rule": True, "routing": 4}}
    old["paper_rule"] = {"selected": {"model": 1}, "test": {"mnist": {"accuracy": 0.75}}}
    old["curve"] = [{**RECORD["curve"][0], "train": {"mnist": 1.0, "penalty": 0.5}}]
    record = records.parse(json.dumps(old).encode())
    assert record.settings == {
        "training": {"epochs": 1, "batch_size": 32},
        "probes": {"oracle_selection": True, "routing": 4},
    }
    assert record.oracle_selection.test == {"mnist": {"accuracy": 0.75}}
    assert record.curve[0].train == {"mnist": 1.0, "aux_loss": 0.5}
    assert record.version == 4


def test_a_record_of_version_3_had_no_backward_passes():
    record = parse(version=3)
    assert (record.version, record.backward_passes) == (4, None)
    assert parse(backward_passes="one for all tasks").backward_passes == "one for all tasks"


def test_a_committed_record_of_version_1_is_read(tmp_path):
    path = Path(__file__).parent / "record_version_1.json"
    old, record = json.loads(path.read_text()), records.read(path)
    content = record.model_dump()
    unchanged = {*old} - {"config", "paper_rule", "fingerprint"}
    assert {key: content[key] for key in unchanged} == {key: old[key] for key in unchanged}
    assert content["oracle_selection"] == old["paper_rule"]
    assert content["fingerprint"] == {**old["fingerprint"], "files": None}
    training = {"batch_size" if key == "batch" else key: value for key, value in old["config"]["training"].items()}
    probes = {"oracle_selection" if key == "paper_rule" else key: v for key, v in old["config"]["watch"].items()}
    rest = {key: value for key, value in old["config"].items() if key != "watch"}
    assert record.settings == {**rest, "training": training, "probes": probes}
    assert records.upgraded_settings(record.settings) == record.settings
    records.write(tmp_path / "record.json", record)
    assert records.read(tmp_path / "record.json") == record


def test_a_record_that_lacks_a_key_is_not_quoted_whole():
    old = json.loads((Path(__file__).parent / "record_version_1.json").read_text())
    with pytest.raises(BadInput) as caught:
        records.parse(json.dumps({key: value for key, value in old.items() if key != "test"}).encode())
    assert str(caught.value) == "unreadable record: test: field required"


def test_the_committed_page_is_the_models():
    text = (ROOT / "docs/record.md").read_text()
    assert text == records.document(), "python -m mola.experiment.record > docs/record.md"
    for key in records.Record.model_fields:
        assert f"| `{key}` |" in text
