"""Running studies: contract, command line, results on disk, what the machine has."""
