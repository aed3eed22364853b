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
        ({"version": 6}, r"version: should be 5, found 6"),
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


@pytest.mark.parametrize(
    "change",
    [
        lambda content: content["test"]["mnist"].update(accuracy=0.99),
        lambda content: content["settings"]["training"].update(epochs=2),
        lambda content: content.pop("remarks"),
        lambda content: content.pop("sha256"),
        lambda content: content.update(sha256=None),
    ],
    ids=["a score", "a setting", "a key less", "no checksum", "an empty one"],
)
def test_an_edited_record_is_refused_whether_an_index_lists_it_or_not(tmp_path, change):
    path = tmp_path / "record.json"
    records.write(path, parse())
    content = json.loads(path.read_text())
    change(content)
    path.write_text(json.dumps(content))
    with pytest.raises(BadInput, match=r"^changed or damaged since it was written"):
        records.read(path)


def test_records_from_before_version_5_have_no_checksum(tmp_path):
    path = tmp_path / "record.json"
    path.write_text(json.dumps({**RECORD, "version": 4}))
    assert records.read(path) == parse()


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
    assert record.version == 5


def test_a_record_of_version_3_had_no_backward_passes():
    record = parse(version=3)
    assert (record.version, record.backward_passes) == (5, None)
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
