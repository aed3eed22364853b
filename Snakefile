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


rule all:
    default_target: True
    input:
        tables(),
        rules.figures.output,
        rules.about.output,
