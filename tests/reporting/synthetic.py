"""Suites of records that no run made: any number of methods, benchmarks and seeds, of chosen or of drawn scores.

``python tests/reporting/synthetic.py FOLDER`` writes the one that the time of tables and figures is told for:
20 methods on 6 benchmarks with 10 seeds, tuned, of 20 epochs.
"""

import json
import sys
from pathlib import Path

import numpy as np
import yaml

from mola import registry
from mola.config import load
from mola.experiment import tuned
from mola.experiment.inputs import inputs, write_cell
from mola.metrics import of
from mola.reporting.tables.write import _identity


def make_suite(folder, *, methods=("single_task", "shared", "mola_grad"), benchmarks=("digits",), seeds=6, **changes):
    """A suite whose methods are rows of ``shared`` where no method is called so."""
    known = registry.names("methods")
    rows = (
        {m: {} if m in known else {"method": "shared"} for m in methods} if not isinstance(methods, dict) else methods
    )
    content = {
        "suite": "made",
        "results": str(folder / "results"),
        "data": str(folder / "data"),
        "seeds": seeds,
        "reference": next(iter(rows)),
        "benchmarks": dict.fromkeys(benchmarks),
        "methods": rows,
    }
    path = folder / "suite.yaml"
    path.write_text(yaml.safe_dump(content | changes, sort_keys=False))
    return load(path)


def benchmark(suite, name):
    return registry.load("benchmarks", name)(suite.data)


def tune(suite, name, label, **changes):
    """What a finished study leaves, to be written before the records that depend on it. changes: of ``tuned.json``."""
    told, folder = tuned.study(suite, name, label), tuned.folder(suite, name, label)
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "study.json").write_text(json.dumps(told))
    found = {"fingerprint": told["fingerprint"], "trials": told["trials"], "value": 0.7, "parameters": {}}
    found |= {"finished": told["trials"], "failed": 1, "pruned": 0}
    (folder / "tuned.json").write_text(json.dumps(found | changes))
    history = "trial,state,value,best,lr\n0,complete,0.5,0.5,0.1\n1,failed,,0.5,9\n2,complete,0.7,0.7,0.2\n"
    (folder / "history.csv").write_text(history)
    (folder / "importance.csv").write_text("knob,importance\ntraining.lr,0.75\nmethod.rank,0.25\n")


def fill(suite, score, epochs=1, **more):
    """A record for every run. score(benchmark, method, seed) in [0, 1]: what every fraction is; errors are its inverse.
    more: further keys of all records, or functions of the same three.
    """
    for name in suite.benchmarks:
        tasks, identity = benchmark(suite, name).tasks, _identity(benchmark(suite, name))
        for label in suite.methods:
            told = inputs(suite, name, label)
            write_cell(suite, name, label)
            for seed in suite.seeds:
                value = score(name, label, seed)
                scores = {t.name: {m.name: value if m.averaged else 1 - value for m in of(t)} for t in tasks}
                extra = {key: made(name, label, seed) if callable(made) else made for key, made in more.items()}
                write(suite, name, label, seed, told, identity, scores, epochs, **extra)


def write(suite, name, label, seed, told, identity, scores, epochs, **more):
    record = {
        "suite": suite.suite,
        "benchmark": name,
        "method": label,
        "seed": seed,
        "config": told["settings"],
        "fingerprint": told["fingerprint"],
        "data": identity,
        "status": "done",
        "reason": None,
        "dirty": False,
        "test": scores,
        **({"tuned": told["tuned"]} if "tuned" in told else {}),
        "curve": [
            {"epoch": e, "train_seconds": 90.0, "train": dict.fromkeys(scores, 1 / e), "valid": scores}
            for e in range(1, epochs + 1)
        ],
        "parameters": {"inference": 2_000_000, "trainable": 3_000_000},
        "flops_per_sample": 5_000_000,
        "seconds_per_step": 0.25,
        "peak_memory_bytes": 2**30,
    }
    path = suite.cell(name, label) / f"seed{seed}" / "record.json"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(record | more))
    return path


def record(suite, label, seed):
    return suite.cell("digits", label) / f"seed{seed}" / "record.json"


def edit(path, **changes):
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))


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
