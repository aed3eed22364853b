"""What the workflow asks of a suite: the configuration that its jobs read, and which files are out of date.

Files say what they are of: ``runs.json`` and ``tuned.json`` hold fingerprints, and the workflow compares those with
what a run would execute now. So planning writes nothing, and the times of files in a clone mean nothing.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import yaml

from mola import config, old_keys, yaml_file
from mola.config import Suite
from mola.experiment import index, own_parts, spec
from mola.experiment.record import NAME as RECORD
from mola.experiment.spec import Experiment
from mola.files import write_text
from mola.manifest_paths import with_paths, written_out
from mola.section_checks import look_in, validated
from mola.types import BadInput

NAME = "config.yaml"
Move = Callable[[str], str]


@dataclass(frozen=True)
class Plan:
    """One suite, as the workflow sees it.

    content: the suite's file, with the changes of the command line in it.
    suite:   its results and data lie where the workflow puts them, see :func:`of`.
    file:    the configuration file; None where there is none.
    """

    content: Mapping[str, Any]
    suite: Suite
    file: Path | None

    @cached_property
    def text(self) -> str:
        """The configuration that the jobs read. It lies elsewhere than what is the user's own, so paths of split
        manifests, and the folder of plugins, stand in it.
        """
        content = written_out(self.content, self.suite.benchmarks)
        for key, path in (("results", self.suite.results), ("data", self.suite.data)):
            if path != Path(content.get(key, Suite.model_fields[key].default)):
                content[key] = str(path)
        if self.file and not self.suite.plugins and own_parts.lie_nearby(self.suite):
            content["plugins"] = str(self.file.parent)
        return yaml.safe_dump(content, sort_keys=False, allow_unicode=True)

    @property
    def path(self) -> Path:
        """Where the jobs read it."""
        return self.suite.folder / NAME

    @cached_property
    def is_new(self) -> bool:
        """Whether the file there was another configuration, or none, when this was first asked."""
        try:
            return self.path.read_text(encoding="utf-8") != self.text
        except (OSError, ValueError):
            return True

    def write(self) -> None:
        """Write the configuration for the jobs, where it is new."""
        if self.is_new:
            write_text(self.path, self.text)

    def arrays(self, benchmark: str) -> dict[str, str]:
        """What the prepared arrays of a benchmark, by label, are called by; entries that share them share it."""
        options = json.dumps(self.suite.benchmarks[benchmark].data_options, sort_keys=True)
        return {
            "data": self.suite.benchmark_name(benchmark),
            "options": hashlib.sha256(options.encode()).hexdigest()[:8],
        }

    def entry(self, arrays: Mapping[str, str]) -> str:
        """The first benchmark, by label, that has these arrays."""
        return next(label for label in self.suite.benchmarks if self.arrays(label) == arrays)

    def lacks_splits(self, benchmark: str) -> bool:
        """Whether images of the user's own are to be divided: their manifest is not there, or was deleted."""
        manifest = self.suite.benchmarks[benchmark].options.get("manifest")
        return manifest is not None and not Path(manifest).is_file()

    def is_trained(self, benchmark: str, label: str) -> bool:
        """Whether the index of a row's runs is of the code, settings, splits and seeds of now."""
        experiment = self._experiment(benchmark, label)
        return experiment.is_tuned and _is_in(experiment)

    def is_tuned(self, benchmark: str, label: str) -> bool:
        """Whether nothing is left to tune of a row."""
        return self._experiment(benchmark, label).is_tuned

    def _experiment(self, benchmark: str, label: str) -> Experiment:
        return self._experiments[benchmark, label]

    @cached_property
    def _experiments(self) -> dict[tuple[str, str], Experiment]:
        return {(one.benchmark, one.label): one for one in spec.experiments(self.suite)}


def _is_in(experiment: Experiment) -> bool:
    """Whether an index has all runs of the experiment as it is now, none of them failed, each with its record."""
    try:
        content = index.read(experiment.folder / index.NAME)
    except (FileNotFoundError, BadInput):
        return False
    if content["fingerprint"] != experiment.fingerprint["all"]:
        return False
    return all(_is_done(experiment.run_folder(seed), content["runs"].get(str(seed))) for seed in experiment.suite.seeds)


def _is_done(folder: Path, run: Mapping[str, str] | None) -> bool:
    """Whether the run that an index lists is done, with its record in the folder."""
    try:
        return bool(run and run["status"] == "done" and index.checksum((folder / RECORD).read_bytes()) == run["sha256"])
    except OSError:
        return False


def of(content: Mapping[str, Any], files: Sequence[Path], move: Move = str) -> Plan:
    """The plan of a configuration that Snakemake has read, checked down to the last option. Raises BadInput.

    files: where it was read; the last one is the suite's.
    move:  where the workflow puts a file: a module's prefix stands before its path.
    """
    # Snakemake keeps the last of two equal keys without a word
    for path in files:
        yaml_file.read(path)
    renamed = old_keys.renamed(content)
    file = files[-1] if files else None
    suite = config.parse(renamed, ", ".join(map(str, files)) or "configuration", file)
    plan = Plan(renamed, _moved(suite, move), file)
    spec.check_raw(plan.suite, plan.suite.benchmarks)
    _ = plan._experiments
    return plan


def of_job(content: Mapping[str, Any], files: Sequence[Path], move: Move = str) -> Plan:
    """The plan of a configuration that was checked by the process that planned: inside a job nothing is decided, so
    that a job of a large suite starts at once. The job reads what was planned, whatever the suite's file says by now.
    """
    file = files[-1] if files else None
    renamed = old_keys.renamed(content)
    path = Path(move(f"{renamed.get('results', 'results')}/{renamed.get('suite')}/{NAME}"))
    if path.is_file():
        # rules name these without a module's prefix, which stands in what was planned
        places = {"results", "data"}
        planned = {key: value for key, value in yaml_file.read(path).items() if key not in places}
        file, renamed = path, planned | {key: value for key, value in renamed.items() if key in places}
    return Plan(renamed, _moved(_checked_before(renamed, file), move), file)


def _checked_before(content: Mapping[str, Any], file: Path | None) -> Suite:
    """The suite of a configuration that was checked: rows are not looked at."""
    suite = validated(Suite, content, "")
    look_in(suite.plugins, file.parent if file else None)
    entries = with_paths(suite.benchmarks, file or Path(f"{suite.suite}.yaml"))
    suite = suite.model_copy(update={"benchmarks": entries})
    return suite.model_copy(update={"device": "cpu"}) if suite.is_portable else suite


def _moved(suite: Suite, move: Move) -> Suite:
    """The suite with its results and data where the workflow puts them."""
    return suite.model_copy(update={key: Path(move(f"{getattr(suite, key)}/_")).parent for key in ("results", "data")})
