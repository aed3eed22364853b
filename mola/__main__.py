"""``mola``, and ``python -m mola``: the command line, or what it lacks to start."""

import sys

from mola import extras


def main() -> None:
    """Run the command line. Without the packages that it is written with, one line says how to get them."""
    try:
        from mola.cli import main as run
    except ModuleNotFoundError as error:
        line = extras.lacking(error, sys.argv[1:])
        if line is None:
            raise
        sys.exit(_refused(line))
    run()


def _refused(line: str) -> int:
    print(f"mola: {line}", file=sys.stderr)
    return 2


if __name__ == "__main__":
    main()
