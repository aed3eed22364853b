# The whole comparison as a graph of files: fetch → prepare → (tune →) train → tables, figures, pages. `mola report` binds
# them.
# Every rule is one `mola` call of the same name; the configuration decides what there is to do.
#
#   snakemake --cores all all                                       the embedded suite
#   snakemake --cores all all --configfile config/smoke.yaml        another suite

from snakemake.utils import min_version

min_version("9.0")

# `configfile:` would merge a file given on the command line into the default, methods of both included
if not config:

    configfile: "config/config.yaml"


report: "workflow/report/workflow.rst"


include: "workflow/rules/common.smk"
include: "workflow/rules/data.smk"
include: "workflow/rules/tune.smk"
include: "workflow/rules/train.smk"
include: "workflow/rules/tables.smk"
include: "workflow/rules/report.smk"


localrules:
    all,


# a job that failed is tried again by the next call; with --keep-going all others are done by now
onerror:
    show_failed_runs()


rule all:
    default_target: True
    input:
        # of a failed run there is none, though there are tables
        runs(),
        tables(),
        rules.figures.output,
        rules.about.output,
