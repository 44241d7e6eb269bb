"""The command line of the studies and of `value`: parses, calls, saves, prints.

`main` is given its entries, names to modules with a `Config` and a `run`, by
`jaxval.experiments.__main__`: the runner knows no study.
"""

import ast
import dataclasses
import difflib
import importlib
import importlib.util
import os
import pathlib
import shutil
import sys
import traceback
from collections.abc import Mapping
from typing import Annotated, Any

import rich.console
import rich.table

USAGE_ERROR = 2
INTERRUPTED = 130
BROKEN_PIPE = 141


@dataclasses.dataclass(frozen=True, kw_only=True)
class Runner:
    """Options that every experiment has and that change none of its numbers."""

    out: pathlib.Path = pathlib.Path("results")
    """Folder under which NAME/HASH/ is written."""
    traceback: bool = False
    """Show where in the program an error arose."""


Entries = Mapping[str, str]
"""Names on the command line to modules, in the order of the list."""


def main(
    entries: Entries,
    argv: list[str] | None = None,
    *,
    prog: str = "python -m jaxval.experiments",
) -> int:
    """The command line; returns the exit status.

    Args:
      entries: Names of studies and commands, and the modules that hold them.
      argv: Words after the program's name; those of this process when left out.
      prog: Name of the program, for its help.
    """
    words = sys.argv[1:] if argv is None else list(argv)
    name = words[0].replace("-", "_") if words else "--help"
    if name in ("__help", "_h", "--help"):
        _print_list(entries, prog)
        return 0
    if name not in entries:
        return _unknown(entries, words[0])
    # Options can't be read when reading them is what fails.
    show = "--traceback" in words or bool(os.environ.get("JAXVAL_TRACEBACK"))
    try:
        return _run(name, entries[name], words[1:], prog)
    except BrokenPipeError:
        # The reader of our output has gone (`| head`): nothing is wrong.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return BROKEN_PIPE
    except KeyboardInterrupt:
        _say("interrupted; nothing was saved")
        return INTERRUPTED
    except SystemExit as stop:
        return stop.code if isinstance(stop.code, int) else USAGE_ERROR
    except Exception as error:
        message = _message(error)
        if message is None:
            raise
        if show:
            traceback.print_exc()
        _say(f"error: {message}")
        return USAGE_ERROR


def _run(name: str, module: str, options: list[str], prog: str) -> int:
    import tyro

    experiment = importlib.import_module(module)
    job: Any = tyro.cli(
        _job(experiment.Config),
        args=options,
        prog=f"{prog} {name.replace('_', '-')}",
        description=experiment.__doc__,
    )
    from jaxval.runner import contract, machine, results

    out = rich.console.Console(highlight=False, soft_wrap=False)
    folder = results.results_folder(job.runner.out, name.replace("_", "-"), job.config)
    results.writable(folder)
    scratch = folder.with_name(f"{folder.name}.partial")
    from jaxval.reporting.console import one_line_warnings, progress

    context = contract.Context(note=_say, progress=progress, scratch=scratch)
    try:
        with one_line_warnings(_say) as warnings, machine.Stopwatch() as watch:
            result = experiment.run(job.config, context)
    except KeyboardInterrupt:
        _say(f"interrupted; {_what_was_saved(scratch)}")
        return INTERRUPTED
    except OSError as error:
        raise _with_folder(error, scratch) from error
    if result is None:
        return 0
    about = {
        "experiment": name.replace("_", "-"),
        **watch.metrics(),
        "device": machine.devices(),
        "peak_memory": machine.peak_memory(),
        "versions": machine.versions(),
        "warnings": warnings,
    }
    metrics = {**about, "metrics": result.metrics}
    try:
        files = results.save(folder, job.config, result, metrics)
    except OSError as error:
        raise _with_folder(error, folder) from error
    shutil.rmtree(scratch, ignore_errors=True)
    _show(out, result)
    seconds = f"{watch.wall:.1f} s, {watch.compiling:.1f} s of them compiling"
    out.print(f"[dim]{seconds}[/dim]")
    out.print(f"Saved in {folder}/: {', '.join(files)}", markup=False, soft_wrap=True)
    if result.draw is not None and not results.can_draw():
        _say("note: no picture without matplotlib: pip install 'jaxval[plot]'")
    return 0


