# Raw data, then prepared arrays. The split manifests that fix their content are committed under data/splits.


rule fetch:
    input:
        split(FETCHED),
    output:
        touch(FETCHED),
    log:
        f"logs/{suite.suite}/{{data}}.{{options}}.fetch.log",
    resources:
        download=1,  # hosts limit the rate: one download at a time (profiles/default)
    params:
        config=str(plan.path),
        entry=entry,
    shell:
        # licences and terms are to be seen, not only logged
        "mola fetch -c {params.config:q} -b {params.entry:q} 2>&1 | tee {log:q} >&2"


rule prepare:
    input:
        lambda wildcards: old_enough(FETCHED.format(**wildcards), entry(wildcards)),
        split(PREPARED),
    output:
        touch(PREPARED),
    log:
        f"logs/{suite.suite}/{{data}}.{{options}}.prepare.log",
    threads: CORES
    params:
        config=str(plan.path),
        entry=entry,
    shell:
        "mola prepare -c {params.config:q} -b {params.entry:q} > {log:q} 2>&1"
