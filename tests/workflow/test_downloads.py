"""The downloaded benchmarks from a server on the loopback to their tables, in one workflow: fetch → prepare → train →
table, on miniature archives in the layouts of their publishers.
"""

import http.server
import json
import os
import subprocess
import sys
import threading
from functools import partial
from pathlib import Path

import archives
import pytest
import yaml

ROOT = Path(__file__).parent.parent.parent
DENSE = {"options": {"output_stride": 8}, "head_width": 8}


class Quiet(http.server.SimpleHTTPRequestHandler):
    def log_message(self, *words):
        pass


@pytest.fixture
def address(tmp_path):
    """A server of all miniatures, each file by its published name in its benchmark's folder."""
    folder = tmp_path / "server"
    for name, build in archives.BUILDERS.items():
        built = build(tmp_path / "built" / name)
        source = archives.benchmark(name, tmp_path).sources[0].file
        if built.is_file():
            (folder / name).mkdir(parents=True)
            built.rename(folder / name / source)
        else:
            built.rename(folder / name)
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), partial(Quiet, directory=folder))
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    server.server_close()


@pytest.mark.long
def test_from_the_server_to_the_tables(tmp_path, address):
    benchmarks = {
        name: {
            **archives.OPTIONS[name],
            "mirror": f"{address}/{name}",
            "limit": 8,
            "backbone": DENSE if name == "nyuv2" else {},
        }
        for name in archives.BUILDERS
    }
    suite = {
        "suite": "downloads",
        "data": str(tmp_path / "data"),
        "results": str(tmp_path / "results"),
        "device": "cpu",
        "seeds": 1,
        "reference": None,
        "benchmarks": benchmarks,
        "training": {"epochs": 1, "batch_size": 22},  # two samples for each of RadImageNet's eleven anatomies
        "backbone": {"name": "test_resnet"},
        "shared_options": {"rank": 2, "where": r"layer4\..*conv\d"},
        "methods": {"mola_grad": None},
    }
    (tmp_path / "suite.yaml").write_text(yaml.safe_dump(suite))
    programs = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
    environment = os.environ | {"PATH": programs, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT)}
    command = [sys.executable, "-m", "snakemake", "--cores", "2", "all", "--configfile", str(tmp_path / "suite.yaml")]
    done = subprocess.run(
        [*command, "--directory", str(tmp_path), "--snakefile", str(ROOT / "Snakefile")],
        cwd=ROOT, env=environment, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    for name in archives.BUILDERS:
        table = (tmp_path / f"results/downloads/tables/{name}.md").read_text()
        assert "| mola_grad" in table and "not the published archive" in table, table
        record = json.loads((tmp_path / f"results/downloads/{name}/mola_grad/seed0/record.json").read_text())
        assert record["status"] == "done" and record["test"], name
