"""A real browser without a network: what the tests of pages share."""

import os
import shutil

import pytest

CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)


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


def opened(browser, path, width, height=800, scheme="light"):
    """A page on a file, and what went wrong in it so far: errors, and whatever it asks of a network."""
    page = browser.new_page(viewport={"width": width, "height": height}, color_scheme=scheme)
    wrong = []
    page.on("console", lambda message: wrong.append(message.text) if message.type == "error" else None)
    page.on("pageerror", lambda error: wrong.append(str(error)))
    page.on("request", lambda request: wrong.append(request.url) if is_outside(request.url) else None)
    page.goto(path.as_uri())
    return page, wrong


def is_outside(url):
    return not url.startswith(("file:", "data:", "about:", "blob:"))
