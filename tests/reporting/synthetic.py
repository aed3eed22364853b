"""Suites of records that no run made: any number of methods, benchmarks and seeds, of chosen or of drawn scores.

``python tests/reporting/synthetic.py FOLDER`` writes the one whose tables and figures are timed:
20 methods on 6 benchmarks with 10 seeds, tuned, of 20 epochs.
"""

import hashlib
import json
import sys
from pathlib import Path

import numpy as np
import yaml

from mola import registry
from mola.config import load
from mola.experiment import record as stored
from mola.experiment import spec
from mola.experiment.inputs import write_inputs
from mola.experiment.record import VERSION
from mola.files import with_checksum
from mola.metrics import of

OTHER = dict.fromkeys(("code", "settings", "manifest", "all"), "other")  # the fingerprint of no experiment


def make_suite(folder, *, methods=("single_task", "shared", "mola_grad"), benchmarks=("digits",), seeds=6, **changes):
    """A suite whose methods are rows of ``shared`` where no method is called so."""
    known = registry.names("methods")
    rows = (
        {m: {} if m in known else {"method": "shared"} for m in methods} if not isinstance(methods, dict) else methods
    )
    content = {
        "suite": "synthetic",
        "results": str(folder / "results"),
        "data": str(folder / "data"),
        "seeds": seeds,
        "reference": next(iter(rows)),
        "benchmarks": benchmarks if isinstance(benchmarks, dict) else dict.fromkeys(benchmarks),
        "methods": rows,
    }
    path = folder / "suite.yaml"
    path.write_text(yaml.safe_dump(content | changes, sort_keys=False))
    return load(path)


def experiment(suite, label, name="digits"):
    return spec.experiment(suite, name, label)


def tune(suite, name, label, parameters=None, **changes):
    """What a finished study leaves, to be written before the records that depend on it. changes: of ``tuned.json``."""
    study, folder = experiment(suite, label, name).study, experiment(suite, label, name).study_folder
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "study.json").write_text(json.dumps(study))
    result = {key: study[key] for key in ("fingerprint", "trials")} | {"value": 0.7, "parameters": parameters or {}}
    result |= {"finished": study["trials"], "failed": 1, "pruned": 0}
    tables = {
        "history.csv": "trial,state,value,best,lr\n0,complete,0.5,0.5,0.1\n1,failed,,0.5,9\n2,complete,0.7,0.7,0.2\n",
        "importance.csv": "knob,importance\ntraining.lr,0.75\nmethod.rank,0.25\n",
    }
    for table, text in tables.items():
        (folder / table).write_text(text)
    sums = [f"{hashlib.sha256(text.encode()).hexdigest()}  {table}\n" for table, text in tables.items()]
    (folder / "SHA256SUMS").write_text("".join(sums))
    (folder / "tuned.json").write_text(json.dumps(with_checksum(result | changes)))


def fill(suite, score, epochs=1, **more):
    """A record for every run. score(benchmark, method, seed) in [0, 1]: what every fraction is; errors are its inverse.
    more: further keys of all records, or functions of the same three.
    """
    planned = spec.experiments(suite)
    write_inputs(planned)
    for run in planned:
        for seed in suite.seeds:
            value = score(run.benchmark, run.label, seed)
            scores = {t.name: {m.name: value if m.averaged else 1 - value for m in of(t)} for t in run.data.tasks}
            changes = {key: v(run.benchmark, run.label, seed) if callable(v) else v for key, v in more.items()}
            write(run, seed, scores, epochs, **changes)


def write(experiment, seed, scores, epochs=1, **changes):
    """A complete record, with these changes."""
    content = {
        "version": VERSION,
        "suite": experiment.suite.suite,
        "benchmark": experiment.benchmark,
        "method": experiment.label,
        "seed": seed,
        "settings": spec.plain(experiment.settings),
        "fingerprint": experiment.fingerprint,
        "data": experiment.data_identity or "not prepared here",
        "tuned": experiment.tuned_summary,
        "remarks": list(experiment.data.remarks()),
        "versions": {},
        "commit": None,
        "dirty": False,
        "device": "cpu",
        "threads": 1,
        "time": "2026-01-01T00:00:00",
        "status": "done",
        "reason": None,
        "selected": {"model": 1},
        "valid": scores,
        "test": scores,
        "oracle_selection": None,
        "curve": [
            {
                "epoch": e,
                "lr": 0.1,
                "steps": 1,
                "train_seconds": 90.0,
                "train": dict.fromkeys(scores, 1 / e),
                "valid": scores,
            }
            for e in range(1, epochs + 1)
        ],
        "parameters": {"inference": 2_000_000, "trainable": 3_000_000},
        "flops_per_sample": 5_000_000,
        "seconds": 90.0,
        "seconds_per_step": 0.25,
        "peak_memory_bytes": 2**30,
        "weights_sha256": None,
    }
    path = experiment.run_folder(seed) / stored.NAME
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(with_checksum(content | changes)))
    return path


def record(suite, label, seed):
    return experiment(suite, label).run_folder(seed) / stored.NAME


def edit(path, **changes):
    path.write_text(json.dumps(with_checksum(json.loads(path.read_text()) | changes)))


def drawn(gains, noise=0.02, seed=0):
    """Scores around .5: runs of one seed share a part, each method has its gain and each run its noise."""
    draws = np.random.default_rng(seed)
    table = {}

    def score(name, label, run):
        key = (name, label, run)
        shared = table.setdefault((name, run), draws.normal(0, noise))
        return table.setdefault(key, 0.5 + shared + gains.get(label, 0.0) + draws.normal(0, noise))

    return score


if __name__ == "__main__":
    folder = Path(sys.argv[1])
    folder.mkdir(parents=True)
    benchmarks = ("digits", "glyphs", "scenes", "pacs", "vlcs", "officehome")
    methods = sorted(registry.names("methods"), key=lambda name: name != "single_task")  # the reference first
    large = make_suite(folder, methods=methods, benchmarks=benchmarks, seeds=10, tune={"trials": 3})
    for name in benchmarks:
        for label in methods:
            tune(large, name, label)
    fill(large, drawn({label: 0.005 * i for i, label in enumerate(methods)}), epochs=20)
    print(f"{folder / 'suite.yaml'}: {len(methods)} methods, {len(benchmarks)} benchmarks, {len(large.seeds)} seeds")
