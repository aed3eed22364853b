# The workflow is workflow/Snakefile; this file lets `snakemake` find it, and profiles/default, from here.


include: "workflow/Snakefile"
