# One job per (benchmark, method), its seeds inside, so that the seconds of `import torch` are paid once.


rule train:
    input:
        arrays(TRAINED, plan.is_trained),
        tuned=tuned,
    output:
        # the records are no outputs: Snakemake would delete the good seeds of a job before it runs it again
        TRAINED,
    log:
        f"logs/{suite.suite}/{{benchmark}}.{{method}}.log",
    benchmark:
        f"logs/{suite.suite}/{{benchmark}}.{{method}}.tsv"
    threads: LOADERS
    resources:
        gpu=GPU,
    params:
        config=str(plan.path),
    shell:
        # exit code 1: a run failed; its record says why, the tables show it, and the next call tries it again. Without a
        # shell in between, a signal to the job reaches the training
        "export OMP_NUM_THREADS={threads};"
        " exec mola train -c {params.config:q} -b {wildcards.benchmark:q} -m {wildcards.method:q} > {log:q} 2>&1"


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
