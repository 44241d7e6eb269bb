"""`python -m jaxval.experiments NAME [options]`."""

import sys

from jaxval.experiments import EXPERIMENTS
from jaxval.runner import cli


def main(argv: list[str] | None = None) -> int:
    """The command line of `EXPERIMENTS`; returns the exit status."""
    return cli.main(EXPERIMENTS, argv)


if __name__ == "__main__":
    sys.exit(main())
