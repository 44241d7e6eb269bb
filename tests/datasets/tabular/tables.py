"""Small tables that tests of `read_table` edit."""

import csv

import numpy as np

RNG = np.random.default_rng(0)

NUM = 60

PEOPLE = {
    "age": [str(a) for a in RNG.integers(20, 60, NUM)],
    "height": [f"{h:.3f}" for h in RNG.normal(1.7, 0.1, NUM)],
    "town": [["Ulm", "Bonn", "", "Kiel"][i % 4] for i in range(NUM)],
    "clinic": [f"clinic {i % 3}" for i in range(NUM)],
    "ill": [["no", "yes"][i % 5 == 0] for i in range(NUM)],
    "cost": [f"{100 + 3.5 * i}" for i in range(NUM)],
}

HEADER = "a,b,word,who,y"

ROWS = [f"{i * 1.5},{-i},{'uvw'[i % 3]},{'kl'[i % 2]},{i % 2}" for i in range(20)]


def write(path, columns, delimiter=","):
    with path.open("w", newline="") as file:
        writer = csv.writer(file, delimiter=delimiter)
        writer.writerow(columns)
        writer.writerows(zip(*columns.values(), strict=True))
    return path


def edited(line, old, new):
    """The rows with one cell changed in the given line of the file."""
    rows = list(ROWS)
    assert old in rows[line - 2]
    rows[line - 2] = rows[line - 2].replace(old, new, 1)
    return rows
