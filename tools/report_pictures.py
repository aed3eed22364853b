"""Draw the pictures of the report that stand in docs/images, from the page of the embedded suite: mola report first.

    python tools/report_pictures.py

It needs a chromium, as the tests of the page do.
"""

from __future__ import annotations

import io
import shutil
import sys
from pathlib import Path

from PIL import Image
from playwright.sync_api import Page, ViewportSize, sync_playwright

ROOT = Path(__file__).parent.parent
REPORT = ROOT / "results/embedded/report.html"
# name → width and height, colours, part of the page
PICTURES = {
    "report-first": (1280, 800, "light", ""),
    "report-measures": (1280, 660, "dark", "#measures"),
    "report-phone": (390, 844, "dark", ""),
}
MOST = 150_000


def main() -> int:
    programs = filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome")))
    program = next(programs, None)
    for missing, what in ((not REPORT.is_file(), f"{REPORT}: mola report"), (program is None, "a chromium")):
        if missing:
            print(f"expected {what} first, found none", file=sys.stderr)
            return 2
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=program, headless=True, args=["--no-sandbox"])
        for name, (width, height, theme, part) in PICTURES.items():
            page = browser.new_page(viewport=ViewportSize(width=width, height=height))
            # as a reader chooses at the top of the page
            page.add_init_script(f"localStorage.setItem('mola.theme', '{theme}')")
            page.goto(REPORT.as_uri() + part)
            path = ROOT / "docs/images" / f"{name}.png"
            path.write_bytes(picture(page))
            print(f"{path.relative_to(ROOT)}: {path.stat().st_size} bytes")
            page.close()
    return 0


def picture(page: Page) -> bytes:
    """The window as a PNG of 256 colours: a third of the bytes, and no colour is off by more than an eye sees."""
    file = io.BytesIO()
    shot = Image.open(io.BytesIO(page.screenshot())).convert("RGB")
    colours = shot.quantize(256, method=Image.Quantize.MAXCOVERAGE, dither=Image.Dither.NONE)
    colours.save(file, "PNG", optimize=True)
    if len(file.getvalue()) > MOST:
        raise SystemExit(f"expected a picture of at most {MOST} bytes, found {len(file.getvalue())}")
    return file.getvalue()


if __name__ == "__main__":
    sys.exit(main())
