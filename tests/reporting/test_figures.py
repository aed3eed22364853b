"""The tables of figures, from records whose numbers can be checked by hand; a picture shows nothing else."""

import json
import math
import re

import numpy as np
import pytest
from matplotlib.text import Text
from synthetic import edit, experiment, fill, make_suite, record, tune

from mola.files import with_checksum
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
from mola.reporting.figures._gram_measures import condition_number, cosine, magnitude_similarity
from mola.reporting.figures._source import sources
from mola.reporting.figures._style import styles_of, theme


def source(suite):
    (only,) = sources(suite)
    return only


def entry(frame, **where):
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


def test_conflict_on_all_shared_weights_is_that_of_the_summed_grams(probed_suite):
    frame = conflict.data(source(probed_suite))
    assert list(frame["method"].unique()) == ["shared", "mola_router"] and set(frame["place"]) == {"all"}
    # batch 1: [[25, 0], [0, 100]]; batch 2: [[9, 3], [3, 1]], parallel
    line = entry(frame, method="shared", epoch=2)
    assert line["cosine"] == pytest.approx((0 + 1) / 2)
    assert line["magnitude_similarity"] == pytest.approx((0.8 + 0.6) / 2)
    assert line["condition_number"] == pytest.approx((2 + 1000) / 2, rel=1e-4)
    assert line["batches"] == 2
    stage = entry(conflict_stages.data(source(probed_suite)), method="shared", epoch=1, place="layer1")
    assert stage["magnitude_similarity"] == pytest.approx(2 * 4 * math.sqrt(99) / 115), (
        "a batch without gradient is none"
    )


def test_entropy_of_use():
    assert expert_use.entropy([2, 2, 2, 2]) == pytest.approx(1)
    assert expert_use.entropy([0, 3]) == pytest.approx(0)
    assert expert_use.entropy([2, 1, 1]) == pytest.approx(1.5 * math.log(2) / math.log(3))
    assert math.isnan(expert_use.entropy([0, 0]))


def test_routing_map_and_use(probed_suite):
    frame = routing.data(source(probed_suite))
    assert [entry(frame, task="mnist", expert=e)["weight"] for e in range(3)] == [0.75, 0.25, 0]
    assert set(frame["images"]) == {2} and set(frame["method"]) == {"router_r2"}
    used = expert_use.data(source(probed_suite))  # mean weights over tasks: .5, .25, .25
    assert entry(used, layer="layer1.conv")["entropy"] == pytest.approx(expert_use.entropy([0.5, 0.5, 0.25]))
    assert entry(used, depth=2)["entropy"] == 0, "an expert that adds nothing to a layer is not used there"


def test_the_plane_of_weights_keeps_distances_and_tells_its_shares():
    draws = np.random.default_rng(0).dirichlet([1, 1, 1], 20)
    points, shares = embedding.plane(draws)
    assert sum(shares) == pytest.approx(1), "weights of three experts lie in a plane"
    assert np.linalg.norm(points[3] - points[7]) == pytest.approx(np.linalg.norm(draws[3] - draws[7]), abs=1e-5)
    two, shares = embedding.plane(np.array([[1, 0], [0.5, 0.5], [0, 1]]))
    assert shares == (1, 0) and np.abs(two[:, 1]).max() == 0 and np.ptp(two[:, 0]) == pytest.approx(math.sqrt(2))
    line = 1 / 3 + np.outer(np.linspace(-0.1, 0.1, 7) ** 3, [0.7, -0.4, -0.3])
    points, shares = embedding.plane(line)
    assert shares[1] == 0 and not points[:, 1].any() and not np.signbit(points[:, 1]).any(), "the rest is rounding"
    same, shares = embedding.plane(np.full((4, 3), 1 / 3))
    assert shares[0] == 0 and not same.any()


def test_curves_are_means_with_intervals_and_without_auxiliary_losses(tuned_suite):
    frame = curves.data(source(tuned_suite))
    line = entry(frame, method="shared", measure="training loss", epoch=1)  # 1, 2, 3: sd 1
    assert (line["mean"], line["n"]) == (2, 3)
    assert line["ci95"] == pytest.approx(4.302653 / math.sqrt(3))
    assert entry(frame, method="shared", measure="validation loss", epoch=2)["mean"] == 1
    assert entry(frame, method="shared", measure="validation score (%)", epoch=2)["mean"] == pytest.approx(60)


def test_a_failed_or_missing_run_raises_no_mean_and_is_marked(tuned_suite):
    edit(record(tuned_suite, "shared", 0), status="failed", reason="ArithmeticError: diverged")
    record(tuned_suite, "router_r2", 2).unlink()
    for seed in range(3):
        record(tuned_suite, "mola_router", seed).unlink()
    frame = tasks.data(source(tuned_suite))
    assert entry(frame, method="shared", task="mnist")["mean"] == pytest.approx(65)
    assert list(entry(frame, method="shared", task="mnist")[["n", "asked"]]) == [2, 3]
    assert entry(frame, method="mola_router", task="mnist")["n"] == 0
    with theme():
        figure = cost.draw(cost.data(source(tuned_suite)), styles_of(list(tuned_suite.methods)))
    names = {text.get_text() for text in figure.legends[0].get_texts()}
    assert names == {"single_task", "shared † 2/3 seeds", "mola_router † 0/3 seeds", "router_r2 † 2/3 seeds"}
    pareto = cost.data(source(tuned_suite)).set_index("method")["pareto_gflops_per_sample"]
    assert list(pareto[pareto].index) == ["single_task"], "router_r2 gains more, but lacks a seed"


