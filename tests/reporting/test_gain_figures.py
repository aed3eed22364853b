"""Gain against the amount of data and the length of training: numbers by hand, what is no series, and the pictures."""

import math

import numpy as np
import pandas as pd
import pytest
from matplotlib.text import Text
from synthetic import experiment, fill, make_suite

from mola import registry
from mola.config import load
from mola.reporting.figures import amounts, length
from mola.reporting.figures._labels import spread_out
from mola.reporting.figures._source import Source, row_groups, sources
from mola.reporting.figures._style import styles_of, theme
from mola.reporting.figures._write import write_figures
from mola.reporting.results.read import Results
from mola.reporting.statistics import t_half_width
from mola.source import ROOT

TASKS = ("mnist", "optdigits", "mnistm", "printed")
AMOUNTS = {f"digits_{n}": {"benchmark": "digits", "train": n} for n in (100, 25, 50)}
ROWS = {"shared": {}, "single_task": {}, "mola_grad": {}}
# points over shared by number of images, and by seed
GAINS = {"single_task": {25: -6, 50: -3, 100: 1}, "mola_grad": {25: 2, 50: 1, 100: 0}, "shared": {25: 0, 50: 0, 100: 0}}
BY_SEED = (-1.0, 0.0, 4.0)


def score(name, label, seed):
    """On test: seed k of shared is at .5 + .1 k; the others gain by amount and by seed."""
    images = int(name.rpartition("_")[2])
    gain = GAINS[label][images] + (0 if label == "shared" else BY_SEED[seed])
    return 0.5 + 0.1 * seed + gain / 100


def curve(*steps, start=0.0):
    """Epochs of so many steps each; the validation score of single_task gains 2 points an epoch, and more by seed."""

    def of(name, label, seed):
        epochs = []
        for epoch, number in enumerate(steps):
            gain = 0 if label == "shared" else start + 2 * epoch + BY_SEED[seed]
            valid = {task: {"accuracy": 0.4 + 0.05 * epoch + gain / 100, "loss": 1.0} for task in TASKS}
            entry = {"epoch": epoch + 1, "lr": 0.1, "steps": number, "train_seconds": 9.0, "valid": valid}
            epochs.append({**entry, "train": dict.fromkeys(TASKS, 1.0)})
        return epochs

    return of


@pytest.fixture
def suite(tmp_path):
    suite = make_suite(
        tmp_path, methods=ROWS, benchmarks=AMOUNTS, seeds=3, reference="single_task", compare_to="shared"
    )
    fill(suite, score, curve=curve(7, 7, 7))
    return suite


def entry(frame, **where):
    for key, value in where.items():
        frame = frame[frame[key] == value]
    assert len(frame) == 1
    return frame.iloc[0]


def test_amounts_are_paired_differences_from_the_row_compared_with(suite):
    frame = amounts.suite_data(sources(suite))
    assert list(frame["images"].unique()) == [25, 50, 100], "by amount, whatever the order of the suite"
    assert set(frame["method"]) == {"single_task", "mola_grad"} and set(frame["against"]) == {"shared"}
    assert set(frame["benchmark"]) == {"digits"} and set(frame["panel"]) == {"all rows"}
    for label in ("single_task", "mola_grad"):
        for images in (25, 50, 100):
            line = entry(frame, method=label, images=images)
            # -1, 0 and 4 by seed: mean 1, sd √7
            assert line["mean"] == pytest.approx(GAINS[label][images] + 1)
            assert line["ci95"] == pytest.approx(4.302653 * math.sqrt(7 / 3))
            assert (line["n"], line["asked"], line["entry"]) == (3, 3, f"digits_{images}")


def test_a_seed_that_either_row_lacks_is_no_pair(suite):
    (experiment(suite, "shared", "digits_25").run_folder(2) / "record.json").unlink()
    line = entry(amounts.suite_data(sources(suite)), method="mola_grad", images=25)
    assert line["mean"] == pytest.approx(2 - 0.5) and (line["n"], line["asked"]) == (2, 3)


