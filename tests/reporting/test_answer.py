"""Which answer is best, and when nobody can tell: of records whose scores are known."""

import re
from dataclasses import replace

import pytest
from synthetic import fill, make_suite

from mola.config import load
from mola.reporting.results.read import read_results
from mola.reporting.results.records import Row
from mola.reporting.statistics.paired import Difference
from mola.reporting.tables.answer import _text, answer_table, best_of, in_words, is_worse, told_apart, verdict
from mola.reporting.write import tables, write_tables
from mola.types import BadInput

ANSWERS = {"pool": ["shared", "other"], "apart": ["single_task"], "mix": ["mola_grad"]}
ROWS = {
    "single_task": {},
    "shared": {},
    "other": {"method": "shared"},
    "mola_grad": {"rank": 2, "where": r"layer\d\..*conv\d"},
}
NOISE = (0.011, -0.007, 0.004, -0.009, 0.002, 0.006, -0.003, 0.001)
SIZES = {"single_task": 400, "shared": 100, "other": 100, "mola_grad": 120}


def parameters(benchmark, label, seed):
    return {"trainable": SIZES[label], "inference": SIZES[label]}


def judged(folder, means, valid=None, seeds=8, noise=NOISE, **changes):
    """The results of a suite whose row m has test scores of this mean, with noise of its own that adds up to little."""
    suite = make_suite(folder, methods=ROWS, seeds=seeds, answers=ANSWERS, **changes)
    labels = [*means]

    def score(benchmark, label, seed):
        shift = labels.index(label) + 1
        return means[label] + noise[(seed + 3 * shift) % len(noise)] / 4 + noise[seed]

    def on_valid(benchmark, label, seed):
        value = (valid or means)[label]
        return {task: {"accuracy": value, "balanced_accuracy": value, "auc": value, "loss": 1.0} for task in TASKS}

    fill(suite, score, valid=on_valid, parameters=parameters)
    return suite, read_results(suite)


TASKS = ("mnist", "optdigits", "mnistm", "printed")


@pytest.fixture
def means():
    return {"single_task": 0.60, "shared": 0.70, "other": 0.65, "mola_grad": 0.80}


def test_one_answer_beats_the_others(tmp_path, means):
    _, results = judged(tmp_path, means)
    judgement = verdict(results["digits"], ANSWERS)
    assert judgement.best == ("mix",) and judgement.recommended == "mix"
    assert {answer: row.label for answer, row in judgement.chosen.items()} == {
        "pool": "shared",
        "apart": "single_task",
        "mix": "mola_grad",
    }
    assert judgement.against["mix"] is None
    assert judgement.against["pool"].mean == pytest.approx(-10, abs=0.5) and judgement.against["pool"].holm <= 0.05
    start = r"Mix \(mola_grad\) is better than pool \(shared\) by \+(9|10)\.\d\d points \[\+\d.*\] and apart"
    assert re.match(start, judgement.text), judgement.text
    assert "No difference" not in judgement.text


def test_equal_answers_are_not_told_apart_and_the_smallest_is_recommended(tmp_path, means):
    _, results = judged(tmp_path, means | {"shared": 0.8, "mola_grad": 0.8})
    judgement = verdict(results["digits"], ANSWERS)
    assert judgement.best == ("pool", "mix") and judgement.recommended == "pool"
    assert judgement.text.startswith("No difference beyond chance from pool (shared): mix (mola_grad) ")
    assert (
        "Of these, pool needs the fewest parameters. Pool (shared) is better than apart (single_task) by +"
        in judgement.text
    )


def test_the_row_of_an_answer_is_chosen_on_valid_alone(tmp_path, means):
    _, results = judged(tmp_path, means, valid=means | {"other": 0.9})
    judgement = verdict(results["digits"], ANSWERS)
    assert judgement.chosen["pool"].label == "other", "better on valid, worse on test"


def test_few_seeds_have_an_interval_and_no_test(tmp_path, means):
    _, results = judged(tmp_path, means, seeds=5)
    judgement = verdict(results["digits"], ANSWERS)
    assert judgement.best == ("mix",) and judgement.against["pool"].p is None
    _, results = judged(tmp_path, means, seeds=1)
    assert verdict(results["digits"], ANSWERS).startswith("no answer: one seed")


def test_an_interval_without_a_width_decides_nothing():
    """As of two seeds whose differences are equal by chance."""
    gap = Difference(mean=8.33, low=8.33, high=8.33, n=2, p=None)
    assert not told_apart(gap) and not is_worse(replace(gap, mean=-8.33, low=-8.33, high=-8.33))
    assert told_apart(replace(gap, low=1.0)) and told_apart(replace(gap, holm=0.01))


def test_a_clear_interval_is_not_enough_where_the_test_says_no(tmp_path, means):
    """Three comparisons of six seeds: the smallest p of Holm's correction is 0.09."""
    _, results = judged(tmp_path, means, seeds=6)
    assert set(verdict(results["digits"], ANSWERS).best) == {"pool", "apart", "mix"}


