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
        # exit code 1: a run failed; its record says why, and the table shows it
        "OMP_NUM_THREADS={threads} mola train -c {params.config:q} -b {wildcards.benchmark:q} -m {wildcards.method:q}"
        " > {log:q} 2>&1 || [ $? -eq 1 ]"
