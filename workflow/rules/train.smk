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
        # exit code 1: a run failed; its record says why, and the table shows it
        "OMP_NUM_THREADS={threads} mola train -c {CONFIG:q} -b {wildcards.benchmark:q} -m {wildcards.method:q}"
        " > {log:q} 2>&1 || [ $? -eq 1 ]"
