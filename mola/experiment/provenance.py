"""What git knows about the code that runs: the one place that asks it."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterable
from functools import cache
from pathlib import Path

from mola import __version__
from mola.data.splits.manifest import manifest_path
from mola.experiment.fingerprint import closure
from mola.experiment.spec import Experiment, modules
from mola.plugins import shown
from mola.pretrained import TINY
from mola.shipped import DISTRIBUTION, SPLITS
from mola.source import ROOT, is_local


def git(*words: str, folder: Path = ROOT, text: str = "") -> bytes | None:
    """What a git command prints; None where it fails or there is no git. ``text`` goes to its standard input.

    Of an installed package there is no git: the repository that its environment may lie in is somebody else's.
    """
    if folder == ROOT and not is_local(ROOT):
        return None
    try:
        done = subprocess.run(
            ["git", "-C", str(folder), *words],
            capture_output=True,
            input=text.encode(),
            check=False,
            env={**os.environ, "GIT_OPTIONAL_LOCKS": "0"},
        )
    except OSError:
        return None
    return done.stdout if done.returncode == 0 else None


@cache
def commit() -> str | None:
    """The commit of the working tree, when the process first asks; None without git."""
    head = git("rev-parse", "HEAD")
    return head.decode().strip() if head else None


@cache
def changed() -> frozenset[str] | None:
    """Paths below the root that are edited, deleted or new, in the index or not; None without git."""
    tracked = git("diff", "--name-only", "--relative", "-z", "HEAD")
    untracked = git("ls-files", "-z", "--others", "--exclude-standard")
    if tracked is None or untracked is None:
        return None
    return frozenset(filter(None, os.fsdecode(tracked + untracked).split("\0")))


@cache
def is_committed(path: Path) -> bool:
    """Whether a file outside the package is in a commit of whatever repository it lies in, as it is now."""
    tracked = git("ls-files", "--error-unmatch", "--", path.name, folder=path.parent)
    return tracked is not None and git("diff", "--quiet", "HEAD", "--", path.name, folder=path.parent) is not None


def uncommitted(experiment: Experiment, *more: str) -> str | None:
    """Which files of those that decide a run's fingerprint differ from the last commit, as they are now; None where
    none does. ``more``: dotted names of further modules that have to be committed, with what they import.

    A record counts for its fingerprint alone, so the code that made it is the code that is here now: once that is
    committed, whatever else was changed in the working tree on that day is of no account.
    """
    paths = changed()
    if paths is None:
        return "no git here to tell which" if is_local(ROOT) else f"that of {DISTRIBUTION} {__version__} as installed"
    return ", ".join(sorted({*_of_package(experiment, more, paths), *_of_user(experiment, more)})) or None


def only_of_user(experiment: Experiment) -> bool:
    """Whether all that is in no commit is the user's own: files of plugins, and not of this package."""
    return not _of_package(experiment, (), changed() or frozenset()) and bool(_of_user(experiment, ()))


def _of_package(experiment: Experiment, more: Iterable[str], paths: frozenset[str]) -> set[str]:
    # weights outside the package are the user's; their content stands in the fingerprint
    weights = [path for path in experiment.settings.weights_files.values() if path == TINY]
    depends = [path for path in _files(experiment, more) if not _is_of_user(path)]
    return {os.path.relpath(path, ROOT) for path in [*depends, *weights]} & paths


def _of_user(experiment: Experiment, more: Iterable[str]) -> set[str]:
    depends = [path for path in _files(experiment, more) if _is_of_user(path) and path.is_file()]
    return {shown(path) or str(path) for path in depends if not is_committed(path)}


def _files(experiment: Experiment, more: Iterable[str]) -> list[Path]:
    sources = closure([*modules(experiment.settings), *more]).values()
    return [*sources, manifest_path(experiment.configured.benchmark)]


def _is_of_user(path: Path) -> bool:
    """Whether a file is neither this repository's nor an installed package's."""
    if not is_local(path) or path.is_relative_to(SPLITS):
        return False
    return not path.is_relative_to(ROOT) or shown(path) is not None
