"""Columns next to the scores: groups, cited numbers, the released code's rule, costs; and the HTML page."""

import csv
import io
from html.parser import HTMLParser

import pytest
import yaml
from synthetic import drawn, experiment, fill, make_suite, tune

from mola.experiment.inputs import inputs
from mola.reporting.render import RENDERERS, to_csv, to_html, to_latex, to_markdown
from mola.reporting.write import read_results, tables
from mola.types import BadInput

ROWS = {
    "single_task": {"group": "references"},
    "rank2": {"method": "mola_grad", "rank": 2, "group": "LoRA mixtures"},
    "shared": {"group": "references"},
    "rank8": {"method": "mola_grad", "rank": 8, "group": "LoRA mixtures"},
}


def table_of(suite, name="digits"):
    return tables(suite, read_results(suite))[name]


def lines(table):
    return [line.strip("| ").split(" | ") for line in to_markdown(table).splitlines() if line.startswith("|")]


def test_groups_stand_together_under_their_heading(tmp_path):
    suite = make_suite(tmp_path, methods=ROWS, seeds=2)
    fill(suite, drawn({}))
    table = table_of(suite)
    expected = ["*references*", "single_task", "shared", "*LoRA mixtures*", "rank2", "rank8"]
    assert [line[0].split(" |")[0] for line in lines(table)[2:]] == expected
    latex = to_latex(table)
    assert latex.count(r"\midrule") == 2 and r"}{l}{\emph{LoRA mixtures}} \\" in latex
    assert '<th colspan="13" scope="rowgroup">LoRA mixtures</th>' in to_html(table)
    groups = [row["group"] for row in csv.DictReader(io.StringIO(to_csv(table)))]
    assert groups == ["references", "references", "LoRA mixtures", "LoRA mixtures"]


def test_a_group_is_no_part_of_a_run(tmp_path):
    grouped = make_suite(tmp_path, methods=ROWS)
    plain = make_suite(tmp_path, methods={k: {o: v for o, v in row.items() if o != "group"} for k, row in ROWS.items()})
    assert inputs(experiment(grouped, "rank2")) == inputs(experiment(plain, "rank2"))


def numbers(tmp_path, content):
    path = tmp_path / "numbers.yaml"
    path.write_text(yaml.safe_dump(content))
    return {"paper_numbers": str(path)}


def test_cited_numbers_stand_apart_and_win_nothing(tmp_path):
    cited = {"digits": {"source": "Someone 2020", "rows": {"shared": {"average": 99.5}, "other": {"average": 1.0}}}}
    suite = make_suite(tmp_path, seeds=2, **numbers(tmp_path, cited))
    fill(suite, drawn({"mola_grad": 0.2}))
    table = table_of(suite)
    head, _, *body = lines(table)
    assert head[-1] == "*cited: average*" and [row[-1] for row in body] == ["–", "*99.50*", "–"]
    assert next(row for row in body if row[0] == "mola_grad")[5].startswith("**")  # best of the runs, as before
    assert "cited: numbers of Someone 2020, not of these runs; data, splits and selection may differ" in table.notes
    assert "cited numbers without a row here: other" in table.notes
    assert "r|r}" in to_latex(table) and r"\emph{99.50}" in to_latex(table)
    assert '<td class="cited first">99.50</td>' in to_html(table)
    assert "cited_average" in to_csv(table).splitlines()[0]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ({"digits": {"rows": {}}}, "numbers.yaml: digits.source: field required"),
        ({"digits": {"source": "x", "rows": {"shared": {"average": "high"}}}}, "digits.rows.shared.average"),
        (
            {"digits": {"source": "x", "rows": {"shared": {"averag": 1}}}},
            "averag: expected one of .*did you mean 'aver",
        ),
    ],
)
def test_cited_numbers_that_cannot_be_read(tmp_path, content, message):
    suite = make_suite(tmp_path, seeds=1, **numbers(tmp_path, content))
    with pytest.raises(BadInput, match=message):
        table_of(suite)


def test_the_committed_file_of_cited_numbers_is_empty(tmp_path):
    suite = make_suite(tmp_path, seeds=1, paper_numbers="config/cited/paper.yaml")
    assert not any(column.cited for column in table_of(suite).columns)


def test_the_released_codes_rule_and_its_optimism(tmp_path):
    suite = make_suite(tmp_path, seeds=3)

    def rule(name, label, seed):
        accuracy = {"accuracy": 0.53 + 0.01 * seed, "balanced_accuracy": 0.5, "auc": 0.5}
        tasks = ("mnist", "optdigits", "mnistm", "printed")
        return {"selected": {"model": 1}, "test": dict.fromkeys(tasks, accuracy)} if label != "shared" else None

    fill(suite, lambda b, m, s: 0.5, oracle_selection=rule)
    table = table_of(suite)
    head, _, *body = lines(table)
    at = head.index("optimism")
    assert head[at - 1] == "average (oracle selection)"
    # 3, 4 and 5 points: t = 4.3027, sd 1
    assert body[0][at - 1 : at + 1] == ["54.00 ± 2.48", "+4.00 ± 2.48"]
    assert body[1][at - 1 : at + 1] == ["–", "–"]
    assert "optimism: what the same runs gain by that, in points of the average" in table.caption
    assert "test, which is scored after every epoch too" in table.caption and "read once" not in table.caption
    fill(suite, lambda b, m, s: 0.5, oracle_selection=None)
    assert "optimism" not in to_markdown(table_of(suite))
    assert "the test split is read once, after that" in table_of(suite).caption