def _job(settings: type) -> type:
    """One dataclass of an experiment's options and the runner's, without prefixes."""
    import tyro

    return dataclasses.make_dataclass(
        "Job",
        [
            ("config", Annotated[settings, tyro.conf.arg(name="")]),
            (
                "runner",
                Annotated[Runner, tyro.conf.arg(name="")],
                dataclasses.field(default_factory=Runner),
            ),
        ],
    )


def _show(out: rich.console.Console, result: Any) -> None:
    from jaxval.reporting.tables import to_rich

    chart = result.chart
    for name, table in result.tables.items():
        if name in result.unprinted:
            continue
        out.print(to_rich(table))
        if chart:
            out.print(chart + "\n", markup=False)
            chart = ""
    for sentence in result.sentences:
        out.print(sentence + "\n", markup=False)


def _message(error: Exception) -> str | None:
    """A user-facing line; `None` for an error in the program itself."""
    import jax

    text = " ".join(str(error).split())
    if isinstance(error, MemoryError) or "RESOURCE_EXHAUSTED" in text:
        return (
            "out of memory; take fewer rows, a smaller --width or smaller blocks "
            f"({text[:120] or 'no details'})."
        )
    if isinstance(error, OSError) and error.strerror:
        where = f": {error.filename}" if error.filename is not None else ""
        return f"{error.strerror}{where}"
    expected = (ValueError, OSError, ImportError, NotImplementedError)
    if isinstance(error, expected) and text:
        return text
    if isinstance(error, RuntimeError) and "initialize backend" in text:
        return text
    if isinstance(error, jax.errors.JaxRuntimeError):
        return f"the device failed: {text[:300]}"
    return None


def _say(line: str) -> None:
    console = rich.console.Console(stderr=True, highlight=False)
    style = "bold red" if line.startswith("error") else None
    line = " ".join(line.splitlines())
    console.print(line, markup=False, soft_wrap=True, style=style)


def _what_was_saved(scratch: pathlib.Path) -> str:
    """Whether rerunning the command would find anything of this run."""
    if not any(path.is_file() for path in scratch.rglob("*")):
        return "nothing was saved"
    return (
        f"finished parts are saved in {scratch}/, and rerunning the command resumes it"
    )


def _with_folder(error: OSError, folder: pathlib.Path) -> OSError:
    """The error, with a folder where the system names no file (as of a full disk)."""
    if error.errno is None or error.filename is not None:
        return error
    return OSError(error.errno, error.strerror, str(folder))


def _leftovers(root: pathlib.Path) -> list[str]:
    """Lines on what interrupted runs have left under a folder of results."""
    lines = []
    for folder in sorted(root.glob("*/*.partial")):
        files = [path for path in folder.rglob("*") if path.is_file()]
        size = sum(path.stat().st_size for path in files) / 2**20
        lines.append(f"{folder}/ ({len(files)} files, {size:.1f} MiB)")
    return lines


def _print_list(entries: Entries, prog: str) -> None:
    out = rich.console.Console(highlight=False)
    table = rich.table.Table(box=None, show_header=False, padding=(0, 2))
    for name, module in entries.items():
        if importlib.util.find_spec(module) is None:
            continue
        table.add_row(f"[bold]{name.replace('_', '-')}[/bold]", _line_about(module))
    out.print(f"usage: {prog} NAME [options]\n", markup=False)
    out.print(table)
    out.print(
        "\nNAME --help lists its options. Results go to results/NAME/HASH/.",
        markup=False,
    )
    left = _leftovers(Runner().out)
    if left:
        out.print(
            "\nInterrupted runs, resumed by rerunning their commands (or delete the "
            "folders):",
            markup=False,
        )
        for line in left:
            out.print(f"  {line}", markup=False, soft_wrap=True)


def _line_about(module: str) -> str:
    """First line of the module's docstring, read without importing it."""
    spec = importlib.util.find_spec(module)
    if spec is None or spec.origin is None:
        return ""
    tree = ast.parse(pathlib.Path(spec.origin).read_text(encoding="utf-8"))
    return (ast.get_docstring(tree) or "").split("\n")[0]


def _unknown(entries: Entries, word: str) -> int:
    names = [name.replace("_", "-") for name in entries]
    near = difflib.get_close_matches(word, names, 1)
    hint = f"did you mean {near[0]}?" if near else f"choose from {', '.join(names)}."
    _say(f"error: there is no experiment {word!r}; {hint}")
    return USAGE_ERROR
