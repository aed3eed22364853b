"""The same bits on every x86-64 processor with AVX2: ``training.deterministic: portable``.

Libraries choose their kernels by the processor, and another vector width adds in another order. They read environment
variables while they are loaded, or at their first use; so these are set before torch and NumPy are imported:

- PyTorch's kernels and oneDNN's are limited to AVX2.
- MKL gets its compatible branch. Its AVX2 branch is for Intel's processors alone: on others that setting is ignored
  without a word, and the branch is chosen by the processor (oneMKL Developer Guide, "Getting Started with Conditional
  Numerical Reproducibility").
- OpenBLAS, which NumPy and SciPy bring, takes its kernels for Haswell, and NumPy leaves its AVX-512 loops alone.
- There is one thread: how a sum is divided among threads decides its last bits.

Source: the documentation of these libraries. It is no promise across versions of a library.
"""

from __future__ import annotations

import json
import os
import platform
import subprocess
import sys
from pathlib import Path

from mola.types import BadInput

NUMPY = "NPY_DISABLE_CPU_FEATURES"
ENVIRONMENT = {
    "ATEN_CPU_CAPABILITY": "avx2",
    "ONEDNN_MAX_CPU_ISA": "AVX2",
    "ONEDNN_DEFAULT_FPMATH_MODE": "STRICT",
    "MKL_CBWR": "COMPATIBLE",
    "OPENBLAS_CORETYPE": "Haswell",
    "OMP_NUM_THREADS": "1",
    "MKL_NUM_THREADS": "1",
    "OPENBLAS_NUM_THREADS": "1",
}
KEY = "training.deterministic: portable"
TOO_LATE = "expected mola.portable.prepare() before torch and NumPy are imported"
NEEDED = ("avx2", "fma")
FLAGS = Path("/proc/cpuinfo")
# asks NumPy which of its dispatched features this processor has, in words that differ between its versions
ASK_NUMPY = "import json, numpy; print(json.dumps(numpy.show_config(mode='dicts')['SIMD Extensions'].get('found', [])))"


def unsupported() -> str | None:
    """Why this machine has no portable kernels; None where it has."""
    machine = platform.machine()
    if machine.lower() not in ("x86_64", "amd64"):
        return f"{machine or 'an unknown kind'}"
    missing = [flag for flag in NEEDED if flag not in _flags()]
    return f"x86-64 without {' and '.join(flag.upper() for flag in missing)}" if missing else None


def prepare() -> None:
    """Set the environment of this process, before torch and NumPy are imported. A second call does nothing.

    Raises BadInput on a machine without these kernels, and where torch or NumPy is imported already in another mode.
    """
    if reason := unsupported():
        raise BadInput(f"{KEY}: expected an x86-64 processor with AVX2 and FMA, found {reason}")
    if {"torch", "numpy"} & {*sys.modules}:
        if wrong := _differing():
            raise BadInput(f"{KEY}: {TOO_LATE}, found {wrong}")
        return
    os.environ.update(ENVIRONMENT)
    os.environ.pop(NUMPY, None)
    if features := _wide_features():
        os.environ[NUMPY] = " ".join(features)


def check() -> None:
    """Give torch its one thread. Raises BadInput where it or NumPy, which are imported by now, have other kernels."""
    import numpy
    import torch

    wrong = _differing()
    if not wrong and (capability := torch.backends.cpu.get_cpu_capability()) != "AVX2":
        wrong = f"torch's kernels for {capability}"
    # which of its loops NumPy takes is decided when it is imported
    extensions = numpy.show_config(mode="dicts")["SIMD Extensions"]  # type: ignore[call-overload, index]
    if not wrong and (features := _wide(extensions.get("found", []))):
        wrong = f"NumPy's loops for {', '.join(features)}"
    if wrong:
        raise BadInput(f"{KEY}: {TOO_LATE}, found {wrong}")
    torch.set_num_threads(1)


def _differing() -> str | None:
    """The first variable that has another value, with that."""
    for name, value in ENVIRONMENT.items():
        if os.environ.get(name) != value:
            return f"{name}={os.environ[name]}" if name in os.environ else f"no {name}={value}"
    return None


def _wide_features() -> list[str]:
    """The names of NumPy's loops that are wider than AVX2 and that this processor has: NumPy warns of others."""
    if "avx512f" not in _flags():
        return []
    answer = subprocess.run([sys.executable, "-c", ASK_NUMPY], capture_output=True, check=True, text=True)
    return _wide(json.loads(answer.stdout))


def _wide(features: list[str]) -> list[str]:
    # X86_V4 is the group of all that the first processors with AVX-512 for servers had
    return [name for name in features if name.startswith(("AVX512", "AVX10")) or name == "X86_V4"]


def _flags() -> set[str]:
    """What the kernel says of the processor."""
    try:
        lines = FLAGS.read_text().splitlines()
    except OSError:
        return set()
    return set(next((line.partition(":")[2].split() for line in lines if line.startswith("flags")), []))
