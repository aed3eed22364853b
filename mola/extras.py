"""What an installation lacks, in one line. PyTorch and safetensors are always there; extras bring the rest."""

from __future__ import annotations

from mola.shipped import DISTRIBUTION

# the extras that bring what the harness can do without
EXTRAS = {"snakemake": "workflow", "dvc": "workflow", "cvxpy": "solvers", "clarabel": "solvers", "peft": "compare"}


def needs(what: str, module: str, extra: str | None = None) -> str:
    """``mola table needs pandas: pip install 'mola-bench[bench]'``.

    module: the name that is imported.
    extra:  which one brings it; None: the harness's, but for modules that others bring.
    """
    top = module.partition(".")[0]
    return f"{what} needs {top}: pip install '{DISTRIBUTION}[{extra or EXTRAS.get(top, 'bench')}]'"


def lacking(error: BaseException, words: list[str]) -> str | None:
    """What a command lacks, where its error is that of a package which is not installed; None for another error, and
    for a module of this package, which is a mistake of ours.

    words: the command line.
    """
    if not isinstance(error, ModuleNotFoundError) or not error.name or error.name.partition(".")[0] == "mola":
        return None
    command = words[0] if words and not words[0].startswith("-") else ""
    return needs(f"mola {command}".strip(), error.name)