def series(tmp_path, entries, **changes):
    suite = make_suite(tmp_path, methods=ROWS, benchmarks=entries, seeds=2, reference="shared", **changes)
    fill(suite, lambda name, label, seed: 0.5)
    return amounts.suite_data(sources(suite))


def test_what_makes_a_series(tmp_path):
    limits = {f"digits_{n}": {"benchmark": "digits", "limit": n, "training": {"epochs": n}} for n in (16, 32, 64)}
    assert list(series(tmp_path, limits)["images"].unique()) == [16, 32, 64], "limit does, too, and any training"
    both = {label: {**options, "limit": 40} for label, options in AMOUNTS.items()}
    assert series(tmp_path, both).empty, "50 and 100 are both cut to 40"
    two = {label: AMOUNTS[label] for label in ("digits_25", "digits_50")}
    assert series(tmp_path, two).empty, "two amounts are no line"
    whole = series(tmp_path, two | {"digits": {}})
    assert dict(zip(whole["entry"], whole["images"], strict=True)) == {"digits_25": 25, "digits_50": 50, "digits": 500}
    alone = series(tmp_path, AMOUNTS | {"digits": {"balancer": "dwa"}})
    assert list(alone["benchmark"].unique()) == ["digits"], "an entry alone is no series of its own"
    far = series(tmp_path, two | {"digits_9999": {"benchmark": "digits", "train": 9999}, "digits": {}})
    assert far.empty, "both have all images"
    assert series(tmp_path, {**AMOUNTS, "again": {"benchmark": "digits", "train": 25}}).empty, "one amount twice"
    other = {**two, "digits_100": {"benchmark": "digits", "train": 100, "backbone": {"name": "resnet10t"}}}
    assert series(tmp_path, other).empty, "another backbone is another line"


def test_an_amount_is_what_the_tasks_really_have(tmp_path):
    entries = {f"glyphs_{n}": {"benchmark": "glyphs", "train": n} for n in (100, 200, 500)} | {"glyphs": {}}
    lengths = registry.create("benchmarks", "glyphs", tmp_path, options={}).lengths("train").values()
    assert min(lengths) < 500 < max(lengths)
    expected = [100, 200, round(sum(min(n, 500) for n in lengths) / 4), round(sum(lengths) / 4)]
    frame = series(tmp_path, entries)
    assert list(frame["images"].unique()) == expected
    assert list(frame["entry"].unique()) == ["glyphs_100", "glyphs_200", "glyphs_500", "glyphs"]


def test_series_of_one_benchmark_with_other_options_have_their_titles(tmp_path):
    sizes = {f"pacs{s}_{n}": {"benchmark": "pacs", "size": s, "train": n} for s in (64, 96) for n in (10, 20, 30)}
    frame = series(tmp_path, sizes)
    assert list(frame["benchmark"].unique()) == ["pacs, from pacs64_10", "pacs, from pacs96_10"]


def test_without_a_row_to_compare_with_there_is_neither(tmp_path):
    suite = make_suite(tmp_path, methods=ROWS, benchmarks=AMOUNTS, seeds=3, reference=None)
    fill(suite, score, curve=curve(7, 7))
    assert amounts.suite_data(sources(suite)).empty and length.data(sources(suite)[0]).empty
    _, missing = write_figures(suite)
    assert any(line.startswith("not made: length of digits_100") and "row to compare with" in line for line in missing)


def test_length_is_the_paired_difference_on_valid_at_the_same_step(suite):
    frame = length.data(sources(suite)[0])
    line = entry(frame, method="mola_grad", steps=14)
    assert line["mean"] == pytest.approx(2 + 1) and line["ci95"] == pytest.approx(t_half_width([1.0, 2.0, 6.0]))
    assert (line["n"], line["asked"], line["against"]) == (3, 3, "shared")
    assert sorted(frame["steps"].unique()) == [7, 14, 21] and set(frame["method"]) == {"single_task", "mola_grad"}


def test_only_steps_that_both_rows_have_are_compared(tmp_path):
    suite = make_suite(tmp_path, methods=ROWS, benchmarks=AMOUNTS, seeds=3, reference="shared")
    fill(suite, score, curve=lambda b, m, s: curve(*((6, 6, 6) if m == "single_task" else (3, 3, 3, 3)))(b, m, s))
    frame = length.data(sources(suite)[0])
    lines = frame[frame["method"] == "single_task"]
    assert list(lines["steps"]) == [6, 12]
    # its first epoch stands against the second of shared, 5 points higher
    assert list(lines["mean"]) == pytest.approx([1 - 5, 2 + 1 - 10])


