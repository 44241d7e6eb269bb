"""`jaxval NAME [options]`, or `python -m jaxval NAME [options]`."""

import sys

from jaxval.experiments import EXPERIMENTS
from jaxval.runner import cli


def main(argv: list[str] | None = None) -> int:
    """The command line of all studies and commands; returns the exit status.

    Args:
      argv: Words after the program's name; those of this process when left out.
    """
    return cli.main(EXPERIMENTS, argv, prog="jaxval")


if __name__ == "__main__":
    sys.exit(main())
