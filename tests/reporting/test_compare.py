"""`mola report --compare`: two folders, or two commits, side by side."""

import csv
import json
import subprocess
import sys
from pathlib import Path

import pytest
from synthetic import OTHER, drawn, edit, fill, make_suite, record

from mola.reporting.render import several, to_markdown
from mola.reporting.results.snapshots import snapshot
from mola.reporting.tables.compare import compare
from mola.types import BadInput

ROOT = Path(__file__).parent.parent.parent


def git(*words, cwd):
    name = ["-c", "user.name=someone", "-c", "user.email=someone@example.org"]
    subprocess.run(["git", *name, *words], cwd=cwd, check=True, capture_output=True)


@pytest.fixture
def repository(tmp_path, monkeypatch):
    """Two commits of a suite: mola_grad gains five points, shared nothing, and training became longer."""
    monkeypatch.chdir(tmp_path)
    git("init", "-q", cwd=tmp_path)
    for epochs, gain in ((2, 0.0), (3, 0.05)):
        suite = make_suite(tmp_path, seeds=11, training={"epochs": epochs})
        score = drawn({}, noise=0.02)
        fill(suite, lambda b, m, s, score=score, gain=gain: score(b, m, s) + gain * (m == "mola_grad"))
        git("add", "-A", cwd=tmp_path)
        git("commit", "-qm", f"{epochs} epochs", cwd=tmp_path)
    return suite


def lines(table):
    return [line.strip("| ").split(" | ") for line in to_markdown(table).splitlines() if line.startswith("|")]


def test_two_commits(repository):
    (table,) = compare(
        snapshot("HEAD~1", repository.folder), snapshot("HEAD", repository.folder), list(repository.methods)
    )
    head, _, *body = lines(table)
    assert head == ["method", "A", "n (A)", "B", "n (B)", "B − A", "p", "p (Holm)", "n"]
    assert [row[0] for row in body] == ["single_task", "shared", "mola_grad"]
    assert body[1][5:] == ["+0.00 [+0.00, +0.00]", "1.0000", "1.0000", "11"]
    assert body[2][5:] == ["+5.00 [+5.00, +5.00]", "0.0010", "0.0029", "11"]
    assert body[1][2] == body[1][4] == "11"
    assert table.notes == ("training.epochs 2 → 3",)
    assert "A: HEAD~1 (" in table.caption and "B: HEAD (" in table.caption


def test_a_folder_and_a_commit_and_a_folder_in_one(repository):
    folder = str(repository.folder)
    for other in ("HEAD", "HEAD:results/synthetic"):
        (table,) = compare(
            snapshot(folder, repository.folder),
            snapshot(other, Path("results/elsewhere/synthetic" if ":" in other else folder)),
        )
        assert {row[5] for row in lines(table)[2:]} == {"+0.00 [+0.00, +0.00]"}
        assert table.notes == ("nothing that a run depends on changed",)


def test_what_is_wrong_is_named_and_left_out(repository):
    edit(record(repository, "shared", 0), status="failed", reason="OutOfMemoryError")
    edit(record(repository, "shared", 1), fingerprint=OTHER)
    record(repository, "shared", 2).write_text("{")
    edit(record(repository, "shared", 3), test={})
    edit(record(repository, "shared", 4), data="other")
    edit(record(repository, "shared", 5), dirty=True)
    record(repository, "shared", 10).unlink()
    (table,) = compare(snapshot("HEAD", repository.folder), snapshot(str(repository.folder), repository.folder))
    row = next(row for row in lines(table) if row[0] == "shared")
    assert row[2::2] == ["11", "4", "not testable", "4"]
    for note in (
        "shared: B, seeds 0: failed: OutOfMemoryError",
        "shared: B, seeds 1: left out: of other code, settings or splits than the inputs.json beside it",
        "shared: B, seeds 2: unreadable record",
        "shared: B, seeds 3: unreadable record: test: expected a number for mnist accuracy, found none",
        "shared: B, seeds 4: left out: made on other prepared data than most runs of this side",
        "shared: B, seeds 5: left out: trained from a working tree with uncommitted changes; counted as a draft with",
    ):
        assert any(line.startswith(note) for line in table.notes), (note, table.notes)


