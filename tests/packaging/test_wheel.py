"""What is installed from a wheel works outside any clone: the layers with PyTorch and safetensors alone, and the whole
way to tables, figures and the report with the extras.
"""

import json
import os
import re
import shlex
import subprocess
import sys
import sysconfig
import zipfile
from importlib.metadata import distribution
from pathlib import Path

import pytest
import yaml
from own_images import write_folder
from packaging.requirements import Requirement

from mola.config import load
from mola.experiment.spec import experiment

pytestmark = pytest.mark.slow
ROOT = Path(__file__).parents[2]
CORE = ("torch", "safetensors")

LAYERS = """
import torch, mola
from importlib.util import find_spec
from torch import nn
from mola.layers.router import Router
from mola.losses import task_decorrelation

def network():
    torch.manual_seed(0)
    return nn.Sequential(nn.Conv2d(3, 8, 3, padding=1), nn.ReLU(), nn.Flatten(), nn.Linear(8 * 36, 5))

model = mola.adapt(network(), experts=3, rank=2, where="0|3")
for name, parameter in model.named_parameters():
    if name.endswith(("A", "B")):
        nn.init.normal_(parameter, std=0.1)
x, task = torch.randn(4, 3, 6, 6), torch.tensor([0, 2, 1, 2])
with mola.gate(model, task):
    y = model(x)
    (y.square().sum() + task_decorrelation(y, task)).backward()
mola.save_adapters(model, "model.safetensors", shared=True)
again = mola.adapt(network(), experts=3, rank=2, where="0|3")
mola.load_adapters(again, "model.safetensors")
with mola.gate(again, task):
    assert torch.equal(again(x), y)
torch.testing.assert_close(mola.export(model, expert=2)(x)[task == 2], y[task == 2])
mola.merge(again, expert=1)
torch.testing.assert_close(again(x)[2], y[2])
assert not torch.equal(y, network()(x))
absent = "numpy pandas pydantic typer yaml timm torchvision scipy snakemake rich".split()
assert [name for name in absent if find_spec(name)] == []
try:
    mola.balancers
except ModuleNotFoundError as error:
    print(error)
print(mola.__file__)
"""


