"""The report of a real run in a real browser: all of it is there, on a desk and in a hand, and no network is asked."""

import os
import shutil
import subprocess
import sys

import pytest
from running import environment, snakemake, write_suite

pytestmark = pytest.mark.slow
CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
PROBES = {"oracle_selection": True, "gradients": 1, "routing": 8}


@pytest.fixture(scope="module")
def report(module_repository):
    """A suite run by Snakemake, and its page."""
    write_suite(module_repository, suite="shown", probes=PROBES, methods={"shared": None, "mola_router": None})
    snakemake(module_repository)
    return bind(module_repository)


@pytest.fixture(scope="module")
def browser():
    if CHROMIUM is None:
        message = "no chromium found: apt-get install chromium (CI does), or put one on the PATH"
        pytest.fail(message) if os.environ.get("CI") else pytest.skip(message)
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        yield playwright.chromium.launch(
            executable_path=CHROMIUM, headless=True, args=["--no-sandbox", "--disable-background-networking"]
        )


def bind(repository, config="tiny.yaml"):
    done = subprocess.run(
        [sys.executable, "-m", "mola.cli", "report", "-c", config],
        cwd=repository, env=environment(repository), capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return repository / done.stdout.strip()


def opened(browser, path, width):
    """A page on the report, and what went wrong in it so far."""
    page, wrong = browser.new_page(viewport={"width": width, "height": 800}), []
    page.on("console", lambda message: wrong.append(message.text) if message.type == "error" else None)
    page.on("pageerror", lambda error: wrong.append(str(error)))
    page.on("request", lambda request: wrong.append(request.url) if is_outside(request.url) else None)
    page.goto(path.as_uri())
    return page, wrong


def is_outside(url):
    return not url.startswith(("file:", "data:", "about:", "blob:"))


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
