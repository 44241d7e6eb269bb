"""A small table of pets and their owners, and `value` on it."""

import csv

import numpy as np

from jaxval.experiments import __main__ as runner

SMALL = ["--width", "0.1", "--seeds", "2"]


def write(path, rows, header="height,colour,kind,who"):
    path.write_text("\n".join([header, *rows]) + "\n")
    return path


def rows_of(count, owners=3, seed=0):
    rng = np.random.default_rng(seed)
    return [
        f"{rng.normal():.4f},{'red' if rng.random() < 0.5 else 'blue'},"
        f"{'cat' if i % 2 else 'dog'},owner {i % owners}"
        for i in range(count)
    ]


def run(path, *options, out="out"):
    arguments = ["value", str(path), "--target", "kind", "--owner", "who"]
    return runner.main([*arguments, "--out", str(path.parent / out), *options])


def read(path, name="values.csv", out="out"):
    (folder,) = [p for p in (path.parent / out / "value").iterdir() if p.is_dir()]
    return list(csv.DictReader((folder / name).read_text().splitlines()))
