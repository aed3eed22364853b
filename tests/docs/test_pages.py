"""Pages that repeat what the code says: error messages, and the reference that is made of code."""

import re

import reference_pages
from blocks import ROOT, blocks
from messages import templates

ERRORS = ROOT / "docs/errors.md"


def test_every_message_that_is_explained_is_one_of_the_package():
    known = {" ".join(text.split()) for text in templates()}
    messages = [block.code.strip() for block in blocks(ERRORS)]
    assert len(messages) > 20
    gone = [message for message in messages if not any(message in text for text in known)]
    assert not gone, "\n".join(["docs/errors.md explains messages that the code no longer has:", *gone])


def test_the_guide_to_costs_repeats_measured_numbers_alone():
    """It is written by hand, and the measurements may be made again."""
    numbers = set(re.findall(r"\d+\.\d+", (ROOT / "docs/guides/cost.md").read_text()))
    measured = set(re.findall(r"\d+\.\d+", (ROOT / "docs/benchmarks/README.md").read_text()))
    assert len(numbers) > 15 and numbers <= measured, numbers - measured


def test_the_reference_is_that_of_the_code():
    for name, text in reference_pages.pages().items():
        assert (reference_pages.FOLDER / name).read_text() == text, f"{name}: run python tools/reference_pages.py"
