"""The report of a real run in a real browser: all of it is there, on a desk and in a hand, and no network is asked."""

import subprocess
import sys

import pytest
from browsing import opened
from running import environment, snakemake, write_suite

pytestmark = pytest.mark.slow
PROBES = {"oracle_selection": True, "gradients": 1, "routing": 8}


@pytest.fixture(scope="module")
def report(module_repository):
    """A suite run by Snakemake, and its page."""
    write_suite(module_repository, suite="shown", probes=PROBES, methods={"shared": None, "mola_router": None})
    snakemake(module_repository)
    return bind(module_repository)


def bind(repository, config="tiny.yaml"):
    """Both pages; the place of Snakemake's."""
    done = subprocess.run(
        [sys.executable, "-m", "mola.cli", "report", "-c", config],
        cwd=repository, env=environment(repository), capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    page, workflow = (repository / line for line in done.stdout.splitlines()[-2:])
    assert (page.name, workflow.name) == ("report.html", "workflow.html")
    return workflow


def folders(page):
    """(category, its subcategories) as the menu has them."""
    return [(name, list(inside)) for name, inside in page.evaluate("categories").items()]


def enter(page, category, subcategory, alone):
    page.reload()
    page.locator("nav").get_by_role("link", name=category, exact=True).click()
    if not alone:
        page.locator("nav").get_by_role("link", name=subcategory, exact=True).click()


def check_figure(page, width):
    picture = page.locator("#app img[src^='data:image/png']")
    picture.wait_for(state="visible")
    assert picture.evaluate("image => image.complete && image.naturalWidth > 300")
    box = picture.bounding_box()
    assert box["x"] >= 0 and box["x"] + box["width"] <= width and box["width"] > 250


def check_page(page, width):
    frame = page.locator("#app iframe")
    frame.wait_for(state="visible")
    box = frame.bounding_box()
    assert box["x"] >= 0 and box["x"] + box["width"] <= width and box["width"] > 250 and box["height"] > 200
    inside = frame.content_frame
    inside.locator("table").first.wait_for(state="visible")
    assert "shared" in inside.locator("body").inner_text()
    assert inside.locator("html").evaluate("page => page.scrollWidth <= page.clientWidth"), "wide tables scroll alone"


@pytest.mark.parametrize("width", [1280, 390])
def test_everything_is_shown_and_nothing_is_asked_of_the_network(report, browser, width):
    page, wrong = opened(browser, report, width)
    page.locator("nav").get_by_role("link", name="Statistics").click()
    page.locator("#app canvas, #app svg.marks").first.wait_for(state="visible")
    visited = {"png": 0, "html": 0}
    for category, subcategories in folders(page):
        for subcategory in subcategories:
            enter(page, category, subcategory, alone=len(subcategories) == 1)
            rows = page.locator("nav tbody tr")
            for row in range(rows.count()):
                kind = "png" if category == "Figures" else "html"
                rows.nth(row).locator("a").first.click()
                (check_figure if kind == "png" else check_page)(page, width)
                visited[kind] += 1
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    pictures = list((report.parent / "figures").glob("*.png"))
    tables = list((report.parent / "tables").glob("*.html"))
    assert visited == {"png": len(pictures), "html": len(tables) + 1} and len(pictures) >= 8
    assert wrong == []
    page.close()


def test_the_page_that_answers_shows_a_real_run(report, browser):
    page, wrong = opened(browser, report.with_name("report.html"), 390, 844)
    assert page.locator("a[href='workflow.html']").count() == 1
    page.locator("#summary td a").first.click()
    assert "epoch" in page.locator("details.sheet[open] .runs").inner_text()
    assert page.locator(".picture img").count() == len(list((report.parent / "figures").glob("*.png")))
    assert report.with_name("report.html").stat().st_size < 5_000_000 and wrong == []
    page.close()


def test_every_result_has_a_caption_and_the_page_stays_small(report, browser):
    page, _ = opened(browser, report, 1280)
    results = page.evaluate("results")
    assert [path for path, result in results.items() if len(result["caption"]) < 40] == []
    assert report.stat().st_size < 6_000_000
    assert "shown" in page.locator(".prose").inner_text(), "the suite's name with the graph"
    page.close()


def test_what_is_missing_is_one_line(repository):
    write_suite(repository, suite="nothing", methods={"shared": None})
    command = [sys.executable, "-m", "mola.cli", "report", "-c", "tiny.yaml"]
    done = subprocess.run(
        command, cwd=repository, env=environment(repository), capture_output=True, text=True, check=False
    )
    assert done.returncode == 2 and done.stderr.count("\n") == 1
    assert (
        "expected results to show" in done.stderr and "snakemake --cores all all --configfile tiny.yaml" in done.stderr
    )
