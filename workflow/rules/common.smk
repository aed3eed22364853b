# Checks the configuration, and knows the names of files and which of them are out of date. Planning writes nothing: what
# files are of stands in them (mola/experiment/plan.py).

import os
import re
import sys
from pathlib import Path

from snakemake.utils import validate
from snakemake_interface_executor_plugins.settings import ExecMode

# whole modules: this namespace is Snakemake's own, which a `parse` of ours would break
import mola.experiment.plan
import mola.experiment.status
import mola.experiment.workflow_lock
import mola.faults
import mola.shipped
import mola.types

# inside a job nothing is planned again
PLANNING = workflow.is_main_process

# a cluster's jobs ask for cores and GPUs: those of the machine that submits them are not theirs
CLUSTER = (
    workflow.exec_mode == ExecMode.REMOTE
    or workflow.resource_settings.nodes is not None
)

# where Snakemake puts a file: the prefix of a module stands before its path
moved = workflow.modifier.path_modifier.replace_prefix

# our own check first: one line with the key, the wish and what was found
try:
    plan = (mola.experiment.plan.of if PLANNING else mola.experiment.plan.of_job)(
        config,
        [Path(path) for path in workflow.configfiles if Path(path).is_file()],
        moved,
    )
    # captions of the report read it
    config.update(plan.content)
    if PLANNING:
        validate(dict(config), "../schemas/config.schema.json", set_default=False)
except mola.types.BadInput as error:
    print(f"mola: {mola.types.shown(error)}", file=sys.stderr)
    sys.exit(2)
except Exception as error:
    # the code of the user's own; an error of ours keeps its traceback
    line = mola.faults.line_of(error)
    if line is None:
        raise
    print(f"mola: {line}", file=sys.stderr)
    sys.exit(2)

# Snakemake stops at it after it has planned, and in a dry run takes it for another Snakemake's
if PLANNING and "--unlock" not in sys.argv:
    if left_over := mola.experiment.workflow_lock.stale():
        print(f"mola: {left_over}", file=sys.stderr)

suite = plan.suite

# as rules name files: Snakemake puts a module's prefix before them
RESULTS = Path(config.get("results", "results"), suite.suite)
DATA = Path(config.get("data", "data"))

CONFIGURATION = str(RESULTS / mola.experiment.plan.NAME)

# stamps, not the arrays: Snakemake deletes outputs before it runs a rule, `mola prepare` keeps what is good;
# {data} is the benchmark's name, {options} tells apart what suites want of it: another size is prepared anew
FETCHED = str(DATA / ".stamps/{data}.{options}.fetched")
PREPARED = str(DATA / ".stamps/{data}.{options}.prepared")

TUNED = str(RESULTS / "{benchmark}/{method}/optuna/tuned.json")
TRAINED = str(RESULTS / "{benchmark}/{method}/runs.json")
FIGURES = str(RESULTS / "figures")
ABOUT = str(RESULTS / "about.html")

# one GPU a job where there are any; Snakemake counts them, the job picks a free one
GPUS = len(list(Path(os.sep, "proc", "driver", "nvidia", "gpus").glob("*")))
GPU = 1 if suite.device != "cpu" and (CLUSTER or GPUS) else 0
if GPU and not CLUSTER and "gpu" not in workflow.global_resources:
    # `--resources gpu=2` goes first
    workflow.register_resource("gpu", GPUS)

