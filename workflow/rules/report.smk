# Pages and figures are a pure function of records, and cheap. Which figures there are depends on what the runs left, so
# their folder is the output. `mola report` puts all into one page.


rule figures:
    input:
        configured(FIGURES),
        runs,
        code=REPORTING,
    output:
        report(
            directory(FIGURES),
            patterns=["{of}.{figure}.png"],
            caption="../report/figures.rst",
            category="Figures",
            subcategory="{of}",
            labels=lambda wildcards: {"figure": wildcards.figure.replace("_", " ")},
        ),
    log:
        f"logs/{suite.suite}/figures.log",
    threads: 4
    params:
        config=str(plan.path),
    shell:
        "OMP_NUM_THREADS=1 mola figures -c {params.config:q} -j {threads} > {log:q} 2>&1"


rule about:
    input:
        # ancient: in a clone it is newer by its name
        ancient(configured(ABOUT)),
        runs,
        code=REPORTING,
    output:
        report(
            ABOUT,
            caption="../report/about.rst",
            category="About the runs",
            labels={"page": "runs, versions, hardware, configuration"},
        ),
    log:
        f"logs/{suite.suite}/about.log",
    params:
        config=str(plan.path),
    shell:
        "mola about -c {params.config:q} > {log:q} 2>&1"
