# The workflow is workflow/Snakefile; this file lets `snakemake` find it, and profiles/default, from here.


include: "workflow/Snakefile"


# what is included has no default target of its own
workflow.default_target = "all"
