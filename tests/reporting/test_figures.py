"""Figures from records that are made here: their numbers can be checked by hand, and a picture shows nothing else."""

import json
import math
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from matplotlib.text import Text
from synthetic import fill, make_suite, tune

from mola.experiment.inputs import write_inputs
from mola.reporting.figures import (
    ablation,
    conflict,
    conflict_stages,
    cost,
    critical_difference,
    curves,
    embedding,
    expert_use,
    routing,
    tasks,
    tuning_history,
    tuning_importance,
)
from mola.reporting.figures._grams import condition_number, cosine, magnitude_similarity
from mola.reporting.figures._looks import looks, styled
from mola.reporting.figures._source import sources
from mola.reporting.figures._write import names, write_figures
from mola.reporting.pages.about import about

ROWS = {
    "single_task": {},
    "shared": {},
    "mola_router": {"rank": 4},
    "router_r2": {"method": "mola_router", "rank": 2},
}
GRAMS = [
    {"stem": [[9, 0], [0, 1]], "layer1": [[16, 0], [0, 99]]},
    {"stem": [[9, 3], [3, 1]], "layer1": [[0, 0], [0, 0]]},
]
WEIGHTS = {"mnist": [[1, 0, 0], [0.5, 0.5, 0]], "printed": [[0.25, 0.25, 0.5], [0.25, 0.25, 0.5]]}
SIZES = {"layer1.conv": [1, 2, 1], "layer2.conv": [0, 0, 5]}


def curve(benchmark, label, seed):
    """Two epochs; the training loss of seed k begins at k + 1, and scores are .5 and .6."""
    names_ = ("mnist", "optdigits", "mnistm", "printed")
    return [
        {
            "epoch": epoch + 1,
            "train_seconds": 90.0,
            "train": {**dict.fromkeys(names_, (seed + 1) / (epoch + 1)), "aux_loss": 100},
            "valid": {name: {"accuracy": 0.5 + 0.1 * epoch, "loss": 2.0 - epoch} for name in names_},
        }
        for epoch in range(2)
    ]


def analyse(suite, label, **told):
    folder = suite.cell("digits", label) / "seed0"
    record = json.loads((folder / "record.json").read_text())
    (folder / "analysis.json").write_text(json.dumps({"fingerprint": record["fingerprint"]["all"], **told}))


def change(suite, label, seed, **keys):
    path = suite.cell("digits", label) / f"seed{seed}" / "record.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), **keys}))


@pytest.fixture
def suite(tmp_path):
    """Test accuracy of seed k: .5 + .1 k, times 1.2 of the row router_r2."""
    made = make_suite(tmp_path, methods=ROWS, seeds=3, tune={"trials": 3})
    tune(made, "digits", "shared")
    tune(made, "digits", "mola_router", fingerprint={"all": "before"})
    fill(made, lambda b, m, s: (0.5 + 0.1 * s) * (1.2 if m == "router_r2" else 1), curve=curve)
    return made


@pytest.fixture
def watched(suite):
    told = [{"epoch": epoch, "grams": GRAMS} for epoch in (1, 2)]
    for label in ("shared", "mola_router"):
        analyse(suite, label, gradients={"tasks": ["a", "b"], "epochs": told})
    analyse(suite, "router_r2", routing={"weights": WEIGHTS, "sizes": SIZES})
    return suite


def source(suite):
    (only,) = sources(suite)
    return only


def row(frame, **where):
    for key, value in where.items():
        frame = frame[frame[key] == value]
    assert len(frame) == 1
    return frame.iloc[0]


def test_conflict_of_two_gradients_by_hand():
    def gram(*gradients):
        matrix = np.array(gradients, float)
        return matrix @ matrix.T

    crossed = gram((3, 4), (8, -6))  # orthogonal, of lengths 5 and 10
    assert (cosine(crossed), magnitude_similarity(crossed)) == pytest.approx((0, 2 * 50 / 125))
    assert condition_number(crossed) == pytest.approx(2)
    tilted = gram((1, 0), (1, 1))
    assert (cosine(tilted), magnitude_similarity(tilted)) == pytest.approx((1 / math.sqrt(2), 2 * math.sqrt(2) / 3))
    assert condition_number(tilted) == pytest.approx(((1 + math.sqrt(5)) / 2) ** 2)
    assert condition_number(gram((1, 2), (1, 2))) == pytest.approx(1000), "as far as the digits reach"
    assert cosine(gram((1, 0), (-2, 0), (0, 0))) == pytest.approx(-1), "a gradient of zero points nowhere"
    assert magnitude_similarity(gram((1, 0), (-1, 0), (0, 0))) == pytest.approx((1 + 0 + 0) / 3)
    assert math.isnan(cosine(gram((0, 0), (0, 0)))) and math.isnan(condition_number(gram((0, 0), (0, 0))))


