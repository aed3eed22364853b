"""Portable runs: their kernels reach every library, whatever the shell says, and give one hash on every machine."""

import json
import os
import re
import subprocess
import sys
from importlib.metadata import version

import pytest
import torch
import yaml
from safetensors.torch import save_file

from mola import portable
from mola.config import load
from mola.experiment import run
from mola.experiment.spec import experiment
from mola.source import ROOT
from mola.types import BadInput

needs_avx2 = pytest.mark.skipif(
    portable.unsupported() is not None, reason=f"portable kernels need x86-64 with AVX2, here: {portable.unsupported()}"
)
# of the weights that two epochs on 32 images of every task of digits give, with this minor version of PyTorch
TORCH = "2.15"
GOLDEN = {
    "shared": "eeb6217f46c06259a15d5530a08201827e40c4ba35f154f52fa27e7d15420d48",
    "mola_grad": "bc15002563b5de341d0a1c9c51d77f23626b09f08bce103c8e08d412ed2a8ae3",
}
# what a user's shell may hold; none of it may reach the weights
OTHERWISE = {
    "OMP_NUM_THREADS": "2",
    "MKL_CBWR": "AUTO",
    "ONEDNN_MAX_CPU_ISA": "SSE41",
    "ATEN_CPU_CAPABILITY": "default",
}


@pytest.fixture
def portable_suite(suite_file):
    """The golden runs' suite; keyword arguments replace top-level keys."""

    def write(**changes):
        content = {
            "benchmarks": {"digits": {"limit": 32}},
            "training": {"epochs": 2, "batch_size": 32, "lr": 0.002, "deterministic": "portable"},
            "backbone": {"name": "resnet10t", "options": {"channels": [16, 32, 64, 128], "stem_width": 16}},
            "shared_options": {"rank": 4, "where": r"layer[2-4]\..*conv\d"},
            "methods": {"shared": None, "mola_grad": None},
        }
        return suite_file(**content | changes)

    return write


