"""The command line as a user meets it: real processes, one line for bad input, exit codes."""

import json
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import yaml

from mola import cli

ROOT = Path(__file__).parent.parent.parent


def mola(*words, cwd=ROOT):
    done = subprocess.run(
        [sys.executable, "-m", "mola.cli", *map(str, words)], capture_output=True, text=True, cwd=cwd, check=False
    )
    assert "Traceback" not in done.stderr, done.stderr
    return done


def refuses(done, *parts):
    assert done.returncode == 2, (done.returncode, done.stderr)
    assert len(done.stderr.strip().splitlines()) == 1, done.stderr
    for part in parts:
        assert part in done.stderr


def test_help_teaches():
    text = " ".join(mola("--help").stdout.split())
    assert mola().stdout.split() == mola("--help").stdout.split()
    commands = ("fetch", "prepare", "tune", "train", "table", "list", "status", "reproduce")
    for word in (*commands, "Exit codes", "mola list"):
        assert word in text
    assert "mola_router -s 0" in mola("train", "--help").stdout


def test_version_is_the_one_of_the_citation():
    done = mola("--version")
    version = yaml.safe_load((ROOT / "CITATION.cff").read_text())["version"]
    assert (done.returncode, done.stdout) == (0, f"mola {version}\n")


def test_a_package_that_is_not_installed_is_named_with_what_brings_it(suite_file):
    code = "import sys; sys.modules['pandas'] = None\nfrom mola.__main__ import main; main()"
    command = [sys.executable, "-c", code, "table", "-c", str(suite_file())]
    done = subprocess.run(command, capture_output=True, text=True, cwd=ROOT, check=False)
    expected = "mola: mola table needs pandas: pip install 'mola-bench[bench]'\n"
    assert (done.returncode, done.stderr) == (2, expected)