def test_conflict_on_all_shared_weights_is_that_of_the_summed_grams(watched):
    frame = conflict.data(source(watched))
    assert list(frame["method"].unique()) == ["shared", "mola_router"] and set(frame["place"]) == {"all"}
    # batch 1: [[25, 0], [0, 100]]; batch 2: [[9, 3], [3, 1]], parallel
    told = row(frame, method="shared", epoch=2)
    assert told["cosine"] == pytest.approx((0 + 1) / 2)
    assert told["magnitude_similarity"] == pytest.approx((0.8 + 0.6) / 2)
    assert told["condition_number"] == pytest.approx((2 + 1000) / 2, rel=1e-4)
    assert told["batches"] == 2
    stage = row(conflict_stages.data(source(watched)), method="shared", epoch=1, place="layer1")
    assert stage["magnitude_similarity"] == pytest.approx(2 * 4 * math.sqrt(99) / 115), (
        "a batch without gradient is none"
    )


def test_entropy_of_use():
    assert expert_use.entropy([2, 2, 2, 2]) == pytest.approx(1)
    assert expert_use.entropy([0, 3]) == pytest.approx(0)
    assert expert_use.entropy([2, 1, 1]) == pytest.approx(1.5 * math.log(2) / math.log(3))
    assert math.isnan(expert_use.entropy([0, 0]))


def test_routing_map_and_use(watched):
    frame = routing.data(source(watched))
    assert [row(frame, task="mnist", expert=e)["weight"] for e in range(3)] == [0.75, 0.25, 0]
    assert set(frame["images"]) == {2} and set(frame["method"]) == {"router_r2"}
    used = expert_use.data(source(watched))  # mean weights over tasks: .5, .25, .25
    assert row(used, layer="layer1.conv")["entropy"] == pytest.approx(expert_use.entropy([0.5, 0.5, 0.25]))
    assert row(used, depth=2)["entropy"] == 0, "an expert that adds nothing to a layer is not used there"


def test_the_plane_of_weights_keeps_distances_and_tells_its_shares():
    draws = np.random.default_rng(0).dirichlet([1, 1, 1], 20)
    points, shares = embedding.plane(draws)
    assert sum(shares) == pytest.approx(1), "weights of three experts lie in a plane"
    assert np.linalg.norm(points[3] - points[7]) == pytest.approx(np.linalg.norm(draws[3] - draws[7]), abs=1e-5)
    two, shares = embedding.plane(np.array([[1, 0], [0.5, 0.5], [0, 1]]))
    assert shares == (1, 0) and np.abs(two[:, 1]).max() == 0 and np.ptp(two[:, 0]) == pytest.approx(math.sqrt(2))
    same, shares = embedding.plane(np.full((4, 3), 1 / 3))
    assert shares[0] == 0 and not same.any()


def test_curves_are_means_with_intervals_and_without_penalties(suite):
    frame = curves.data(source(suite))
    told = row(frame, method="shared", measure="training loss", epoch=1)  # 1, 2, 3: sd 1
    assert (told["mean"], told["n"]) == (2, 3)
    assert told["ci95"] == pytest.approx(4.302653 / math.sqrt(3))
    assert row(frame, method="shared", measure="validation loss", epoch=2)["mean"] == 1
    assert row(frame, method="shared", measure="validation score (%)", epoch=2)["mean"] == pytest.approx(60)


