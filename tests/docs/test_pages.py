"""Pages that repeat what the code says: error messages, and the reference that is made of code."""

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


def test_the_reference_is_that_of_the_code():
    for name, text in reference_pages.pages().items():
        assert (reference_pages.FOLDER / name).read_text() == text, f"{name}: run python tools/reference_pages.py"
