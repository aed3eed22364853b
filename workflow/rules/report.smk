# Pages and figures are a pure function of records, and cheap. Which figures there are depends on what the runs left, so
# their folder is the output. `mola report` puts all into one page.


rule figures:
    input:
        runs(),
        code=REPORTING,
    output:
        report(
            directory(suite.folder / "figures"),
            patterns=["{of}.{figure}.png"],
            caption="../report/figures.rst",
            category="Figures",
            subcategory="{of}",
            labels=lambda wildcards: {"figure": wildcards.figure.replace("_", " ")},
        ),
    log:
        f"logs/{suite.suite}/figures.log",
    threads: 4
    shell:
        "OMP_NUM_THREADS=1 mola figures -c {CONFIG:q} -j {threads} > {log:q} 2>&1"


rule about:
    input:
        runs(),
        code=REPORTING,
    output:
        report(
            suite.folder / "about.html",
            caption="../report/about.rst",
            category="About the runs",
            labels={"page": "runs, versions, hardware, configuration"},
        ),
    log:
        f"logs/{suite.suite}/about.log",
    shell:
        "mola about -c {CONFIG:q} > {log:q} 2>&1"