def test_cost_and_gain(tuned_suite):
    edit(record(tuned_suite, "shared", 0), flops_per_sample=2_000_000)  # a mean of 4 million
    frame = cost.data(source(tuned_suite)).set_index("method")
    assert frame.loc["shared", "gflops_per_sample"] == pytest.approx(0.004)
    assert frame.loc["router_r2", "mean"] == pytest.approx(20) and frame.loc["single_task", "mean"] == 0
    assert frame.loc["router_r2", "gain"] == "Δ_task over single_task (%)"


def test_the_pareto_front():
    assert cost.pareto([1, 2, 2, 3, 4], [5, 7, 6, 7, 9]) == [True, True, False, False, True]
    assert cost.pareto([1, 1, 2], [math.nan, 5, 5]) == [False, True, False]
    assert cost.pareto([1, 1], [5, 5]) == [True, True], "equals share it"


def test_ablation_joins_rows_that_differ_in_one_option(tuned_suite):
    frame = ablation.data(source(tuned_suite))
    assert set(frame["option"]) == {"rank"} and list(frame["row"]) == ["router_r2", "mola_router"]
    assert list(frame["value"]) == [2, 4] and list(frame["mean"]) == pytest.approx([20, 0])


def test_no_ablation_where_something_else_differs_too(tmp_path):
    rows = {"shared": {}, "a": {"method": "mola_router"}, "b": {"method": "mola_router", "rank": 2, "twd": 0.5}}
    suite = make_suite(tmp_path, methods=rows, seeds=1)
    fill(suite, lambda b, m, s: 0.5)
    assert ablation.data(source(suite)).empty


def test_a_study_of_another_search_is_left_out(tuned_suite):
    tune(tuned_suite, "digits", "mola_router", fingerprint={"all": "before"})
    frame = tuning_history.data(source(tuned_suite))
    assert list(frame["method"].unique()) == ["single_task", "shared", "router_r2"]
    study = frame[frame["method"] == "shared"]
    assert list(study["best"]) == [0.5, 0.5, 0.7] and list(study["state"]) == ["complete", "failed", "complete"]


def test_a_study_of_fewer_trials_than_asked_is_left_out(tuned_suite, tmp_path):
    rows = dict.fromkeys(tuned_suite.methods)
    assert set(tuning_importance.data(source(tuned_suite))["method"]) == {*rows}
    longer = make_suite(tmp_path, methods=rows | {"router_r2": {"method": "shared"}}, seeds=3, tune={"trials": 20})
    tune(longer, "digits", "single_task")
    assert set(tuning_history.data(source(longer))["method"]) == {"single_task"}
    untuned = make_suite(tmp_path, methods=rows | {"router_r2": {"method": "shared"}}, seeds=3, tune=False)
    assert tuning_history.data(source(untuned)).empty, "nothing trains with what was found"


def test_an_analysis_of_another_run_is_left_out(probed_suite):
    path = record(probed_suite, "shared", 0).with_name("analysis.json")
    path.write_text(json.dumps(with_checksum({**json.loads(path.read_text()), "fingerprint": "another"})))
    assert set(conflict.data(source(probed_suite))["method"]) == {"mola_router"}


@pytest.mark.parametrize("name", ["analysis.json", "history.csv", "importance.csv"])
def test_an_edited_number_is_in_no_figure(name, probed_suite, capsys):
    folder = record(probed_suite, "shared", 0).parent
    path = folder / name if name == "analysis.json" else folder.parent / "optuna" / name
    figure = {"analysis.json": conflict, "history.csv": tuning_history, "importance.csv": tuning_importance}[name]
    assert "shared" in set(figure.data(source(probed_suite))["method"])
    before = path.read_text()
    after = re.sub(r"\d(?=\D*$)", lambda digit: str((int(digit[0]) + 1) % 10), before)
    assert after != before
    path.write_text(after)
    assert "shared" not in set(figure.data(source(probed_suite))["method"])
    assert f"{path}: left out of the figures, damaged: " in capsys.readouterr().err
    # what has no checksum
    if name == "analysis.json":
        content = json.loads(before)
        del content["sha256"]
        path.write_text(json.dumps(content))
    else:
        path.write_text(before)
        path.with_name("SHA256SUMS").unlink()
    assert "shared" not in set(figure.data(source(probed_suite))["method"])
    assert f"{path}: left out of the figures, damaged: " in capsys.readouterr().err


def test_the_critical_difference_only_under_its_conditions(tmp_path):
    five = ("digits", "glyphs", "scenes", "pacs", "vlcs")
    gains = {"single_task": 0.1, "shared": 0.2, "mola_grad": 0.3}
    suite = make_suite(tmp_path, methods=tuple(gains), benchmarks=five, seeds=1)
    fill(suite, lambda b, m, s: gains[m], curve=[])
    frame = critical_difference.suite_data(sources(suite))
    assert list(frame["mean_rank"]) == [3, 2, 1] and frame["p single_task"].iloc[2] < 0.05
    with theme():
        texts = {text.get_text() for text in critical_difference.draw(frame, styles_of(list(gains))).findobj(Text)}
    assert {"mola_grad (1)", "mean rank over 5 benchmarks; critical difference 1.48"} <= texts
    (experiment(suite, "shared", "vlcs").run_folder(0) / "record.json").unlink()
    assert critical_difference.suite_data(sources(suite)).empty
