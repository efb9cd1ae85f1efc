"""Every evaluation once: results by configuration, on disk as they come."""

from __future__ import annotations

import json
import math
import os
from pathlib import Path
from typing import Any

from tfxp.errors import ConfigError, OutputError

SCHEMA = 1


class EvaluationLedger:
    """Remembers scores by key, in memory or in a file of JSON lines.

    Each score is appended and flushed to disk before it is used, so whatever kills the process,
    nothing finished is lost; half a line at the end of a file, which a kill leaves behind, is cut
    off. The first line holds the fingerprint of the search: scores of another model, data set or
    space are refused.

    Args:
        path: file to keep the scores in; None keeps them in memory.
        fingerprint: what the scores depend on besides the key.

    Raises:
        ConfigError: the file belongs to another search or is no ledger.
        OutputError: the file cannot be written.

    Example:
        >>> ledger = EvaluationLedger()
        >>> ledger.put("a", 0.5)
        >>> ledger.get("a"), ledger.get("b"), len(ledger)
        (0.5, None, 1)
    """

    def __init__(self, path: str | os.PathLike[str] | None = None, fingerprint: str = "") -> None:
        self.path = None if path is None else Path(path)
        self.fingerprint = fingerprint
        self._scores: dict[str, float] = {}
        self._bounds: dict[str, float] = {}
        if self.path is not None:
            self._open(self.path)

    def get(self, key: str) -> float | None:
        """The score of a key, if it is known."""
        return self._scores.get(key)

    def find(self, key: str, at_least: float) -> tuple[float, bool] | None:
        """The score of a key and True; or a bound that lies below `at_least`, and False."""
        if key in self._scores:
            return self._scores[key], True
        bound = self._bounds.get(key)
        return (bound, False) if bound is not None and bound < at_least else None

    def put(self, key: str, score: float, complete: bool = True) -> None:
        """Remember a score; a key that is known already keeps its first score.

        Args:
            key: what was scored.
            score: its score.
            complete: False if the true score is only known to be at most this.
        """
        if key in self._scores or (not complete and score >= self._bounds.get(key, math.inf)):
            return
        (self._scores if complete else self._bounds)[key] = score
        if self.path is not None:
            entry = {"key": key, "score": score}
            self._append(self.path, entry if complete else {**entry, "complete": False})

    def __len__(self) -> int:
        return len(self._scores)

    def _open(self, path: Path) -> None:
        head = {"schema": SCHEMA, "fingerprint": self.fingerprint}
        if not path.exists() or path.stat().st_size == 0:
            self._append(path, head)
            return
        data = path.read_bytes()
        whole = data[: data.rfind(b"\n") + 1]
        lines = whole.splitlines()
        if not lines:  # killed while the first line was written
            self._replace(path, b"")
            self._append(path, head)
            return
        if self._parse(lines[0], path) != head:
            raise ConfigError(
                f"ledger {os.fspath(path)!r}: got one of another search (model, data or settings "
                "differ); expected this one's. Name another file, or delete it."
            )
        for line in lines[1:]:
            entry = self._parse(line, path)
            known = self._scores if entry.get("complete", True) else self._bounds
            known[str(entry["key"])] = float(entry["score"])
        if whole != data:
            self._replace(path, whole)

    @staticmethod
    def _parse(line: bytes, path: Path) -> dict[str, Any]:
        try:
            entry = json.loads(line)
            if not isinstance(entry, dict) or not ({"key", "schema"} & set(entry)):
                raise ValueError("no entry of a ledger")
            return entry
        except ValueError as error:
            raise ConfigError(
                f"ledger {os.fspath(path)!r}: {error}; expected JSON lines. Name another file."
            ) from None

    @staticmethod
    def _replace(path: Path, data: bytes) -> None:
        with open(path, "r+b") as file:
            file.truncate(len(data))

    @staticmethod
    def _append(path: Path, entry: dict[str, Any]) -> None:
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            with open(path, "a", encoding="utf-8") as file:
                file.write(json.dumps(entry) + "\n")
                file.flush()
                os.fsync(file.fileno())
        except OSError as error:
            raise OutputError(f"ledger {os.fspath(path)!r}: {error.strerror}.") from None