def test_a_failed_or_missing_run_raises_no_mean_and_is_marked(suite):
    change(suite, "shared", 0, status="failed", reason="ArithmeticError: diverged")
    (suite.cell("digits", "router_r2") / "seed2" / "record.json").unlink()
    for seed in range(3):
        (suite.cell("digits", "mola_router") / f"seed{seed}" / "record.json").unlink()
    frame = tasks.data(source(suite))
    assert row(frame, method="shared", task="mnist")["mean"] == pytest.approx(65)
    assert list(row(frame, method="shared", task="mnist")[["n", "asked"]]) == [2, 3]
    assert row(frame, method="mola_router", task="mnist")["n"] == 0
    with styled():
        shown = cost.draw(cost.data(source(suite)), looks(list(suite.methods)))
    told = {text.get_text() for text in shown.legends[0].get_texts()}
    assert told == {"single_task", "shared † 2/3 seeds", "mola_router † 0/3 seeds", "router_r2 † 2/3 seeds"}
    best = cost.data(source(suite)).set_index("method")["pareto_gflops_per_sample"]
    assert list(best[best].index) == ["single_task"], "router_r2 gains more, but lacks a seed"


def test_cost_and_gain(suite):
    change(suite, "shared", 0, flops_per_sample=2_000_000)  # a mean of 4 million
    frame = cost.data(source(suite)).set_index("method")
    assert frame.loc["shared", "gflops_per_sample"] == pytest.approx(0.004)
    assert frame.loc["router_r2", "mean"] == pytest.approx(20) and frame.loc["single_task", "mean"] == 0
    assert frame.loc["router_r2", "gain"] == "Δ_task over single_task (%)"


def test_the_pareto_front():
    assert cost.pareto([1, 2, 2, 3, 4], [5, 7, 6, 7, 9]) == [True, True, False, False, True]
    assert cost.pareto([1, 1, 2], [math.nan, 5, 5]) == [False, True, False]
    assert cost.pareto([1, 1], [5, 5]) == [True, True], "equals share it"


def test_ablation_joins_rows_that_differ_in_one_option(suite):
    frame = ablation.data(source(suite))
    assert set(frame["option"]) == {"rank"} and list(frame["row"]) == ["router_r2", "mola_router"]
    assert list(frame["value"]) == [2, 4] and list(frame["mean"]) == pytest.approx([20, 0])


def test_no_ablation_where_something_else_differs_too(tmp_path):
    rows = {"shared": {}, "a": {"method": "mola_router"}, "b": {"method": "mola_router", "rank": 2, "twd": 0.5}}
    made = make_suite(tmp_path, methods=rows, seeds=1)
    fill(made, lambda b, m, s: 0.5, curve=curve)
    assert ablation.data(source(made)).empty


def test_a_study_of_another_search_is_left_out(watched):
    frame = tuning_history.data(source(watched))
    assert set(frame["method"]) == {"shared"} and list(frame["best"]) == [0.5, 0.5, 0.7]
    assert list(frame["state"]) == ["complete", "failed", "complete"]


def test_a_study_of_fewer_trials_than_asked_is_left_out(suite, tmp_path):
    assert set(tuning_importance.data(source(suite))["method"]) == {"shared"}
    more = make_suite(tmp_path, methods=ROWS, seeds=3, tune={"trials": 20})
    tune(more, "digits", "single_task")
    write_inputs(more)  # as the workflow does: every study.json asks for 20 now
    assert set(tuning_history.data(source(more))["method"]) == {"single_task"}
    off = make_suite(tmp_path, methods=ROWS, seeds=3, tune=False)
    assert tuning_history.data(source(off)).empty, "nothing trains with what was found"


def test_an_analysis_of_another_run_is_left_out(watched):
    path = watched.cell("digits", "shared") / "seed0" / "analysis.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), "fingerprint": "another"}))
    assert set(conflict.data(source(watched))["method"]) == {"mola_router"}


def test_the_same_records_give_the_same_files_and_none_outlives_its_data(watched):
    old = watched.folder / "figures" / "digits.forgotten.png"
    old.parent.mkdir()
    old.touch()
    paths, missing = write_figures(watched)
    assert not old.exists()
    made = {path.name.split(".")[1] for path in paths}
    assert made == {*names()} - {"critical_difference"} and len(paths) == 3 * len(made)
    assert len(missing) == 1 and missing[0].startswith(
        "not made: critical_difference of summary: needs five benchmarks"
    )
    before = {path: path.read_bytes() for path in paths}
    assert write_figures(watched)[0] == paths
    assert [path.name for path in paths if path.read_bytes() != before[path]] == []
    for path in paths:
        if path.suffix == ".csv":
            assert len(pd.read_csv(path))
        if path.suffix == ".svg":
            assert "<dc:date>" not in path.read_text()


