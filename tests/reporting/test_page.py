"""The page of a suite in a real browser: on a desk, a tablet and a phone, light and dark. The records are synthetic."""

import json
import re

import pytest
from browsing import opened
from synthetic import drawn, edit, experiment, fill, make_suite, record

from mola.reporting.figures import _write, cost
from mola.reporting.figures._source import sources
from mola.reporting.report import content
from mola.reporting.report.write import write_page
from mola.reporting.results.read import read_results

pytestmark = pytest.mark.slow
HOSTILE = "<script>document.title = 'run'</script>"
ROWS = {
    "single_task": {"group": "=cmd|' /C calc'!A0"},
    "shared": {"group": HOSTILE},
    "mola_grad": {"rank": 4, "group": r"$\frac{$"},
    "mola_router": {"rank": 4, "group": r"$\frac{$"},
    "unfinished": {"method": "shared", "training": {"lr": 0.5}, "group": r"$\frac{$"},
}
ANSWERS = {HOSTILE: ["shared"], "keep | apart": ["single_task"], "**mixtures**": ["mola_grad", "mola_router"]}
GAINS = {"shared": 0.05, "mola_grad": 0.08, "mola_router": 0.06}
PRICES = {"single_task": 0.4, "shared": 0.1, "mola_grad": 0.2, "mola_router": 0.3}
SIZES = [(1280, 800), (768, 1024), (390, 844)]
REASON = "OutOfMemoryError: <b>no</b> room"
# the texts of a page whose contrast is below what WCAG asks at level AA
FAINT = """() => {
  const channels = (text) => text.match(/[\\d.]+/g).map(Number);
  const linear = (c) => (c <= 0.03928 ? c / 12.92 : ((c + 0.055) / 1.055) ** 2.4);
  const light = ([r, g, b]) => 0.2126 * linear(r / 255) + 0.7152 * linear(g / 255) + 0.0722 * linear(b / 255);
  const behind = (place) => {
    for (; place; place = place.parentElement) {
      const colour = channels(getComputedStyle(place).backgroundColor);
      if (colour.length < 4 || colour[3] > 0) return colour;
    }
    return [255, 255, 255];
  };
  const faint = [];
  for (const place of document.querySelectorAll("main *, header *")) {
    const words = [...place.childNodes].some((n) => n.nodeType === 3 && n.data.trim());
    if (!words || !place.getClientRects().length) continue;
    const style = getComputedStyle(place), svg = place.namespaceURI.endsWith("svg");
    const [a, b] = [light(channels(svg ? style.fill : style.color)), light(behind(place))];
    const contrast = (Math.max(a, b) + 0.05) / (Math.min(a, b) + 0.05);
    if (contrast < 4.5) faint.push(`${place.tagName} ${place.textContent.trim().slice(0, 40)} ${contrast}`);
  }
  return faint;
}"""
# how dark the page, its cards and its tables are, from 0 to 255
SURFACES = """() => [...document.querySelectorAll("body, .card, .grid, .scroll td, .scroll th, .sheet, input")].map(
  (place) => Math.max(...getComputedStyle(place).backgroundColor.match(/[\\d.]+/g).slice(0, 3).map(Number)))"""


@pytest.fixture(scope="module")
def suite(tmp_path_factory):
    folder = tmp_path_factory.mktemp("page")
    suite = make_suite(
        folder, methods=ROWS, benchmarks=("digits", "emoji"), seeds=6, answers=ANSWERS, compare_to="shared"
    )
    times = {"seconds_per_step": lambda b, m, s: PRICES.get(m, 1.0), "commit": "0123456789abcdef"}
    fill(suite, drawn(GAINS, noise=0.005), epochs=5, **times)
    edit(record(suite, "unfinished", 3), status="failed", reason=REASON)
    log = experiment(suite, "unfinished").run_folder(3) / "log.txt"
    log.write_text("".join(f"line {i}\n" for i in range(100)))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(_write, "names", lambda: ("tasks", "cost"))
        _write.write_figures(suite)
    return suite


