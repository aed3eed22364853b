# Checks the configuration, writes what each experiment depends on, and knows the names of files.

import hashlib
import json
import sys
from pathlib import Path

import yaml
from snakemake.utils import validate

# whole modules: this namespace is Snakemake's own, which a `parse` of ours would break
import mola.config
import mola.experiment.inputs
import mola.experiment.own_parts
import mola.experiment.spec
import mola.faults
import mola.files
import mola.manifest_paths
import mola.old_keys
import mola.shipped
import mola.types
import mola.yaml_file

# our own check first: one line with the key, the wish and what was found
try:
    # Snakemake keeps the last of two equal keys without a word
    files = [Path(path) for path in workflow.configfiles if Path(path).is_file()]
    for path in files:
        mola.yaml_file.read(path)
    content = mola.old_keys.renamed(config)
    suite = mola.config.parse(
        content,
        ", ".join(map(str, files)) or "configuration",
        files[-1] if files else None,
    )
    # captions of the report read it
    config.update(content)
    validate(content, "../schemas/config.schema.json", set_default=False)
    mola.experiment.spec.check_raw(suite, suite.benchmarks)
    mola.experiment.inputs.write_inputs(mola.experiment.spec.experiments(suite))
except mola.types.BadInput as error:
    print(f"mola: {mola.types.shown(error)}", file=sys.stderr)
    sys.exit(2)
except OSError as error:
    print(
        f"mola: {error.filename}: expected a place that can be written, found: {error.strerror}",
        file=sys.stderr,
    )
    sys.exit(2)
except Exception as error:
    # the code of the user's own; an error of ours keeps its traceback
    line = mola.faults.line_of(error)
    if line is None:
        raise
    print(f"mola: {line}", file=sys.stderr)
    sys.exit(2)

# the jobs read the configuration with the command line's changes in it; it lies elsewhere than what is the user's own
CONFIG = suite.folder / "config.yaml"
plugins_folder = (
    {"plugins": str(files[-1].parent)}
    if files and not suite.plugins and mola.experiment.own_parts.lie_nearby(suite)
    else {}
)
text = yaml.safe_dump(
    {**mola.manifest_paths.written_out(content, suite.benchmarks), **plugins_folder},
    sort_keys=False,
    allow_unicode=True,
)
if not CONFIG.is_file() or CONFIG.read_text() != text:
    mola.files.write_text(CONFIG, text)

# stamps, not the arrays: Snakemake deletes outputs before it runs a rule, `mola prepare` keeps what is good;
# {data} is the benchmark's name, {options} tells apart what suites want of it: another size is prepared anew
FETCHED = str(suite.data / ".stamps/{data}.{options}.fetched")
PREPARED = str(suite.data / ".stamps/{data}.{options}.prepared")

TUNED = str(suite.folder / "{benchmark}/{method}/optuna/tuned.json")

# one GPU a job where there are any; Snakemake counts them, the job picks a free one
GPUS = (
    len(list(Path("/proc/driver/nvidia/gpus").glob("*")))
    if suite.device != "cpu"
    else 0
)
if GPUS and "gpu" not in workflow.global_resources:  # `--resources gpu=2` goes first
    workflow.register_resource("gpu", GPUS)

# a model on the CPU has one core a job; beside a GPU, as many augment its images as share it out evenly
LOADERS = max(1, (workflow.cores or 1) // GPUS) if GPUS else 1

# an edit of it makes tables, figures and pages again; below the working folder as Snakemake would write it
REPORTING = [
    str(path.relative_to(Path.cwd()) if path.is_relative_to(Path.cwd()) else path)
    for path in sorted(Path(mola.shipped.PACKAGE, "reporting").rglob("*.py"))
]


wildcard_constraints:
    benchmark="|".join(map(re.escape, suite.benchmarks)),
    data="|".join(map(re.escape, {*map(suite.benchmark_name, suite.benchmarks)})),
    options="[0-9a-f]{8}",
    method="|".join(map(re.escape, suite.methods)),


def arrays(label):
    """What the stamps of a benchmark's arrays are called by; entries that share their arrays share it."""
    options = json.dumps(suite.benchmarks[label].data_options, sort_keys=True)
    return {
        "data": suite.benchmark_name(label),
        "options": hashlib.sha256(options.encode()).hexdigest()[:8],
    }


# where a manifest of splits was deleted, they are made anew
for label, benchmark in suite.benchmarks.items():
    if not Path(benchmark.options.get("manifest", __file__)).is_file():
        for stamp in (FETCHED, PREPARED):
            Path(stamp.format(**arrays(label))).unlink(missing_ok=True)


def prepared(wildcards):
    """The stamp of a benchmark's arrays."""
    return PREPARED.format(**arrays(wildcards.benchmark))


def entry(wildcards):
    """The first entry of the suite that has these arrays."""
    return next(x for x in suite.benchmarks if arrays(x) == {**wildcards})


def tuned(wildcards):
    """What tuning found for an experiment, where the suite tunes."""
    return [] if suite.tune is None else TUNED.format(**wildcards)


def runs():
    """What rule train leaves of every experiment."""
    return [
        path.format(benchmark=benchmark, method=method)
        for benchmark in suite.benchmarks
        for method in suite.rows(benchmark)
        for path in rules.train.output
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
        str(suite.folder / "tables" / name)
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
