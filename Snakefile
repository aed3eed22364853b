# The workflow is workflow/Snakefile; this file lets `snakemake` find it, and profiles/default, from here.


include: "workflow/Snakefile"


# what is included has no default target of its own; a module's is not that of the workflow around it
if workflow.modifier.is_main_snakefile():
    workflow.default_target = "all"
