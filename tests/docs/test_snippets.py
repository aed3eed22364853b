"""What the documentation tells a reader to type works, as far as seconds on a CPU without a network can show it.

A block that is not tried says why, in a comment before it: ``<!-- not run: reason -->``.
"""

import re
import sys
from pathlib import Path
from types import ModuleType

import pytest
import yaml
from blocks import PAGES, ROOT, blocks, inline
from commands import commands, files_written, problems, unknown_options

from mola import config

# how many blocks may go untried, and which languages stand for what a reader sees
MOST_EXEMPT = 3
SHOWN = {"", "console", "text", "csv", "yaml"}
# its scores and files are looked at
ELSEWHERE = {
    "docs/your-own-loop.md": "tests/test_your_own_loop.py",
    "docs/use-a-model.md": "tests/inference/test_a_model_in_use.py",
}
WITH_PYTHON = [page for page in PAGES if any(block.language == "python" for block in blocks(page))]


def test_few_blocks_are_exempt_each_with_a_reason_and_no_language_escapes():
    every = [block for page in PAGES for block in blocks(page)]
    assert sum(block.reason is not None for block in every) <= MOST_EXEMPT
    assert all(block.reason for block in every if block.reason is not None)
    assert {block.language for block in every} <= {"python", "sh"} | SHOWN
    assert len(every) == sum(page.read_text().count("\n```") for page in PAGES) // 2, "a fence that is not read"


@pytest.mark.parametrize("page", WITH_PYTHON, ids=lambda page: page.stem)
def test_the_python_of_a_page_runs(page, tmp_path, monkeypatch):
    name = page.relative_to(ROOT).as_posix()
    if name in ELSEWHERE:
        assert page.name in (ROOT / ELSEWHERE[name]).read_text()
        return
    monkeypatch.chdir(tmp_path)
    module = ModuleType(f"page_{page.stem.replace('-', '_')}")
    monkeypatch.setitem(sys.modules, module.__name__, module)
    for block in blocks(page):
        if block.language == "python" and block.reason is None:
            # its line numbers are those of the page
            exec(compile("\n" * block.line + block.code, str(page), "exec"), module.__dict__)


def test_the_commands_of_all_pages_exist_with_their_options_targets_and_files(monkeypatch):
    monkeypatch.chdir(ROOT)
    wrong = [
        f"{block.page}:{block.line + 1}: {' '.join(words)}: {problem}"
        for page in PAGES
        for block in blocks(page)
        if block.language == "sh" and block.reason is None
        for words in commands(block)
        for problem in problems(words, files_written(page))
    ]
    assert not wrong, "\n".join(wrong)


def test_commands_within_the_text_exist_with_their_options():
    named = [(page, code) for page in PAGES for code in inline(page) if re.match(r"mola [a-z-]", code)]
    assert len(named) > 50
    wrong = [
        f"{page.name}: `{code}`: {', '.join(unknown)}" for page, code in named if (unknown := unknown_options(code))
    ]
    assert not wrong, "\n".join(wrong)


def test_the_yaml_of_a_page_is_a_suite_or_a_part_of_one(tmp_path):
    methods = yaml.safe_load((ROOT / "config/config.yaml").read_text())["methods"]
    # whatever benchmarks the embedded suite trains them on
    rows = {label: {key: value for key, value in row.items() if key != "benchmarks"} for label, row in methods.items()}
    rest = {"suite": "some", "seeds": 1, "reference": None, "benchmarks": {"digits": None}, "methods": rows}
    tried = 0
    for page in PAGES:
        folder = tmp_path / page.relative_to(ROOT)
        folder.mkdir(parents=True)
        _write_files_of(page, folder)
        for number, block in enumerate(blocks(page)):
            if block.language == "yaml" and block.reason is None:
                content = yaml.safe_load(block.code)
                config.parse(
                    content if "suite" in content else rest | content,
                    f"{block.page}:{block.line}",
                    folder / f"{number}.yaml",
                )
                tried += 1
    assert tried > 8


def _write_files_of(page: Path, folder: Path) -> None:
    """The files that a page shows: `methods/x.py` stands before the block with its content."""
    for path, code in re.findall(r"`((?:\w+/)?\w+\.py)`:\n\n```python\n(.*?)```", page.read_text(), re.DOTALL):
        (folder / path).parent.mkdir(exist_ok=True)
        (folder / path).write_text(code)


def test_the_checks_notice_what_does_not_exist(monkeypatch):
    """Each kind of mistake is one, so that a green test above means something."""
    monkeypatch.chdir(ROOT)
    for line in (
        "mola trian",
        "mola train --sede 3",
        "mola report --compare HEAD",
        "mola check nowhere.yaml",
        "snakemake --cores 8 everything",
        "snakemake all --configfile config/nowhere.yaml",
        "make everything",
        "dvc metrics display",
        "python tools/nowhere.py",
        "python -m mola.nowhere",
        "pip install '.[nothing]'",
        "nosuchprogram x",
    ):
        (words,) = commands(blocks_of(line))
        assert list(problems(words, set())), line
    assert unknown_options("mola reproduce --sampel N") and unknown_options("mola reprodcue")


def blocks_of(line: str):
    from blocks import Block

    return Block("test", 1, "sh", line)
