"""Experiments: `python -m jaxval.experiments NAME [options]`, or `run` from Python.

An experiment is one module of this package, `NAME.py`, with three things in it:

- `Config`: a frozen, keyword-only dataclass. Its fields are the options of the command
  line (tyro reads names, types, defaults and the docstring under each field), its hash
  is the name of the folder that the results go to.
- `run(config, context=SILENT) -> Result`: computes and writes nothing. It says what
  it is doing through `context` (`note`, `progress`), which is silent from Python, and
  keeps checkpoints of long work in `context.scratch` where there is one. It raises
  `ValueError` (or `OSError`) with a user-facing message when the input is at fault.
- `Result` (`jaxval.runner.contract`): tables, metrics, arrays, a picture.

The first line of the module's docstring is its line in the list of experiments, and its
name in `EXPERIMENTS` is all the registration there is. `__main__.py` parses, calls,
saves and prints:

    results/NAME/HASH/: report.html, values.csv, metrics.json, config.json,
        picture.png, arrays.npz

A `run` that returns `None` is a command: it has done its work and nothing is saved.

What a second study could use is in `parts/`: deals of the data, ground truths, methods,
correlations, comparisons, curves, and their tables. Only `run` sees `config`.

A whole experiment:

    '''Values of contributors by their rows.'''

    @dataclasses.dataclass(frozen=True, kw_only=True)
    class Config:
        '''Values contributors by their rows.'''

        num_contributors: int = 5
        '''Players of the game.'''

    def run(config: Config, context: Context = SILENT) -> Result:
        with context.progress("counting") as update:
            sizes = count(config.num_contributors, progress=update)
        table = Table("Sizes", (Column("contributor", names), Column("size", sizes)))
        return Result(tables={"values": table}, metrics={"largest": max(sizes)})
"""

EXPERIMENTS = {
    "quickstart": "jaxval.experiments.quickstart",
    "value": "jaxval.valuation.command",
    "example_data": "jaxval.valuation.example_data",
    "davinz_table_1": "jaxval.experiments.davinz_table_1",
    "ecoval_figures": "jaxval.experiments.ecoval_figures",
}
"""Names on the command line to modules, in the order of the list."""
