# The whole comparison as a graph of files: fetch → prepare → (tune →) train → tables, figures, pages. `mola report` binds
# them.
# Every rule is one `mola` call of the same name; the configuration decides what there is to do.
#
#   snakemake --cores all all                                       the embedded suite
#   snakemake --cores all all --configfile config/smoke.yaml        another suite

import os

from snakemake.utils import min_version

min_version("9.0")

DEFAULT = "config/config.yaml"
if not os.path.isfile(DEFAULT):
    DEFAULT = os.path.join(workflow.basedir, DEFAULT)

# `configfile:` would merge a file given on the command line into the default, methods of both included; values of
# `--config` change the default
if not workflow.overwrite_configfiles:

    configfile: DEFAULT


report: "workflow/report/workflow.rst"


# only where `--software-deployment-method apptainer` asks for it: workflow/mola.def says how it is built
container: "mola.sif"


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