def test_help_is_free_of_heavy_imports():
    code = (
        "import sys; sys.argv = ['mola', '--help']\n"
        "import mola.cli\n"
        "try: mola.cli.main()\n"
        "finally: assert not {'torch', 'pandas', 'yaml'} & set(sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, check=False).returncode == 0


def test_list_shows_names_with_sources():
    text = mola("list").stdout
    assert "mola_router" in text and "arXiv 2406.09679" in text and "digits" in text and "LeCun" in text


@pytest.mark.parametrize(
    ("words", "parts"),
    [
        (["train", "-c", "nowhere.yaml"], ["nowhere.yaml", "no such file"]),
        (["train", "-m", "mola_roter"], ["mola_roter", "did you mean 'mola_router'?"]),
        (["train", "-b", "digit"], ["digit", "did you mean 'digits'?"]),
        (["train", "-s", "zero"], ["--seed", "integer"]),
        (["train", "-s", "-1"], ["--seed"]),
        (["tune", "-m", "sharde"], ["sharde", "did you mean 'shared'?"]),
        (["tune", "-c", "config/smoke.yaml", "-m", "shared"], ["tune: expected a section", "'smoke'"]),
        (["trian"], ["trian"]),
        (["train", "--sed", "0"], ["--sed"]),
    ],
)
def test_bad_words_get_one_line(words, parts):
    refuses(mola(*words), *parts)


def test_bad_key_gets_one_line_and_writes_nothing(suite_file, tmp_path):
    path = suite_file(training={"epohcs": 1})
    refuses(mola("train", "-c", path), str(path), "training.epohcs: unknown key, did you mean 'epochs'?")
    assert not (tmp_path / "results").exists()


def test_results_that_cannot_be_written(suite_file, tmp_path):
    (tmp_path / "results").write_text("a file, not a folder")
    refuses(mola("train", "-c", suite_file()), "results", "folder")


def test_train_status_table_round(suite_file, tmp_path):
    path = suite_file(seeds=2, reference="shared", methods={"shared": None, "mola_grad": None})
    assert mola("status", "-c", path).stdout.endswith("\n4 to do\n"), "no time is known"
    assert mola("train", "-c", path, "-m", "shared").returncode == 0
    more = mola("train", "-c", path, "-m", "mola_grad", "-s", "1", "-s", "7")
    assert more.returncode == 0 and "seed 7 is none of the suite's seeds: tables leave it out" in more.stderr
    last = mola("status", "-c", path).stdout.splitlines()[-1]
    words = r"3 done, 1 to do; \d+ s of training recorded, about \d+ s to do in one process"
    assert re.fullmatch(words, last), last
    folder = tmp_path / "results/tiny/digits"
    assert json.loads((folder / "shared/runs.json").read_text())["runs"]["1"]["status"] == "done"
    assert not (folder / "mola_grad/runs.json").exists()  # a seed is still to do
    paths = mola("table", "-c", path)
    assert paths.returncode == 0 and "digits: 1 of 4 runs are not in; digits.md tells why" in paths.stderr
    text = (tmp_path / "results/tiny/tables/digits.md").read_text()
    assert "| mola_grad † |" in text and "mola_grad, seeds 0: missing: not trained" in text


def test_one_benchmark_twice_from_data_to_tables_and_figures(suite_file, tmp_path):
    entries = {name: {"benchmark": "digits", "limit": 32, "train": n} for name, n in (("small", 16), ("large", 24))}
    entries["large"]["training"] = {"epochs": 1}
    path = suite_file(benchmarks=entries, reference="shared", methods={"shared": None, "single_task": None})
    for words in (["prepare"], ["prepare", "digits"], ["fetch"]):
        lines = mola(*words, "-c", path).stdout.splitlines()
        assert [line.partition(":")[0] for line in lines] == ["small, large"], words
    assert mola("prepare", "-b", "large", "-c", path).stdout.startswith("large: prepared in")
    refuses(mola("train", "-b", "digits", "-c", path), "benchmark 'digits' is not in suite 'tiny'")
    assert mola("train", "-c", path).returncode == 0
    results = tmp_path / "results/tiny"
    records = {label: json.loads((results / label / "shared/seed0/record.json").read_text()) for label in entries}
    assert [len(record["curve"]) for record in records.values()] == [2, 1]
    assert records["small"]["weights_sha256"] != records["large"]["weights_sha256"]
    assert {record["settings"]["benchmark"] for record in records.values()} == {"digits"}
    assert mola("table", "-c", path).returncode == mola("figures", "-c", path).returncode == 0
    for label in entries:
        assert "| single_task |" in (results / f"tables/{label}.md").read_text()
        assert (results / f"figures/{label}.tasks.csv").is_file()
    assert "shared" in (results / "figures/small.length.csv").read_text()
    assert not (results / "figures/summary.amounts.csv").exists(), "two amounts are no line"
    assert "2 entries of 1 benchmark together" in (results / "tables/summary.tests.md").read_text()
    compared = mola("report", "-c", path, "--compare", results, results).stdout
    assert "# large" in compared and compared.count("nothing that a run depends on changed") == 2


def test_a_failed_run_exits_1_and_the_next_is_trained_all_the_same(suite_file, tmp_path):
    wild = {"method": "shared", "training": {"lr": 1e30, "optimizer": "sgd"}}
    path = suite_file(methods={"wild": wild, "shared": None})
    done = mola("train", "-c", path)
    assert done.returncode == 1
    assert "failed: digits/wild, seed 0; again: mola train -c " in done.stderr
    log = (tmp_path / "results/tiny/digits/wild/seed0/log.txt").read_text()
    assert "training diverged" in log and "Traceback" in log
    assert "1 done, 1 failed" in mola("status", "-c", path).stdout
    assert not (tmp_path / "results/tiny/digits/wild/runs.json").exists()


def test_a_flipped_byte_in_the_prepared_data(suite_file, tmp_path, data_root):
    import shutil

    shutil.copytree(data_root, tmp_path / "data")
    path = suite_file(data=str(tmp_path / "data"))
    victim = max((tmp_path / "data/digits").glob("*.npy"), key=lambda p: p.stat().st_size)
    content = bytearray(victim.read_bytes())
    content[len(content) // 2] ^= 1
    victim.write_bytes(content)
    refuses(mola("train", "-c", path), victim.name, "sha256", "mola prepare")
    assert not (tmp_path / "results").exists()
    assert mola("prepare", "-c", path).returncode == 0
    assert np.load(victim).dtype == np.uint8
    assert mola("train", "-c", path).returncode == 0


def test_unprepared_data_says_what_to_run(suite_file, tmp_path):
    content = yaml.safe_load(suite_file().read_text())
    content["data"] = str(tmp_path / "empty")
    (tmp_path / "suite.yaml").write_text(yaml.safe_dump(content))
    refuses(mola("train", "-c", tmp_path / "suite.yaml"), "mola prepare")


def test_a_benchmark_that_can_not_be_had_does_not_keep_the_others_back(tmp_path, monkeypatch, capsys):
    config = tmp_path / "config.yaml"
    config.write_text(
        f"suite: s\ndata: {tmp_path / 'data'}\nseeds: 1\nreference: shared\nmethods: {{shared: }}\n"
        "benchmarks: {radimagenet: , digits: }\nbackbone: {name: resnet10t}\ntraining: {epochs: 1}\n"
    )
    monkeypatch.setattr("sys.argv", ["mola", "fetch", "-c", str(config)])
    with pytest.raises(SystemExit, match="2"):
        cli.main()
    text = capsys.readouterr()
    assert text.out == "digits: 4 sources verified\n"
    assert text.err.startswith("mola: ") and "radimagenet, which is given on request only" in text.err