def test_means_are_of_one_prepared_data_on_either_side(repository, tmp_path):
    fill(repository, lambda b, m, s: 0.9 if s < 3 else 0.5, data=lambda b, m, s: "older" if s < 3 else "newer")
    (table,) = compare(snapshot(str(repository.folder), repository.folder), snapshot("HEAD", repository.folder))
    for row in lines(table)[2:]:
        assert row[1:3] == ["50.00 ± 0.00", "8"] and row[5:] == ["–"] * 4
    assert "A, seeds 0–2: left out: made on other prepared data than most runs of this side" in table.notes
    assert "seeds 3–10 were made on other prepared data in B: no difference" in table.notes
    assert not any("nothing" in note for note in table.notes)


def test_rows_and_benchmarks_of_one_side_alone(repository, tmp_path):
    other = make_suite(tmp_path, methods=("shared", "mmoe"), benchmarks=("glyphs",), suite="other", seeds=2)
    fill(other, drawn({}))
    compared = compare(snapshot("HEAD", repository.folder), snapshot(str(other.folder), other.folder))
    assert [table.title for table in compared] == ["digits", "glyphs"]
    assert compared[0].notes == ("no runs in B",) and compared[1].notes == ("no runs in A",)
    assert lines(compared[1])[2][1:3] == ["–", "0"] and lines(compared[1])[2][4:] == ["2", *["–"] * 4]
    text = several({table.title: table for table in compared})
    assert [row["benchmark"] for row in csv.DictReader(text.splitlines())] == ["digits"] * 3 + ["glyphs"] * 2


def test_a_benchmark_that_is_no_more(repository):
    (repository.folder / "digits").rename(repository.folder / "gone")
    for path in repository.folder.glob("gone/*/*/record.json"):
        edit(path, settings=json.loads(path.read_text())["settings"] | {"benchmark": "gone"})
    (table, _) = compare(snapshot(str(repository.folder), repository.folder), snapshot("HEAD", repository.folder))[::-1]
    assert table.title == "gone" and "is no benchmark of this version" in to_markdown(table)


@pytest.mark.parametrize(
    ("side", "message"),
    [
        ("HEAD~7", "expected a folder of results or a git revision, found 'HEAD~7'"),
        ("--all", "expected a folder of results or a git revision, found '--all'"),
        ("HEAD:nowhere", "expected <benchmark>/<method>/seed<k>/record.json, found none"),
        (".", "expected <benchmark>/<method>/seed<k>/record.json, found none"),
    ],
)
def test_sides_that_are_none(repository, side, message):
    with pytest.raises(BadInput, match=message):
        snapshot(side, repository.folder)


def test_the_command(repository, tmp_path):
    def mola(*words):
        command = [sys.executable, "-m", "mola.cli", "report", "-c", "suite.yaml", *words]
        environment = {"PYTHONPATH": str(ROOT), "PATH": "/usr/bin:/bin"}
        return subprocess.run(command, capture_output=True, text=True, check=False, cwd=tmp_path, env=environment)

    edit(record(repository, "shared", 3), dirty=True)
    done = mola("--compare", "HEAD~1", "results/synthetic", "--drafts", "--out", "both.html")
    assert done.returncode == 0, done.stderr
    assert "shared: B, seeds 3: trained from a working tree with uncommitted changes: a draft" in done.stdout
    assert "| mola_grad |" in done.stdout and "B − A" in (tmp_path / "both.html").read_text()
    for words in (
        ["--compare", "HEAD", "HEAD", "--out", "both.pdf"],
        ["--drafts"],
        ["--compare", "HEAD", "nowhere"],
    ):
        done = mola(*words)
        assert done.returncode == 2 and len(done.stderr.strip().splitlines()) == 1, done.stderr
