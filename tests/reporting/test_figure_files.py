"""The files of figures: which are written, with which bytes, and that any label can be drawn."""

import importlib
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from matplotlib.colors import to_rgb
from matplotlib.text import Text
from synthetic import fill, make_suite

from mola.reporting.figures import cost
from mola.reporting.figures._source import sources
from mola.reporting.figures._style import COLOURS, ON_DARK, slots_of, styles_of, theme
from mola.reporting.figures._write import _draw, names, write_figures

# figures over several entries of a suite
OF_SUITES = ("amounts", "critical_difference")


def test_the_same_records_give_the_same_files_and_none_outlives_its_data(probed_suite):
    old = probed_suite.folder / "figures" / "digits.forgotten.png"
    old.parent.mkdir()
    old.touch()
    paths, missing = write_figures(probed_suite)
    assert not old.exists()
    drawn = {path.name.split(".")[1] for path in paths}
    assert drawn == {*names()} - {*OF_SUITES} and len(paths) == 3 * len(drawn)
    assert sorted(old.parent.iterdir()) == sorted(paths), "no temporary file is left"
    assert len(missing) == 2 and missing[0].startswith("not made: amounts of summary: needs a row to compare with")
    assert missing[1].startswith("not made: critical_difference of summary: needs five benchmarks")
    before = {path: path.read_bytes() for path in paths}
    assert write_figures(probed_suite)[0] == paths
    assert [path.name for path in paths if path.read_bytes() != before[path]] == []
    for path in paths:
        if path.suffix == ".csv":
            assert len(pd.read_csv(path))
        if path.suffix == ".svg":
            assert "<dc:date>" not in path.read_text()


def test_figures_stay_where_drawing_fails_and_where_no_run_counts(probed_suite, monkeypatch):
    paths, _ = write_figures(probed_suite)
    before = {path: path.read_bytes() for path in paths}

    def fail(*_):
        raise MemoryError

    monkeypatch.setattr(cost, "draw", fail)
    with pytest.raises(MemoryError):
        write_figures(probed_suite)
    monkeypatch.undo()
    for path in probed_suite.folder.rglob("record.json"):
        path.write_text("{}")
    write_figures(probed_suite)
    assert {path: path.read_bytes() for path in (probed_suite.folder / "figures").iterdir()} == before


def test_figures_fit_a_column_or_the_page_and_their_text_can_be_read(probed_suite):
    (source,), styles = sources(probed_suite), styles_of(list(probed_suite.methods))
    for name in set(names()) - {*OF_SUITES}:
        module = importlib.import_module(f"mola.reporting.figures.{name}")
        with theme():
            figure = module.draw(module.data(source), styles)
        assert figure.get_size_inches()[0] <= 7.0, name
        sizes = [text.get_fontsize() for text in figure.findobj(Text) if text.get_visible() and text.get_text()]
        assert min(sizes) >= 7, name


def test_nothing_is_drawn_without_data(tmp_path):
    suite = make_suite(tmp_path, methods=("single_task", "shared"), seeds=1)
    paths, missing = write_figures(suite)
    assert paths == [] and len(missing) == len(names()) and list((suite.folder / "figures").iterdir()) == []
    assert [line for line in missing if line.startswith("not made: routing")] == [
        "not made: routing of digits: needs a method that routes, and probes.routing in the configuration"
    ]


def test_dense_tasks_and_a_single_seed(tmp_path):
    suite = make_suite(tmp_path, methods=("shared", "other"), benchmarks=("scenes",), seeds=1)

    def dense(benchmark, label, seed):
        scores = {"segmentation": {"miou": 0.5}, "depth": {"abs_error": None}, "normals": {"mean_angle": 20}}
        train = dict.fromkeys(scores, 1.0)
        return [{"epoch": 1, "lr": 0.1, "steps": 1, "train_seconds": 9.0, "train": train, "valid": scores}]

    fill(suite, lambda b, m, s: 0.4 if m == "shared" else 0.5, curve=dense)
    paths, _ = write_figures(suite)
    assert {path.name.split(".")[1] for path in paths} == {"curves", "tasks", "cost"}
    frame = pd.read_csv(suite.folder / "figures" / "scenes.tasks.csv")
    assert set(frame["metric"]) == {"mIoU (%) ↑", "abs. error (m) ↓", "mean (°) ↓"} and frame["ci95"].isna().all()


@pytest.mark.parametrize("label", [r"$\frac{$", "a$b", "$x$", r"\$y$", "=1+1"])
def test_a_label_is_drawn_as_it_is_written(label, tmp_path, monkeypatch):
    suite = make_suite(tmp_path, methods=("single_task", "shared"), seeds=2)
    fill(suite, lambda b, m, s: 0.5)
    table = cost.data(sources(suite)[0]).replace("shared", label)
    texts = set()

    def draw(frame, styles, original=cost.draw):
        figure = original(frame, styles)
        texts.update(text.get_text() for text in figure.findobj(Text))
        return figure

    monkeypatch.setattr(cost, "draw", draw)
    _, svg, csv = _draw(("cost", table, tmp_path / "cost", styles_of(["single_task", label])))
    assert label.replace("$", r"\$") in texts
    assert svg.stat().st_size
    assert list(pd.read_csv(csv)["method"]) == ["single_task", "'=1+1" if label == "=1+1" else label]


def test_a_colour_says_one_thing():
    labels = [f"method_{i}" for i in range(40)]
    few = styles_of(labels[:8])
    assert [style.colour for style in few.values()] == list(COLOURS), "of up to eight rows each has its own"
    # of more, those of one heading have one hue, in shades; from the eighth heading on they share one
    groups = [f"heading {i % 10}" for i in range(40)]
    styles, slots = styles_of(labels, groups), slots_of(labels, groups)
    assert [slots[label] for label in labels[:10]] == [0, 1, 2, 3, 4, 5, 6, 7, 7, 7]
    assert len({(style.colour, style.marker) for style in styles.values()}) == 40
    assert set(slots_of(labels).values()) == {0}, "no heading, no meaning: one hue, and markers"


def luminance(colour):
    return float(np.dot([0.2126, 0.7152, 0.0722], [linear(c) for c in to_rgb(colour)]))


def linear(channel):
    return channel / 12.92 if channel <= 0.03928 else ((channel + 0.055) / 1.055) ** 2.4


def test_colours_can_be_seen_on_their_backgrounds():
    shades = {
        style.colour for style in styles_of([str(i) for i in range(40)], [str(i % 8) for i in range(40)]).values()
    }
    for colour in (*COLOURS, *shades):
        assert 1.05 / (luminance(colour) + 0.05) >= 2.4 + 0.6 * (colour in COLOURS)
    for colour in ON_DARK:
        assert (luminance(colour) + 0.05) / (luminance("#1d2026") + 0.05) >= 4.5


def test_every_figure_has_a_caption_in_the_report():
    captions = (Path(__file__).parents[2] / "workflow/report/figures.rst").read_text()
    assert [name for name in names() if f'figure == "{name}"' not in captions] == []
