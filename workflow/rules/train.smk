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