def test_no_answer_before_every_run_is_in(tmp_path, means):
    suite, _ = judged(tmp_path, means)
    (suite.folder / "digits/other/seed3/record.json").unlink()
    (line,) = in_words(read_results(suite), ANSWERS)
    assert line == "digits: no answer yet: not every run of other is in."
    table = answer_table("digits", read_results(suite)["digits"], ANSWERS)
    assert table.labels == () and "not every run" in table.caption


def test_a_row_that_is_not_trained_on_a_benchmark_is_no_candidate(tmp_path, means):
    rows = ROWS | {"mola_grad": ROWS["mola_grad"] | {"benchmarks": ["glyphs"]}}
    suite = make_suite(tmp_path, methods=rows, benchmarks=("digits", "glyphs"), seeds=8, answers=ANSWERS)
    fill(suite, lambda b, m, s: means[m] + NOISE[s], parameters=parameters)
    results = read_results(suite)
    assert [*verdict(results["digits"], ANSWERS).chosen] == ["pool", "apart"]
    assert [*verdict(results["glyphs"], ANSWERS).chosen] == [*ANSWERS]


def test_the_files_and_the_summary_say_it(tmp_path, means):
    suite, results = judged(tmp_path, means)
    paths = {path.name: path.read_text() for path in write_tables(suite)}
    text = verdict(results["digits"], ANSWERS).text
    assert text in paths["digits.answer.md"] and f"digits: {text}" in paths["summary.md"]
    header, *lines = paths["digits.answer.csv"].splitlines()
    assert header.startswith("answer,row,") and [line.split(",")[0] for line in lines] == [*ANSWERS]
    assert [line.split(",")[1] for line in lines] == ["shared", "single_task", "mola_grad"]
    plain = load_without_answers(tmp_path)
    assert not any("answer" in name for name in tables(plain, results))


def load_without_answers(folder):
    path = folder / "suite.yaml"
    text = path.read_text()
    path.write_text(text[: text.index("answers:")])
    return load(path)


@pytest.mark.parametrize(
    ("answers", "message"),
    [
        ({"pool": ["shared"]}, "answers: expected two or more to choose among, found only 'pool'"),
        ({"pool": ["shared"], "apart": []}, "answers.apart: expected labels of rows, found none"),
        (
            {"pool": ["shared"], "apart": ["single_tsk"]},
            "answers.apart: expected labels of rows, found 'single_tsk', did you mean 'single_task'?",
        ),
        (
            {"pool": ["shared"], "apart": ["single_task", "shared"]},
            "answers.apart: expected rows of no other answer, found 'shared' of 'pool'",
        ),
        ({"pool": ["shared"], "a\nb": ["single_task"]}, "answers: expected words in one line, found 'a\\nb'"),
    ],
)
def test_answers_that_are_none_are_one_line(tmp_path, answers, message):
    with pytest.raises(BadInput) as error:
        make_suite(tmp_path, methods=ROWS, answers=answers)
    assert str(error.value).endswith(message)


def test_an_answer_that_only_another_one_beats_is_not_said_to_be_worse():
    chosen = {answer: Row(labels[0], {}, {}) for answer, labels in ANSWERS.items()}
    against = {
        "pool": None,
        "apart": Difference(-1.2, -1.89, 0.19, 8, 0.1, 0.2),
        "mix": Difference(0.4, -0.5, 2.1, 8, 0.3, 0.3),
    }
    words = _text(chosen, ("pool", "mix"), "pool", against, ())
    assert "better than" not in words
    assert "Worse than another answer, but not beyond chance worse than pool: apart (single_task) −1.20" in words
    clear = against | {"apart": Difference(-1.2, -1.89, -0.5, 8, 0.01, 0.02)}
    assert "Pool (shared) is better than apart (single_task) by +1.20" in _text(chosen, ("pool",), "pool", clear, ())


def test_rows_that_differ_by_rounding_are_equal(tmp_path, means):
    _, results = judged(tmp_path, means, valid={**dict.fromkeys(means, 0.3), "shared": 0.1 + 0.2}, seeds=2)
    rows = {row.label: row for row in results["digits"].rows}
    pair = [rows["other"], rows["shared"]]
    assert best_of(pair, results["digits"].tasks).label == "other"
    assert best_of(pair[::-1], results["digits"].tasks).label == "shared"


def test_tables_of_rows_and_benchmarks_that_are_gone_go_too(tmp_path):
    suite = make_suite(tmp_path, methods=("shared", "mola_grad"), benchmarks=("digits", "emoji"), seeds=1)
    fill(suite, lambda b, m, s: 0.5)
    write_tables(suite)
    (suite.folder / "tables/mine.md").touch()
    smaller = make_suite(tmp_path, methods=("shared",), benchmarks=("digits",), seeds=1)
    written = write_tables(smaller)
    left = {path for path in (smaller.folder / "tables").rglob("*") if path.is_file()}
    assert left == {*written, smaller.folder / "tables/mine.md"}
