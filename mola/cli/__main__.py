"""``python -m mola.cli``."""

from mola.cli import main

main()
