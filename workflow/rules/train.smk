# One job per (benchmark, method), its seeds inside, so that the seconds of `import torch` are paid once.


rule train:
    input:
        # code, settings, seeds and split manifest in one small file, rewritten only when they change
        suite.folder / "{benchmark}/{method}/inputs.json",
        prepared=ancient(prepared),
        tuned=tuned,
    output:
        # the records are no outputs: Snakemake would delete the good seeds of a job before it runs it again
        suite.folder / "{benchmark}/{method}/runs.json",
    log:
        f"logs/{suite.suite}/{{benchmark}}.{{method}}.log",
    benchmark:
        f"logs/{suite.suite}/{{benchmark}}.{{method}}.tsv"
    threads: LOADERS
    resources:
        gpu=1 if GPUS else 0,
    shell:
        # exit code 1: a run failed; its record says why, the tables show it, and the next call tries it again. Without a
        # shell in between, a signal to the job reaches the training
        "export OMP_NUM_THREADS={threads};"
        " exec mola train -c {CONFIG:q} -b {wildcards.benchmark:q} -m {wildcards.method:q} > {log:q} 2>&1"


def show_failed_runs():
    """Say which runs failed and what repeats each; tables and pages, which waited for them in vain, show them."""
    failed = list(mola.experiment.status.failed(suite))
    for experiment, seed, record in failed:
        repeat = mola.experiment.status.again(experiment, [seed], CONFIG)
        print(
            f"mola: failed: {experiment.name}, seed {seed}: {record.reason}; again: {repeat}",
            file=sys.stderr,
        )
    for command in ("table", "figures", "about") if failed else ():
        shell(
            "OMP_NUM_THREADS=1 mola {command} -c {CONFIG:q} > logs/{suite.suite:q}/{command}.log 2>&1 || true"
        )
