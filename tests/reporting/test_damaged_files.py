"""Whatever is in the files of results: one line that names what is wrong, and no number that no run gave."""

import copy
import json
import random
import shutil

import pytest
from synthetic import drawn, fill, make_suite, record, tune

from mola.data.splits import manifest
from mola.experiment import index
from mola.experiment import record as stored
from mola.experiment.spec import experiments
from mola.experiment.status import look
from mola.files import with_checksum
from mola.reporting.figures import conflict, embedding, expert_use, routing, tuning_history, tuning_importance
from mola.reporting.figures._source import Source
from mola.reporting.pages.about import about
from mola.reporting.results.read import read_results
from mola.reporting.results.snapshots import snapshot
from mola.reporting.tables.assemble import benchmark_table
from mola.reporting.write import write_tables
from mola.types import BadInput

FIGURES = (conflict, embedding, expert_use, routing, tuning_history, tuning_importance)
NASTY = [
    None,
    True,
    False,
    -1,
    0,
    2.5,
    150,
    1e308,
    float("nan"),
    "",
    "x",
    "9" * 5000,
    [],
    {},
    [[]],
    {"all": 1},
    "\ud800",
]
MUTATIONS = 500


@pytest.fixture
def suite(tmp_path, monkeypatch):
    """Two tuned rows of two seeds, with indices, probes, and a split manifest of its own."""
    shutil.copytree(manifest.SPLITS, tmp_path / "splits")
    monkeypatch.setattr(manifest, "SPLITS", tmp_path / "splits")
    suite = make_suite(tmp_path, methods=("shared", "mola_router"), seeds=2, tune={"trials": 3})
    for label in suite.methods:
        tune(suite, "digits", label, {"training": {"lr": 0.25}})
    fill(suite, drawn({"mola_router": 0.1}), epochs=2)
    for experiment in experiments(suite):
        write_index(experiment)
        grams = [{"stem": [[9, 3], [3, 1]]}, {"stem": [[9, 0], [0, 1]]}]
        probes = {
            "gradients": {"tasks": ["a", "b"], "epochs": [{"epoch": 1, "grams": grams}]},
            "routing": {"weights": {"mnist": [[0.25, 0.75], [1, 0]]}, "sizes": {"layer1": [1, 2]}},
        }
        path = experiment.run_folder(0) / "analysis.json"
        path.write_text(json.dumps(with_checksum({"fingerprint": experiment.fingerprint["all"], **probes})))
    return suite


def write_index(experiment):
    runs = {}
    for seed in experiment.suite.seeds:
        content = (experiment.run_folder(seed) / stored.NAME).read_bytes()
        runs[str(seed)] = {"status": "done", "sha256": index.checksum(content)}
    (experiment.folder / index.NAME).write_text(
        json.dumps({"fingerprint": experiment.fingerprint["all"], "runs": runs})
    )


def counted(suite):
    """(label, seed) → the record that tables count, and the reasons of the others, after all of it was read."""
    for experiment in experiments(suite):
        experiment.damage  # noqa: B018
        for seed in suite.seeds:
            look(experiment, seed)
    (results,) = read_results(suite).values()
    benchmark_table("digits", results, suite.seeds, suite.reference)
    source = Source(suite, "digits", results)
    for figure in FIGURES:
        figure.data(source)
    about(suite, "text")
    snapshot(str(suite.folder), suite.folder)
    records = {(row.label, seed): one for row in results.rows for seed, one in row.records.items()}
    return records, {(row.label, seed): text for row in results.rows for seed, text in row.problems.items()}


def outcome(suite):
    """The same, and the one line where all of it is refused."""
    try:
        return *counted(suite), ""
    except BadInput as error:
        return {}, {}, str(error)


def leaves(value, at=()):
    yield at
    inner = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, one in inner:
        yield from leaves(one, (*at, key))


