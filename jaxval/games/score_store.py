"""Scores on disk: a table of coalition and score per game, in one SQLite file.

No pickle: a store holds masks as bytes and scores as float64, so that a folder shared
with others runs no code.
"""

import pathlib
import sqlite3
from collections.abc import Iterable
from contextlib import closing

__all__ = ["ScoreStore"]

_TABLE = """CREATE TABLE IF NOT EXISTS scores
(game TEXT, mask BLOB, score REAL, PRIMARY KEY (game, mask)) WITHOUT ROWID"""


class ScoreStore:
    r"""Scores of one game in a file that several games may share.

    Attributes:
      path: SQLite file, made when first written to.
      game: Hash of all that the game's scores depend on.

    Raises:
      ValueError: If the file is no such table; it is left as it is.

    Example:
      >>> import tempfile
      >>> with tempfile.TemporaryDirectory() as folder:
      ...     store = ScoreStore(folder + "/scores.sqlite", "game 1")
      ...     store.put(b"\x01", 0.1)
      ...     store.get([b"\x01", b"\x02"])
      {b'\x01': 0.1}
    """

    def __init__(self, path: str | pathlib.Path, game: str) -> None:
        self.path, self.game = pathlib.Path(path), game
        self.path.parent.mkdir(parents=True, exist_ok=True)
        with closing(self._open()):
            pass

    def get(self, masks: Iterable[bytes]) -> dict[bytes, float]:
        """The scores that are known of these coalitions."""
        scores = {}
        with closing(self._open()) as file:
            for mask in masks:
                row = file.execute(
                    "SELECT score FROM scores WHERE game = ? AND mask = ?",
                    (self.game, mask),
                ).fetchone()
                if row is not None:
                    scores[mask] = float(row[0])
        return scores

    def put(self, mask: bytes, score: float) -> None:
        """Remember the score of one coalition, safely on disk when this returns."""
        with closing(self._open()) as file, file:
            file.execute(
                "INSERT OR REPLACE INTO scores VALUES (?, ?, ?)",
                (self.game, mask, float(score)),
            )

    def _open(self) -> sqlite3.Connection:
        # Opened anew each time: connections don't cross processes. Others may write.
        file = sqlite3.connect(self.path, timeout=60.0)
        try:
            with file:
                file.execute(_TABLE)
        except sqlite3.DatabaseError as error:
            file.close()
            raise ValueError(
                f"cache {self.path} can't be used as a file of scores ({error}). It "
                "was left as it is: give another path."
            ) from error
        return file
