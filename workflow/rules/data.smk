# Raw data, then prepared arrays. The split manifests that fix their content are committed under data/splits.


rule fetch:
    output:
        touch(FETCHED),
    log:
        f"logs/{suite.suite}/{{data}}.{{options}}.fetch.log",
    resources:
        download=1,  # hosts limit the rate: one download at a time (profiles/default)
    params:
        entry=entry,
    shell:
        # licences and terms are to be seen, not only logged
        "mola fetch -c {CONFIG:q} -b {params.entry:q} 2>&1 | tee {log:q} >&2"


rule prepare:
    input:
        ancient(FETCHED),
    output:
        touch(PREPARED),
    log:
        f"logs/{suite.suite}/{{data}}.{{options}}.prepare.log",
    threads: workflow.cores or 1  # images are decoded on all of them; a cluster's executor has none here
    params:
        entry=entry,
    shell:
        "mola prepare -c {CONFIG:q} -b {params.entry:q} > {log:q} 2>&1"