def mutated(content, draw, others):
    kind = draw.choice(["bit", "bit", "cut", "leaf", "leaf", "leaf", "gone", "copy", "bytes", "deep"])
    if kind == "bit":
        place = draw.randrange(len(content))
        return content[:place] + bytes([content[place] ^ 1 << draw.randrange(8)]) + content[place + 1 :]
    if kind == "cut":
        return content[: draw.randrange(len(content))]
    if kind == "copy":
        return draw.choice(others)
    if kind == "bytes":
        return draw.randbytes(draw.randrange(40))
    if kind == "deep":
        return b"[" * 20_000
    try:
        tree = copy.deepcopy(json.loads(content))
    except ValueError:  # a CSV
        return content.replace(b",", draw.choice([b";", b",,", b"\n", b"x"]), draw.randrange(9))
    place = draw.choice([at for at in leaves(tree) if at])
    inner = tree
    for key in place[:-1]:
        inner = inner[key]
    if kind == "gone":
        del inner[place[-1]]
    else:
        inner[place[-1]] = draw.choice(NASTY)
    return json.dumps(tree).encode()


@pytest.mark.slow
def test_no_mutation_of_a_file_is_a_traceback_or_a_number(suite, tmp_path):
    draw = random.Random(0)
    clean, none = counted(suite)
    assert len(clean) == 4 and not none
    files = [
        path
        for path in sorted(suite.folder.rglob("*"))
        if path.is_file() and path.name not in ("inputs.json", "study.json")
    ] + [tmp_path / "splits/digits.json"]
    records = [path for path in files if path.name == stored.NAME]
    noticed, there = 0, {path for path in tmp_path.rglob("*") if suite.folder not in path.parents}
    for _ in range(MUTATIONS):
        path = draw.choice(records if draw.random() < 0.4 else files)
        before = path.read_bytes()
        path.write_bytes(mutated(before, draw, [other.read_bytes() for other in records if other != path]))
        records_now, reasons, message = outcome(suite)
        for key, one in records_now.items():
            assert one.model_dump_json() == clean[key].model_dump_json(), (path, path.read_bytes()[:200])
        assert message or {*records_now} | {*reasons} == {*clean}
        assert not message or (path.name in message and len(message.splitlines()) == 1)
        noticed += bool(reasons or message)
        path.write_bytes(before)
    assert noticed > MUTATIONS / 3
    assert {path for path in tmp_path.rglob("*") if suite.folder not in path.parents} == there, "written elsewhere"
    assert not outcome(suite)[1]


def test_numbers_out_of_range_do_not_count_without_an_index_either(suite):
    for path in suite.folder.rglob(index.NAME):
        path.unlink()
    path = record(suite, "shared", 0)
    before = json.loads(path.read_text())
    for value in (-1, True, 2.5, 150, 1e308):
        content = copy.deepcopy(before)
        content["test"]["mnist"]["accuracy"] = value
        path.write_text(json.dumps(content))
        records, reasons = counted(suite)
        assert ("shared", 0) not in records and "changed or damaged" in reasons["shared", 0]
        path.write_text(json.dumps(with_checksum(content)))
        records, reasons = counted(suite)
        assert ("shared", 0) not in records and "unreadable record" in reasons["shared", 0]
        one = look(experiments(suite)[0], 0)
        assert (one.state, one.reason) == ("stale", reasons["shared", 0]), "mola status counts what tables count"
    for key, value in (("seed", 1), ("method", "mola_router"), ("benchmark", "glyphs"), ("suite", "other")):
        path.write_text(json.dumps(with_checksum(before | {key: value})))
        assert ("shared", 0) not in counted(suite)[0]


def test_tables_are_left_alone_where_no_run_counts(suite):
    write_tables(suite)
    table = suite.folder / "tables/digits.md"
    before = table.read_bytes()
    for label in suite.methods:
        for seed in suite.seeds:
            record(suite, label, seed).write_text("{}")
    with pytest.raises(
        BadInput, match=r"expected a run that counts, found none of 4: 4 .*not the record that runs.json"
    ):
        write_tables(suite)
    assert table.read_bytes() == before