# images are decoded on all cores; a model on the CPU has one core a job; beside a GPU, as many augment its images as
# share the cores out evenly
CORES = 4 if CLUSTER else workflow.resource_settings.cores or 1
LOADERS = 1 if not GPU else CORES if CLUSTER else max(1, CORES // GPUS)

# an edit of it makes tables, figures and pages again; below the working folder as Snakemake would write it, but for a
# module's prefix
HERE = Path.cwd() if moved("mola") == "mola" else Path("nowhere")
REPORTING = [
    str(path.relative_to(HERE) if path.is_relative_to(HERE) else path)
    for path in sorted(Path(mola.shipped.PACKAGE, "reporting").rglob("*.py"))
]


wildcard_constraints:
    # not the names of all rows, which Snakemake would look for in the name of every file
    benchmark="[^/]+",
    method="[^/]+",
    data="|".join(map(re.escape, {*map(suite.benchmark_name, suite.benchmarks)})),
    options="[0-9a-f]{8}",


def is_there(path):
    return os.path.exists(moved(str(path)))


def make_anew(path, out_of_date):
    """Let a file be made anew where what it is of is out of date, whatever its time says."""
    if PLANNING and is_there(path) and out_of_date():
        workflow.dag.forcefiles.add(moved(str(path)))


def write_configuration():
    """Write what the jobs read, once jobs are to run: a dry run, a summary or a graph leave no file."""
    runs_jobs = workflow.executor_plugin and not (workflow.dryrun or workflow.touch)
    if PLANNING and runs_jobs:
        plan.write()


def configured(*paths):
    """The configuration, for what is made of all of it and is made anew with it."""

    def check(wildcards):
        for path in paths:
            make_anew(path, lambda: plan.is_new)
        write_configuration()
        return CONFIGURATION if is_there(CONFIGURATION) else []

    return check


def split(stamp):
    """Nothing; data whose manifest of splits was deleted are made anew."""

    def check(wildcards):
        path = stamp.format(**wildcards)
        make_anew(path, lambda: plan.lacks_splits(entry(wildcards)))
        write_configuration()
        return []

    return check


def old_enough(stamp, label):
    """A stamp whose time does not matter, unless it is made anew with the splits."""
    return stamp if plan.lacks_splits(label) else ancient(stamp)


def entry(wildcards):
    """The first entry of the suite that has these arrays."""
    return plan.entry({**wildcards})


def arrays(path, is_current):
    """The stamp of the arrays that ``path`` is computed from; none where that is up to date, as in a clone."""

    def check(wildcards):
        row = wildcards.benchmark, wildcards.method
        output = path.format(**wildcards)
        stamp = PREPARED.format(**plan.arrays(wildcards.benchmark))
        if PLANNING and is_there(output):
            make_anew(output, lambda: not is_current(*row))
            if is_current(*row) and not is_there(stamp):
                return []
        write_configuration()
        return old_enough(stamp, wildcards.benchmark)

    return check


def tuned(wildcards):
    """What tuning found for an experiment, where the suite tunes."""
    return [] if suite.tune is None else TUNED.format(**wildcards)


def runs(wildcards):
    """What rule train leaves of every experiment."""
    return [
        TRAINED.format(benchmark=benchmark, method=method)
        for benchmark in suite.benchmarks
        for method in suite.rows(benchmark)
    ]


def tables():
    """The files of rule table."""
    names = expand(
        "{name}{kind}.{ending}",
        name=[*suite.benchmarks, "summary"],
        kind=["", ".tests"],
        ending=["csv", "md", "tex", "html"],
    )
    if suite.answers:
        names += expand(
            "{name}.answer.{ending}",
            name=suite.benchmarks,
            ending=["csv", "md", "tex", "html"],
        )
    curves = expand("{name}.curves.csv", name=suite.benchmarks)
    metrics = [f"metrics/{method}.json" for method in suite.methods]
    return [
        str(RESULTS / "tables" / name)
        for name in [*names, *curves, *metrics, "critical-difference.json"]
    ]


def shown(path):
    """A table that is a page of its own goes into the report."""
    if not path.endswith(".html"):
        return path
    return report(
        path,
        caption="../report/tables.rst",
        category="Answer" if path.endswith(".answer.html") else "Tables",
        labels={"table": Path(path).stem.replace("_", " ").replace(".", " ")},
    )


def show_failed_runs():
    """Say which runs failed and what repeats each; tables and pages, which waited for them in vain, show them."""
    failed = list(mola.experiment.status.failed(suite)) if PLANNING else []
    path, logs = str(plan.path), f"logs/{suite.suite}"
    for experiment, seed, record in failed:
        repeat = mola.experiment.status.again(experiment, [seed], plan.path)
        print(
            f"mola: failed: {experiment.name}, seed {seed}: {record.reason}; again: {repeat}",
            file=sys.stderr,
        )
    for command in ("table", "figures", "about") if failed else ():
        shell(
            "OMP_NUM_THREADS=1 mola {command} -c {path:q} > {logs:q}/{command}.log 2>&1 || true"
        )
