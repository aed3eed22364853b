"""The site of the documentation, and its notebook. Both need the extra `docs`; `make docs` installs it, and CI does."""

import os
import re
import subprocess
import sys

import pytest
from blocks import ROOT

ENVIRONMENT = os.environ | {"PYTHONPATH": str(ROOT), "NO_MKDOCS_2_WARNING": "1", "OMP_NUM_THREADS": "1"}
# what a browser loads by itself, as opposed to a link that a reader may follow
LOADED = re.compile(
    r"<(?:script|img|iframe|source)\b[^>]*?\bsrc=\"?([^\" >]+)|<link\b[^>]*?\bhref=\"?([^\" >]+)|url\(([^)]+)\)"
)


def build(folder, out) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "mkdocs", "build", "--strict", "--site-dir", str(out)]
    return subprocess.run(command, cwd=folder, env=ENVIRONMENT, capture_output=True, text=True, check=False)


@pytest.mark.slow
def test_the_site_is_whole_and_loads_nothing_from_elsewhere(tmp_path):
    pytest.importorskip("mkdocs", reason="the extra docs is not installed: make docs")
    done = build(ROOT, tmp_path / "site")
    assert done.returncode == 0, done.stdout + done.stderr
    pages = list((tmp_path / "site").rglob("*.html"))
    assert len(pages) > 25
    for file in [*pages, *(tmp_path / "site").rglob("*.css")]:
        for places in LOADED.findall(file.read_text()):
            address = "".join(places).strip("'\"")
            assert not re.match(r"(https?:)?//", address), f"{file.name}: {address}"
    reference = (tmp_path / "site/reference/library.html").read_text()
    assert 'id="mola.gate"' in reference and "<strong>experts</strong>: E, the number of adapters" in reference


@pytest.mark.slow
def test_a_link_that_leads_nowhere_is_an_error(tmp_path):
    pytest.importorskip("mkdocs", reason="the extra docs is not installed: make docs")
    (tmp_path / "docs").mkdir()
    (tmp_path / "docs/index.md").write_text("# x\n\n[a](nowhere.md) [b](#nowhere) [c](../mola/nowhere.py)\n")
    settings, _ = (ROOT / "mkdocs.yml").read_text().split("\nnav:")
    settings = settings.replace("hooks: [tools", f"hooks: [{ROOT}/tools") + "\nnav: [index.md]\n"
    (tmp_path / "mkdocs.yml").write_text(settings)
    done = build(tmp_path, tmp_path / "site")
    output = done.stdout + done.stderr
    assert done.returncode == 1, output
    for target in ("nowhere.md", "#nowhere", "../mola/nowhere.py"):
        assert f"'{target}'" in output, output


@pytest.mark.slow
def test_the_notebook_runs(tmp_path):
    nbclient = pytest.importorskip("nbclient", reason="the extra docs is not installed: make docs")
    import nbformat

    notebook = nbformat.read(ROOT / "docs/notebooks/first-steps.ipynb", as_version=4)
    assert not any(step.get("outputs") for step in notebook.cells), "commit it without outputs"
    # the kernel is this environment's, not one that the machine has under the name
    os.environ["PYTHONPATH"] = str(ROOT)
    nbclient.NotebookClient(notebook, timeout=600, resources={"metadata": {"path": str(tmp_path)}}).execute()
    said = [output["text"] for step in notebook.cells for output in step.get("outputs", []) if "text" in output]
    first, last = map(float, re.search(r"loss ([\d.]+) → ([\d.]+)", "".join(said)).groups())
    difference = float(re.search(r"largest difference: (\S+)", "".join(said))[1])
    assert last < first and difference < 1e-4
    assert (tmp_path / "digits.safetensors").exists()
