# Tables are a pure function of records, and cheap: an edit of their code makes them again and trains nothing.


rule table:
    input:
        runs(),
        numbers=[suite.paper_numbers] if suite.paper_numbers else [],
        code=REPORTING,
    output:
        [shown(path) for path in tables()],
    log:
        f"logs/{suite.suite}/table.log",
    shell:
        "mola table -c {CONFIG:q} > {log:q} 2>&1"