@pytest.fixture(scope="module")
def path(suite):
    return write_page(suite, suite.folder.parent.parent / "suite.yaml", read_results(suite), workflow=True)


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize(("width", "height"), SIZES)
def test_it_can_be_read_everywhere(path, browser, width, height, scheme):
    page, wrong = opened(browser, path, width, height, scheme)
    assert page.evaluate("document.documentElement.scrollWidth") <= width, "tables scroll by themselves"
    number = page.locator("#verdict td", has_text=re.compile(r"\d\.\d")).first.bounding_box()
    assert number["y"] + number["height"] <= height and number["x"] + number["width"] <= width
    for details in page.locator("details").all():
        details.evaluate("place => { place.open = true }")
    assert page.evaluate(FAINT) == []
    assert all((shade > 200) == (scheme == "light") for shade in page.evaluate(SURFACES))
    table = page.locator("#benchmarks .scroll").first
    table.evaluate("place => { place.scrollLeft = 300 }")
    assert table.locator("tbody th").last.bounding_box()["x"] == pytest.approx(table.bounding_box()["x"], abs=2)
    assert page.evaluate("[...document.images].every((i) => i.naturalWidth > 300 && i.alt.length > 40)")
    assert page.title().startswith("synthetic: Which is best") and wrong == []
    page.close()


def is_dark(page):
    shades = {shade > 200 for shade in page.evaluate(SURFACES)}
    assert len(shades) == 1, "one colour of the page is not that of the others"
    return not shades.pop()


@pytest.mark.parametrize(("width", "height"), [SIZES[0], SIZES[2]])
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_light_or_dark_is_chosen_and_remembered(path, browser, width, height, scheme):
    page, wrong = opened(browser, path, width, height, scheme)
    group = page.get_by_role("group", name="Colours of the page")
    choice = lambda name: group.get_by_role("radio", name=name)  # noqa: E731
    assert choice("Auto").is_checked() and is_dark(page) == (scheme == "dark")
    for box in (label.bounding_box() for label in group.locator("label").all()):
        assert min(box["width"], box["height"]) >= 24 and box["x"] + box["width"] <= width
    choice("Auto").focus()
    page.keyboard.press("ArrowRight")
    assert choice("Light").is_checked() and not is_dark(page)
    group.get_by_text("Dark").click()
    assert choice("Dark").is_checked() and is_dark(page)
    page.reload()
    assert choice("Dark").is_checked() and is_dark(page), "it is remembered"
    for details in page.locator("details").all():
        details.evaluate("place => { place.open = true }")
    assert page.evaluate(FAINT) == []
    page.emulate_media(media="print", color_scheme=scheme)
    assert not is_dark(page) and group.is_hidden(), "paper is white"
    page.emulate_media(media="screen", color_scheme=scheme)
    group.get_by_text("Auto").click()
    page.reload()
    assert choice("Auto").is_checked() and is_dark(page) == (scheme == "dark") and wrong == []
    page.close()


def test_a_browser_that_keeps_nothing_of_files_shows_the_page_all_the_same(path, browser):
    page, wrong = opened(browser, path, 1280)
    page.add_init_script("Object.defineProperty(window, 'localStorage', { get() { throw new Error('denied') } })")
    page.reload()
    page.get_by_role("group", name="Colours of the page").get_by_text("Dark").click()
    assert is_dark(page) and page.locator("#plot .point").count() and wrong == []
    page.close()


def test_a_title_sorts_and_words_filter(path, browser):
    page, wrong = opened(browser, path, 1280)
    summary = page.locator("#summary .grid").first
    names = lambda: summary.locator("tbody tr:not(.heading):visible th").all_inner_texts()  # noqa: E731
    before, title = names(), summary.get_by_role("button", name="digits Δ_task")
    title.click()
    values = [
        float(v) if v else None
        for v in summary.locator("tbody tr td:nth-child(3)").evaluate_all(
            "cells => cells.map((cell) => cell.dataset.value)"
        )
    ]
    assert values[:-1] == sorted(values[:-1], reverse=True) and values[-1] is None and names()[-1] == "single_task"
    title.click()
    assert names()[-1] == "single_task" and names() != before
    title.click()
    assert names() == before
    summary.locator("input").fill("mola")
    assert names() == ["mola_grad", "mola_router"] and summary.locator("tr.heading:visible").count() == 1
    assert wrong == []
    page.close()


@pytest.mark.parametrize(("x", "y"), [("milliseconds_per_step", "gain"), ("score", "milliseconds_per_step")])
def test_the_front_is_that_of_the_figure(suite, path, browser, x, y):
    page, wrong = opened(browser, path, 390)
    page.locator(".choose select[name=x]").select_option(x)
    page.locator(".choose select[name=y]").select_option(y)
    frame = cost.data(sources(suite)[0])
    expected = set(frame[frame["pareto_milliseconds_per_step"]]["method"])
    assert len(expected) > 1
    shown = page.locator("#front").inner_text()
    assert set(re.sub(r"On the front: |\.$", "", shown).split(", ")) == expected
    assert page.locator("#plot .point").count() == len(ROWS) and page.locator("#plot .point.short").count() == 1
    assert wrong == []
    page.close()