def test_one_epoch_is_no_length(tmp_path):
    suite = make_suite(tmp_path, methods=ROWS, benchmarks=AMOUNTS, seeds=3, reference="shared")
    fill(suite, score, curve=curve(7))
    assert length.data(sources(suite)[0]).empty


def test_more_than_six_rows_stand_in_panels_of_their_headings(tmp_path):
    rows = {"shared": {}} | {f"row_{i}": {"method": "shared", "group": "many" if i < 8 else "few"} for i in range(10)}
    suite = make_suite(tmp_path, methods=rows, benchmarks=AMOUNTS, seeds=2, reference="shared")
    groups = {title: [row.label for row in some] for title, some in row_groups(sources(suite)[0])}
    assert groups == {
        "many, 1 to 6": [f"row_{i}" for i in range(6)],
        "many, 7 to 8": ["row_6", "row_7"],
        "few": ["row_8", "row_9"],
    }


def test_names_keep_their_distance_and_their_order():
    assert spread_out([0.2, 0.9], 0.1) == pytest.approx([0.2, 0.9]), "nothing to do"
    assert spread_out([0.5, 0.5, 0.5], 0.1) == pytest.approx([0.4, 0.5, 0.6])
    assert spread_out([1.0, 0.98], 0.1) == pytest.approx([1.0, 0.9]), "none leaves the axes"
    assert spread_out([0.0] * 5, 0.5) == pytest.approx([0, 0.25, 0.5, 0.75, 1]), "too many: as far as can be"
    draws = np.random.default_rng(0)
    for number in range(1, 12):
        wished = draws.uniform(size=number)
        places = np.array(spread_out(list(wished), 0.05))
        order = np.argsort(wished)
        assert (np.diff(places[order]) > 0.05 - 1e-9).all() and places.min() >= 0 and places.max() <= 1


@pytest.mark.parametrize("module", [amounts, length])
def test_every_line_has_its_name_and_the_text_can_be_read(suite, module):
    for seed in range(3):
        for name in AMOUNTS:
            (experiment(suite, "mola_grad", name).run_folder(seed) / "record.json").unlink()
    (experiment(suite, "single_task", "digits_100").run_folder(1) / "record.json").unlink()
    frame = amounts.suite_data(sources(suite)) if module is amounts else length.data(sources(suite)[0])
    with theme():
        figure = module.draw(frame, styles_of(list(suite.methods)))
    texts = [text for text in figure.findobj(Text) if text.get_visible() and text.get_text()]
    names = {text.get_text() for text in texts}
    assert {"shared", "single_task † 2/3 seeds", "mola_grad † 0/3 seeds"} <= names
    assert any(name.startswith("Gain over shared by the ") for name in names)
    assert min(text.get_fontsize() for text in texts) >= 7 and figure.get_size_inches()[0] <= 7.0
    bottom, top = figure.axes[0].get_ylim()
    assert bottom < 0 < top, "the row compared with is always in the picture"


def test_the_files(suite):
    paths, missing = write_figures(suite)
    names = {path.name for path in paths}
    assert {f"summary.amounts.{ending}" for ending in ("png", "svg", "csv")} <= names
    assert {f"{name}.length.csv" for name in AMOUNTS} <= names and not any("amounts" in line for line in missing)
    read = pd.read_csv(suite.folder / "figures/summary.amounts.csv")
    assert entry(read, method="single_task", images=25)["mean"] == pytest.approx(-5)


def test_the_committed_suite_is_one_series():
    suite = load(ROOT / "config/amounts.yaml")
    entries = [Source(suite, name, Results((), ())) for name in suite.benchmarks]
    assert {title: list(amounts_) for title, amounts_ in amounts._series(entries)} == {
        "digits": [25, 50, 100, 200, 500],
        "glyphs": [25, 50, 100, 200],
    }
