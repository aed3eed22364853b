"""The code in README.md and docs/: fenced blocks with their language, and what a page says of one that is not run."""

import re
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parent.parent.parent
PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").rglob("*.md"))]
FENCE = re.compile(r"(?:<!-- not run: (?P<reason>.*?) -->\n+)?^```(?P<language>\w*)\n(?P<code>.*?)^```$", re.M | re.S)


@dataclass(frozen=True)
class Block:
    """A fenced block. reason: why it is not run, as the comment before it says; None where it is."""

    page: str
    line: int
    language: str
    code: str
    reason: str | None = None


def blocks(page: Path) -> list[Block]:
    text, name = page.read_text(), page.relative_to(ROOT).as_posix()
    return [
        Block(name, text[: match.start("code")].count("\n"), match["language"], match["code"], match["reason"])
        for match in FENCE.finditer(text)
    ]


def inline(page: Path) -> list[str]:
    """The code within the text of a page."""
    text = FENCE.sub("", page.read_text())
    return [" ".join(code.split()) for code in re.findall(r"(?<!`)`([^`]+)`(?!`)", text)]