def python(code, **variables):
    """What a new process prints."""
    done = subprocess.run(
        [sys.executable, "-c", code], env=os.environ | variables, cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


@needs_avx2
@pytest.mark.slow
@pytest.mark.skipif(not version("torch").startswith(f"{TORCH}."), reason=f"of torch {TORCH}, here {version('torch')}")
def test_every_machine_gives_the_golden_weights(portable_suite, tmp_path):
    command = [sys.executable, "-m", "mola.cli", "train", "-c", str(portable_suite())]
    done = subprocess.run(command, env=os.environ | OTHERWISE, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    for label, expected in GOLDEN.items():
        record = json.loads((tmp_path / f"results/tiny/digits/{label}/seed0/record.json").read_text())
        assert record["settings"]["training"]["deterministic"] == "portable" and record["threads"] == 1
        assert record["weights_sha256"] == expected, label


@needs_avx2
def test_the_kernels_reach_every_library():
    code = """
from mola import portable
portable.prepare()
import numpy, scipy.linalg, torch
from threadpoolctl import threadpool_info
portable.check()
print(torch.backends.cpu.get_cpu_capability(), torch.get_num_threads())
for library in threadpool_info():
    print(library.get("internal_api"), library.get("architecture"), library["num_threads"])
torch.randn(64, 64) @ torch.randn(64, 64)
layer = torch.nn.Conv2d(16, 16, 3)
layer(torch.randn(32, 16, 16, 16)).sum().backward()
"""
    text = python(code, **OTHERWISE, MKL_VERBOSE="1", ONEDNN_VERBOSE="1")
    assert "AVX2 1\n" in text
    assert len(re.findall(r"openblas Haswell 1\n", text)) == 2, "NumPy's and SciPy's"
    products = re.findall(r"MKL_VERBOSE SGEMM.*", text)
    assert products and all("CNR:COMPATIBLE" in line and line.endswith("NThr:1") for line in products)
    assert re.search(r"info,cpu,isa:Intel AVX2$", text, re.MULTILINE), text
    convolutions = re.findall(r"primitive,exec,cpu,convolution,\S*", text)
    assert convolutions and not [line for line in convolutions if "avx512" in line or "sse41" in line]


@needs_avx2
@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (["train"], "backbone.weights: w.safetensors: expected 'conv1.0.weight' of shape"),
        (["tune"], "tune: expected a section"),
        (["reproduce", "--sample", "1"], "expected finished runs of the suite as it is now, found none"),
    ],
)
def test_planning_that_imports_numpy_comes_after_the_kernels_are_chosen(portable_suite, tmp_path, words, expected):
    """Whether digits share a source with what the weights saw, the benchmarks themselves say."""
    file = tmp_path / "w.safetensors"
    save_file({"weight": torch.zeros(2)}, file, metadata={"saw": "glyphs.letters"})
    suite = portable_suite(backbone={"name": "test_resnet", "weights": str(file)})
    command = [sys.executable, "-m", "mola.cli", *words, "-c", str(suite)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 2 and len(done.stderr.splitlines()) == 1, done.stderr
    assert expected in done.stderr.replace(f"{tmp_path}/", "")


def test_a_numpy_that_does_not_work_is_said_in_one_line(portable_suite, tmp_path):
    """It is asked in a process of its own, on processors with AVX-512."""
    (tmp_path / "cpuinfo").write_text("flags : avx2 fma avx512f")
    (tmp_path / "broken/numpy").mkdir(parents=True)
    (tmp_path / "broken/numpy/__init__.py").write_text("raise ImportError('no libopenblas')")
    code = f"""
import sys
from pathlib import Path
from mola import cli, portable
portable.FLAGS, portable.platform.machine = Path({str(tmp_path / "cpuinfo")!r}), lambda: "x86_64"
sys.argv = ["mola", "train", "-c", {str(portable_suite())!r}]
cli.main()
"""
    variables = {"PYTHONPATH": f"{tmp_path / 'broken'}{os.pathsep}{ROOT}"}
    done = subprocess.run(
        [sys.executable, "-c", code], env=os.environ | variables, capture_output=True, text=True, check=False
    )
    line = "training.deterministic: portable: expected a NumPy that can be imported, found: ImportError: no libopenblas"
    assert (done.returncode, done.stderr) == (2, f"mola: {line}\n")


@needs_avx2
def test_too_late_is_said_in_one_line():
    code = """
from mola import portable
import {}
try: portable.prepare()
except ValueError as error: print(error)
"""
    for name in ("torch", "numpy"):
        expected = (
            r"training\.deterministic: portable: expected .*prepare\(\) before .* found no ATEN_CPU_CAPABILITY=avx2\n"
        )
        assert re.fullmatch(expected, python(code.format(name)))
    # a shell that has set all of it before is as good
    assert python(code.format("torch"), **portable.ENVIRONMENT) == ""


@needs_avx2
def test_a_second_call_changes_nothing():
    code = "import os; from mola import portable as p; p.prepare(); import torch; p.prepare(); p.check(); print('fine')"
    assert python(code) == "fine\n"


def test_a_run_with_other_kernels_is_refused_and_writes_nothing(portable_suite, monkeypatch):
    monkeypatch.setattr(portable, "unsupported", lambda: None)
    suite = load(portable_suite())
    with pytest.raises(BadInput, match=r"expected mola\.portable\.prepare\(\) before .* found "):
        run.train(experiment(suite, "digits", "shared"), 0)
    assert not suite.folder.exists()


@pytest.mark.parametrize(
    ("machine", "flags", "reason"),
    [
        ("aarch64", "", "aarch64"),
        ("x86_64", "fpu sse2 avx", "x86-64 without AVX2 and FMA"),
        ("x86_64", "fpu avx2", "x86-64 without FMA"),
        ("x86_64", "fpu avx2 fma", None),
    ],
)
def test_other_machines_are_refused_with_what_is_expected(monkeypatch, tmp_path, machine, flags, reason):
    monkeypatch.setattr(portable.platform, "machine", lambda: machine)
    monkeypatch.setattr(portable, "FLAGS", tmp_path / "cpuinfo")
    (tmp_path / "cpuinfo").write_text(f"processor\t: 0\nflags\t\t: {flags}\n\nprocessor\t: 1\nflags\t\t: {flags}\n")
    assert portable.unsupported() == reason
    if reason:
        with pytest.raises(BadInput, match=f"expected an x86-64 processor with AVX2 and FMA, found {reason}"):
            portable.prepare()


def test_only_loops_that_numpy_has_on_this_processor_are_disabled(monkeypatch, tmp_path):
    """NumPy warns of others, and its names for them differ between versions: it is asked."""
    monkeypatch.setattr(portable, "FLAGS", tmp_path / "cpuinfo")
    (tmp_path / "cpuinfo").write_text("flags : avx2 fma")
    assert portable._wide_features() == []
    (tmp_path / "cpuinfo").write_text("flags : avx2 fma avx512f")
    assert portable._wide_features() == portable._wide(json.loads(python(portable.ASK_NUMPY)))
    for features, wide in (
        (["X86_V3", "X86_V4", "AVX512_ICL"], ["X86_V4", "AVX512_ICL"]),
        (["SSE42", "AVX2", "FMA3", "AVX512F", "AVX512_SKX"], ["AVX512F", "AVX512_SKX"]),
        (["X86_V3"], []),
    ):
        assert portable._wide(features) == wide


@needs_avx2
def test_numpy_does_as_it_is_asked_without_a_warning():
    code = """
import warnings
warnings.simplefilter("error")
from mola import portable
portable.prepare()
import numpy, os
print(portable.NUMPY in os.environ, [*portable._wide(numpy.show_config(mode="dicts")["SIMD Extensions"]["found"])])
"""
    assert python(code, NPY_DISABLE_CPU_FEATURES="X86_V3").endswith("[]\n")


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (
            {"methods": {"shared": None, "mola_grad": {"training": {"deterministic": True}}}},
            "training.deterministic: expected portable for all rows or none, "
            "found portable for digits/shared and true for digits/mola_grad",
        ),
        ({"device": "cuda"}, "device: expected cpu or auto with training.deterministic: portable, found cuda"),
        ({"training": {"deterministic": "portabel"}}, "training.deterministic: should be True, False or 'portable'"),
    ],
)
def test_wrong_suites_are_refused(portable_suite, changes, message):
    with pytest.raises(BadInput, match=re.escape(message)):
        load(portable_suite(**changes))


def test_auto_is_the_cpu_and_other_suites_are_as_they_were(portable_suite):
    assert load(portable_suite(device="auto")).device == "cpu"
    path = portable_suite(device="auto", training={"epochs": 1})
    assert load(path).device == "auto" and not load(path).is_portable
    assert "deterministic" not in yaml.safe_load(path.read_text())["training"]
    assert load(path).training.deterministic is True
