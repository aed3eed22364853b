# One study per (benchmark, method), each with one worker; the studies run side by side.


rule tune:
    input:
        arrays(TUNED, plan.is_tuned),
    output:
        # the journal is no output: Snakemake would delete it before it runs the job again; history.csv and importance.csv
        # are none, as a clone's files are as new as their names are late
        TUNED,
    log:
        f"logs/{suite.suite}/tune/{{benchmark}}.{{method}}.log",
    threads: LOADERS
    resources:
        gpu=GPU,
    params:
        config=str(plan.path),
    shell:
        # exit code 1: no trial had a finite score; training tells in its record how that ends
        "OMP_NUM_THREADS={threads} mola tune -c {params.config:q} -b {wildcards.benchmark:q} -m {wildcards.method:q}"
        " > {log:q} 2>&1 || [ $? -eq 1 ]"
