import ast
import json
import re
from pathlib import Path

ROOT = Path(__file__).parent.parent
PROTOCOL = ROOT / "docs/protocol.md"


def test_the_code_that_the_method_names_is_in_the_file_it_links():
    named = re.findall(r"`([\w.]+)`, \[[\w.]+\]\(([\w./]+\.py)\)", (ROOT / "docs/method.md").read_text())
    assert len(named) > 10
    for name, file in named:
        scope = ast.parse((ROOT / "docs" / file).read_text()).body
        for part in name.split("."):
            links = [n for n in scope if isinstance(n, ast.ClassDef | ast.FunctionDef) and n.name == part]
            assert links, f"docs/method.md: {name} is not in {file}"
            scope = links[0].body


def test_the_protocol_tells_the_split_of_every_downloaded_benchmark():
    rows = re.findall(r"^\| (\w+)(?:, layout \w+)? \| (.*?) \| (.*?) \|$", PROTOCOL.read_text(), re.MULTILINE)
    for path in (ROOT / "data/splits").glob("*.json"):
        rule = json.loads(path.read_text())
        if "rule" not in rule:
            continue
        ours = [ours for name, ours, _ in rows if name == path.stem]
        shares = [str(share) for share in rule.get("percent", {}).values() if share]
        assert ours and (not shares or any(" / ".join(shares) in text for text in ours)), path.stem


def test_documents_link_to_files_that_exist():
    for document in [*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md")]:
        for target in re.findall(r"\]\(([^)#:]+)\)", document.read_text()):
            assert (document.parent / target).exists(), f"{document.name}: {target}"
