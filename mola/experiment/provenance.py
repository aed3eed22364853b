"""Is the code that a run executes in a commit? Only then can others make its record again."""

from __future__ import annotations

import os
import subprocess
from functools import cache

from mola.config import Settings
from mola.data.splits.manifest import manifest_path
from mola.experiment.fingerprint import ROOT, closure
from mola.experiment.tuned import modules

ENDINGS = (".py", "/__init__.py")  # of a module's file


def uncommitted(settings: Settings) -> str | None:
    """Which files of those that decide a run's fingerprint differ from the last commit, as they are now; None where
    none does.

    A record counts for its fingerprint alone, so the code that made it is the code that is here now: once that is
    committed, whatever else was changed in the working tree on that day is of no account.
    """
    changed = _changed()
    if changed is None:
        return "no git here to tell which"
    names = {f"{name.replace('.', '/')}{ending}" for name in closure(modules(settings)) for ending in ENDINGS}
    names.add(str(manifest_path(settings.benchmark).relative_to(ROOT)))
    return ", ".join(sorted(names & changed)) or None


@cache
def _changed() -> frozenset[str] | None:
    """Paths below the root that are edited, deleted or new, in the index or not."""
    tracked = _git("diff", "--name-only", "--relative", "-z", "HEAD")
    untracked = _git("ls-files", "-z", "--others", "--exclude-standard")
    return None if tracked is None or untracked is None else frozenset(f"{tracked}{untracked}".split("\0"))


def _git(*words: str) -> str | None:
    try:
        done = subprocess.run(
            ["git", "-C", str(ROOT), *words],
            capture_output=True,
            text=True,
            check=False,
            env={**os.environ, "GIT_OPTIONAL_LOCKS": "0"},
        )
    except OSError:  # no git on this machine
        return None
    return done.stdout if done.returncode == 0 else None