@pytest.fixture(scope="module")
def wheel(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("wheel")
    run(sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(folder), cwd=ROOT)
    (path,) = folder.glob("mola_bench-*.whl")
    return path


def test_the_wheel_has_every_file_of_the_package_and_what_lies_beside_it_in_a_clone(wheel):
    with zipfile.ZipFile(wheel) as archive:
        names = {name for name in archive.namelist() if ".dist-info/" not in name}
        licences = {Path(name).name for name in archive.namelist() if "/licenses/" in name}
    shipped = ("config", "data/splits", "profiles", "workflow")
    listed = subprocess.run(
        ["git", "ls-files", "-co", "--exclude-standard", "mola", *shipped],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
    )
    files = {name for name in listed.stdout.splitlines() if (ROOT / name).is_file()}
    assert names == {name if name.startswith("mola/") else f"mola/_shipped/{name}" for name in files}
    assert {"mola/py.typed", "mola/_shipped/workflow/Snakefile", "mola/_shipped/data/splits/digits.json"} <= names
    assert licences == {"LICENSE", "NOTICE"}


def run(*words, cwd, code=0) -> subprocess.CompletedProcess[str]:
    """A process that knows nothing of the clone, and no program but those of its environment."""
    environment = {key: value for key, value in os.environ.items() if key not in ("PYTHONPATH", "VIRTUAL_ENV")}
    environment |= {"PATH": f"{Path(words[0]).parent}:{os.environ['PATH']}", "OMP_NUM_THREADS": "1"}
    done = subprocess.run(words, cwd=cwd, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == code, done.stdout + done.stderr
    return done


def environment_with(folder: Path, wheel: Path, packages: Path) -> Path:
    """A fresh environment that sees a folder of installed packages beside its own; returns its programs. pip refuses
    the wheel where what it requires is in neither.
    """
    run(sys.executable, "-m", "venv", "--without-pip", str(folder), cwd=folder.parent)
    site = sysconfig.get_path("purelib", "venv", {"base": str(folder), "platbase": str(folder)})
    Path(site, "others.pth").write_text(f"{packages}\n")
    programs = folder / "bin"
    pip = [sys.executable, "-m", "pip", "--python", str(programs / "python"), "install", "--quiet", "--no-index"]
    run(*pip, "--no-warn-script-location", str(wheel), cwd=folder.parent)
    return programs


def required(names) -> set[str]:
    """The names of packages and of all that they require on this machine."""
    every: set[Requirement] = set()
    waiting = [Requirement(name) for name in names]
    while waiting:
        one = waiting.pop()
        if one not in every:
            every.add(one)
            needs = map(Requirement, distribution(one.name).requires or ())
            waiting += [need for need in needs if is_needed(need, one.extras)]
    return {one.name for one in every}


def is_needed(need: Requirement, extras) -> bool:
    return need.marker is None or any(need.marker.evaluate({"extra": extra}) for extra in ("", *extras))


@pytest.fixture
def core(tmp_path) -> Path:
    """A folder with the packages of this environment that PyTorch and safetensors need, and no others."""
    folder = tmp_path / "core"
    folder.mkdir()
    for name in required(CORE):
        files = distribution(name).files or ()
        for top in {file.parts[0] for file in files} - {"..", "__pycache__"}:
            if not (folder / top).exists():
                (folder / top).symlink_to(Path(distribution(name).locate_file(top)))
    return folder


def test_the_layers_need_pytorch_and_safetensors_alone(tmp_path, wheel, core):
    programs = environment_with(tmp_path / "environment", wheel, core)
    said = run(str(programs / "python"), "-c", LAYERS, cwd=tmp_path).stdout.splitlines()
    assert said[0] == "mola.balancers needs pydantic: pip install 'mola-bench[balancers]'"
    assert Path(said[1]).is_relative_to(tmp_path)
    refused = run(str(programs / "mola"), "table", cwd=tmp_path, code=2)
    assert refused.stderr == "mola: mola table needs typer: pip install 'mola-bench[bench]'\n"


@pytest.fixture
def installed(tmp_path, wheel) -> Path:
    """The programs of an environment that lies in somebody's repository, with all packages of this one."""
    for words in (["init", "-q"], ["commit", "-qm", "theirs", "--allow-empty"]):
        who = ["-c", "user.name=n", "-c", "user.email=e@example.org"]
        subprocess.run(["git", *who, *words], cwd=tmp_path, check=True)
    return environment_with(tmp_path / ".venv", wheel, Path(sysconfig.get_path("purelib")))


@pytest.mark.long
def test_a_project_computes_outside_a_clone(tmp_path, installed):
    run(str(installed / "mola"), "init", "tiny", cwd=tmp_path)
    project = tmp_path / "tiny"
    config = project / "config/config.yaml"
    config.write_text(config.read_text().replace("seeds: 2", "seeds: 1").replace("epochs: 2", "epochs: 1"))
    run(str(installed / "python"), "-m", "snakemake", "--cores", "2", "all", cwd=project)
    table = (project / "results/tiny/tables/summary.md").read_text()
    assert "| shared (draft) |" in table and "| mola_grad (draft) |" in table, "no commit has the code of a wheel"
    record = json.loads((project / "results/tiny/digits/mola_grad/seed0/record.json").read_text())
    assert record["commit"] is None, "the repository around the environment is not ours"
    assert record["fingerprint"] == experiment(load(config), "digits", "mola_grad").fingerprint, "as in the clone"
    shown = run(str(installed / "mola"), "report", cwd=project).stdout.splitlines()
    pages = [f"results/tiny/{name}.html" for name in ("report", "workflow")]
    assert shown[-2:] == pages and all("mola_grad" in (project / page).read_text() for page in pages)
    # and without a workflow, from a suite's file alone
    alone = tmp_path / "alone"
    alone.mkdir()
    (alone / "data").symlink_to(project / "data")
    text = config.read_text().replace("suite: tiny", "suite: alone").replace("  mola_grad:\n", "")
    (alone / "alone.yaml").write_text(text)
    for command in ("prepare", "train", "table", "report"):
        run(str(installed / "mola"), command, "-c", "alone.yaml", cwd=alone)
    assert "shared" in (alone / "results/alone/report.html").read_text()
    assert "| shared (draft) |" in (alone / "results/alone/tables/digits.md").read_text()


@pytest.mark.long
def test_from_an_empty_folder_and_images_of_ones_own_to_the_answer_in_three_commands(tmp_path, installed):
    """As they are printed; the suite is made small in between, which the test alone needs."""
    write_folder(tmp_path / "photos", 12)
    shop = tmp_path / "shop"
    shop.mkdir()
    said = run(str(installed / "mola"), "new", "suite", "shop", "--from", "../photos", cwd=shop).stdout
    small = yaml.safe_load((shop / "shop.yaml").read_text())
    small |= {"seeds": 2, "methods": {"single_task": None, "shared": None, "mola_grad": None}}
    small["training"] |= {"epochs": 1, "passes": 1}
    small["tune"]["grid"]["lr"] = [0.001]
    small["answers"] = {"pool": ["shared"], "apart": ["single_task"], "mixtures": ["mola_grad"]}
    (shop / "shop.yaml").write_text(yaml.safe_dump(small, sort_keys=False))
    commands = re.findall(r"(?m)^  (mola .*?) +#", said[said.index("next, in this order:") :])
    assert len(commands) == 2, said
    for command in commands:
        output = run("/bin/bash", "-c", f"PATH={shlex.quote(str(installed))}:$PATH; {command}", cwd=shop).stdout
    assert "shop: " in output and "results/shop/report.html" in output
    assert "| mola_grad (draft) |" in (shop / "results/shop/tables/summary.md").read_text()