def test_a_number_leads_to_its_runs(path, browser):
    page, wrong = opened(browser, path, 1280)
    links = page.evaluate(
        "[...document.querySelectorAll('a[href^=\"#\"]')].map((a) => a.getAttribute('href').slice(1))"
    )
    assert len(links) > 40 and page.evaluate("ids => ids.filter((id) => !document.getElementById(id))", links) == []
    row = page.locator("#summary tbody tr", has=page.get_by_text("unfinished", exact=False)).first
    row.locator("td a").first.click()
    sheet = page.locator("details.sheet[open]")
    assert sheet.count() == 1 and sheet.locator(".runs tbody tr").count() == 5
    text = sheet.inner_text()
    assert "0123456" in text and f"seed 3: failed: {REASON}" in text and "-m unfinished -s 3" in text
    assert "line 99" in text and "line 91" not in text and "lr" not in page.title()
    assert sheet.locator("svg polyline").count() == 5
    assert wrong == []
    page.close()


def test_it_holds_itself_together(suite, path, monkeypatch):
    text = path.read_text()
    assert not re.search(r"""(src|href|action)\s*=\s*["']?\s*(https?:)?//|url\(|@import""", text)
    assert HOSTILE not in text and text.count("<script") == 3 and "<b>no" not in text
    axes = json.loads(re.search(r'<script type="application/json" id="data">(.*?)</script>', text)[1])["axes"]
    assert {"score", "gain", "minutes", "peak_memory_mib", "parameters_inference"} <= {axis["key"] for axis in axes}
    assert len(text.encode()) < content.MOST and text.count("data:image/webp") == 4
    monkeypatch.setattr(content, "MOST", len(text.encode()) - 1)
    benchmarks = read_results(suite)
    smaller = write_page(suite, suite.folder.parent.parent / "suite.yaml", benchmarks, workflow=False).read_text()
    assert len(smaller.encode()) < content.MOST and 'href="workflow.html"' not in smaller
    assert 0 < smaller.count("data:image/webp") < 4 and "The page is full" in smaller


def test_a_suite_without_answers_has_a_verdict_too(tmp_path):
    suite = make_suite(tmp_path, methods={"single_task": {}, "shared": {}}, benchmarks=("digits",), seeds=6)
    fill(suite, drawn({"shared": 0.1}, noise=0.005))
    text = write_page(suite, tmp_path / "suite.yaml", read_results(suite), workflow=False).read_text()
    assert "Which of 2 rows is best, and is it better than single_task?" in text
    assert re.search(r"On test it differs from single_task by \+\d+\.\d\d points \[\+", text)


def test_verdicts_of_many_benchmarks_keep_to_their_columns(tmp_path, browser):
    """Four benchmarks: on one a run is missing, on two an answer has no row."""
    rows = {"single_task": {}, "shared": {}, "mola_grad": {"benchmarks": ["digits", "emoji"]}}
    answers = {"pool": ["shared"], "mix": ["mola_grad"], "apart": ["single_task"]}
    suite = make_suite(
        tmp_path, methods=rows, benchmarks=("digits", "emoji", "glyphs", "scenes"), seeds=6, answers=answers
    )
    fill(suite, drawn({"shared": 0.02, "mola_grad": 0.04}, noise=0.01))
    (experiment(suite, "shared", "emoji").run_folder(2) / "record.json").unlink()
    path = write_page(suite, tmp_path / "suite.yaml", read_results(suite), workflow=False)
    page, wrong = opened(browser, path, 390, 844)
    rows = [row.inner_text() for row in page.locator(".verdicts tr").all()]
    assert rows[0].split() == ["benchmark", "verdict", "pool", "mix", "apart"]
    assert "No answer yet: not every run of shared is in." in rows[2]
    for row in page.locator(".verdicts tr", has_text=re.compile("glyphs|scenes")).all():
        assert row.locator("td").nth(2).inner_text() == "–" and re.search(r"\d", row.locator("td").nth(3).inner_text())
    assert " of 3" in page.locator(".tally").inner_text() and "mix on 1 of 1" in page.locator(".tally").inner_text()
    assert page.evaluate("document.documentElement.scrollWidth") <= 390 and wrong == []
    page.close()