def test_a_rule_without_scores_is_a_corrupt_record(tmp_path):
    suite = make_suite(tmp_path, seeds=1)
    fill(suite, lambda b, m, s: 0.5, oracle_selection={"selected": {}, "test": {}})
    assert any(
        "oracle_selection: expected a number for mnist accuracy, found none" in note for note in table_of(suite).notes
    )


def test_costs_and_trials(tmp_path):
    suite = make_suite(tmp_path, seeds=2, tune={"trials": 20})
    for label in suite.methods:
        tune(suite, "digits", label)
    fill(suite, lambda b, m, s: 0.5)
    head, _, *body = lines(table_of(suite))
    assert head[-6:] == ["trained (M)", "params (M)", "GFLOPs", "ms/step", "memory (MiB)", "trials"]
    assert [row[-6:] for row in body[:2]] == [
        ["3.00", "2.00", "0.005", "250", "1024", "20"],
        ["3.00", "2.00", "0.005", "250", "1024", "20"],
    ]


def test_a_record_that_does_not_say_what_its_row_was_tuned_to_is_left_out(tmp_path):
    suite = make_suite(tmp_path, seeds=2, tune={"trials": 20})
    for label in suite.methods:
        tune(suite, "digits", label)
    result = {"trials": 20, "value": 0.7, "parameters": {}}
    fill(suite, lambda b, m, s: 0.5, tuned=lambda b, m, s: result if m == "shared" else None)
    table = table_of(suite)
    _, _, *body = lines(table)
    assert {row[0]: row[-2] for row in body} == {"single_task †": "–", "shared": "20", "mola_grad †": "–"}
    for label in ("single_task", "mola_grad"):
        assert any(note.startswith(f"{label}, seeds 0–1: left out: its settings are not") for note in table.notes)


def test_under_a_pruner_the_trials_that_there_were_are_told(tmp_path):
    suite = make_suite(tmp_path, seeds=2, tune={"trials": 20, "pruner": "median"})
    for label, (finished, pruned) in {"single_task": (20, 0), "shared": (31, 19), "mola_grad": (26, 11)}.items():
        tune(suite, "digits", label, finished=finished, pruned=pruned)
    fill(suite, lambda b, m, s: 0.5)
    head, _, *body = lines(table_of(suite))
    assert head[-2:] == ["trials", "pruned"] and [row[-2:] for row in body] == [["20", "0"], ["31", "19"], ["26", "11"]]
    assert "budgets are equal in epochs, not in trials" in table_of(suite).caption


def test_remarks_are_those_of_the_runs(tmp_path):
    suite = make_suite(tmp_path, seeds=2)
    fill(suite, lambda b, m, s: 0.5, remarks=["data: as it was then"])
    assert table_of(suite).notes == ("data: as it was then",)
    assert table_of(suite, "summary").notes == ("digits: data: as it was then",)


class Page(HTMLParser):
    """Collects what a page would ask for, and whether its tags close."""

    def __init__(self):
        super().__init__()
        self.asked, self.open, self.cells = [], [], 0

    def handle_starttag(self, tag, attributes):
        self.asked += [value for key, value in attributes if key in ("src", "href", "srcset", "action")]
        self.cells += tag == "td"
        if tag not in ("meta", "link", "br"):
            self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag


def test_the_page_asks_for_nothing_and_scrolls(tmp_path):
    suite = make_suite(tmp_path, methods=ROWS, benchmarks=("scenes",), seeds=2)
    fill(suite, drawn({}))
    table = table_of(suite, "scenes")
    text = to_html(table)
    page = Page()
    page.feed(text)
    assert page.asked == ["data:,"] and page.open == []
    assert "url(" not in text and "@import" not in text and "<script" not in text
    assert page.cells == 4 * len(table.columns)
    assert "overflow-x: auto" in text and 'name="viewport"' in text and "<small>±" in text


def test_labels_are_escaped_everywhere(tmp_path):
    suite = make_suite(tmp_path, methods={"single_task": {}, "a_b": {"method": "shared", "group": "x<y_1&2"}}, seeds=1)
    fill(suite, lambda b, m, s: 0.5)
    table = table_of(suite)
    assert "x&lt;y_1&amp;2" in to_html(table) and "x<y" not in to_html(table)
    assert r"a\_b" in to_latex(table) and r"\emph{x$<$y\_1\&2}" in to_latex(table)
    assert all(render(table) for render in RENDERERS.values())


def test_no_text_of_a_table_is_an_image_or_a_link_with_other_words(tmp_path):
    """The reason of a failed run may be any text, and Markdown loads images from where it says."""
    suite = make_suite(tmp_path, methods=("shared",), seeds=1)
    fill(suite, lambda *_: 0.5, status="failed", reason=r"a\|b ![x](http://a.b/c.png) [y](http://a.b) | <img src=z>")
    text = to_markdown(table_of(suite))
    assert r"a\\\|b ![x]\(http://a.b/c.png) [y]\(http://a.b) \| &lt;img src=z>" in text
