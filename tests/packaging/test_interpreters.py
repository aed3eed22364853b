"""The wheel under every Python that is supported and lies on this machine. Hosted CI has the whole on each of them; no
other interpreter here has PyTorch, so what is tried is what needs none: installation, syntax, and what is said then.
"""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from test_hosted_ci import pythons

pytestmark = pytest.mark.slow
ROOT = Path(__file__).parents[2]


def interpreter(version: str) -> str | None:
    """A Python of that version: this one, one on the PATH, or one of pyenv's, whose shims may lead nowhere."""
    places = Path(os.environ.get("PYENV_ROOT", Path.home() / ".pyenv"), "versions")
    known = [sys.executable, shutil.which(f"python{version}"), *sorted(places.glob(f"{version}.*/bin/python3"))]
    code = 'import sys, venv; print("%d.%d" % sys.version_info[:2])'
    for program in filter(None, known):
        done = subprocess.run([program, "-c", code], capture_output=True, text=True, check=False)
        if done.stdout.strip() == version:
            return str(program)
    return None


@pytest.fixture(scope="module")
def wheel(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("wheel")
    command = [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(folder)]
    subprocess.run(command, cwd=ROOT, check=True, capture_output=True)
    (path,) = folder.glob("*.whl")
    return path


@pytest.mark.parametrize("version", pythons())
def test_the_wheel_installs_and_every_module_compiles(version, wheel, tmp_path):
    program = interpreter(version)
    if program is None:
        pytest.skip(f"no Python {version} on this machine")
    clean = {key: value for key, value in os.environ.items() if key not in ("PYTHONPATH", "VIRTUAL_ENV")}

    def run(*words, code=0):
        done = subprocess.run(words, cwd=tmp_path, env=clean, capture_output=True, text=True, check=False)
        assert done.returncode == code, done.stdout + done.stderr
        return done

    run(program, "-m", "venv", "--without-pip", "environment")
    python = tmp_path / "environment/bin/python"
    install = [sys.executable, "-m", "pip", "--python", str(python), "install", "--quiet", "--no-index", "--no-deps"]
    run(*install, str(wheel))
    where = run(python, "-c", "import sysconfig; print(sysconfig.get_path('purelib'))").stdout.strip()
    assert f"python{version}" in where
    run(python, "-W", "error", "-m", "compileall", "-q", "-f", f"{where}/mola")
    mola = tmp_path / "environment/bin/mola"
    assert run(mola, "--help", code=2).stderr == "mola: mola needs typer: pip install 'mola-bench[bench]'\n"
    assert run(mola, "table", code=2).stderr == "mola: mola table needs typer: pip install 'mola-bench[bench]'\n"
