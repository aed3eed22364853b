# Tables are a pure function of records, and cheap: an edit of their code makes them again and trains nothing.


rule table:
    input:
        configured(*tables()),
        runs,
        numbers=[suite.paper_numbers.absolute()] if suite.paper_numbers else [],
        code=REPORTING,
    output:
        [shown(path) for path in tables()],
    log:
        f"logs/{suite.suite}/table.log",
    params:
        config=str(plan.path),
    shell:
        "mola table -c {params.config:q} > {log:q} 2>&1"