def test_figures_fit_a_column_or_the_page_and_their_text_can_be_read(watched):
    import importlib

    given, styles = source(watched), looks(list(watched.methods))
    for name in set(names()) - {"critical_difference"}:
        module = importlib.import_module(f"mola.reporting.figures.{name}")
        with styled():
            figure = module.draw(module.data(given), styles)
        assert figure.get_size_inches()[0] <= 7.0, name
        sizes = [text.get_fontsize() for text in figure.findobj(Text) if text.get_visible() and text.get_text()]
        assert min(sizes) >= 7, name


def test_nothing_is_made_without_data(tmp_path):
    made = make_suite(tmp_path, methods=ROWS, seeds=1)
    paths, missing = write_figures(made)
    assert paths == [] and len(missing) == len(names()) and list((made.folder / "figures").iterdir()) == []


def test_dense_tasks_and_a_single_seed(tmp_path):
    made = make_suite(tmp_path, methods=("shared", "other"), benchmarks=("scenes",), seeds=1)

    def dense(benchmark, label, seed):
        scores = {"segmentation": {"miou": 0.5}, "depth": {"abs_error": None}, "normals": {"mean_angle": 20}}
        return [{"epoch": 1, "train": dict.fromkeys(scores, 1.0), "valid": scores}]

    fill(made, lambda b, m, s: 0.4 if m == "shared" else 0.5, curve=dense)
    paths, _ = write_figures(made)
    assert {path.name.split(".")[1] for path in paths} == {"curves", "tasks", "cost"}
    frame = pd.read_csv(made.folder / "figures" / "scenes.tasks.csv")
    assert set(frame["metric"]) == {"mIoU (%) ↑", "abs. error (m) ↓", "mean (°) ↓"} and frame["ci95"].isna().all()


def test_the_critical_difference_only_under_its_conditions(tmp_path):
    five = ("digits", "glyphs", "scenes", "pacs", "vlcs")
    gains = {"single_task": 0.1, "shared": 0.2, "mola_grad": 0.3}
    made = make_suite(tmp_path, methods=tuple(gains), benchmarks=five, seeds=1)
    fill(made, lambda b, m, s: gains[m], curve=[])
    frame = critical_difference.suite_data(sources(made))
    assert list(frame["mean_rank"]) == [3, 2, 1] and frame["p single_task"].iloc[2] < 0.05
    with styled():
        told = {text.get_text() for text in critical_difference.draw(frame, looks(list(gains))).findobj(Text)}
    assert {"mola_grad (1)", "mean rank over 5 benchmarks; critical difference 1.48"} <= told
    (made.cell("vlcs", "shared") / "seed0" / "record.json").unlink()
    assert critical_difference.suite_data(sources(made)).empty


def test_rows_keep_their_looks_and_differ():
    labels = [f"method_{i}" for i in range(40)]
    styles = looks(labels)
    assert len({(look.colour, look.marker) for look in styles.values()}) == 40
    assert looks(labels[:3]) == {label: styles[label] for label in labels[:3]}


def test_every_figure_has_a_caption_in_the_report():
    captions = (Path(__file__).parents[2] / "workflow/report/figures.rst").read_text()
    assert [name for name in names() if f'figure == "{name}"' not in captions] == []


def test_the_page_about_the_runs(suite):
    change(suite, "shared", 0, status="failed", reason="ArithmeticError: <diverged>")
    change(suite, "shared", 1, versions={"torch": "2.14"}, device="cpu: one", commit="abc", dirty=True)
    text = about(suite, "suite: made  # <ours>", drafts=True)
    assert "11 of 12 runs are finished: 1 benchmarks × 4 methods × 3 seeds. Hours of training in all: 0.55." in text
    assert "2 of 3" in text and "ArithmeticError: &lt;diverged&gt;" in text and "# &lt;ours&gt;" in text
    assert "2.14 (1 runs)" in text and "abc with uncommitted changes (1 runs)" in text
