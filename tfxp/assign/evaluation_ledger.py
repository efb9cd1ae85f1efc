"""Every evaluation once: results by configuration, on disk as they come."""

from __future__ import annotations

import json
import math
import os
from collections.abc import Mapping
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
        about: what else a reader of the file may want to know; written when the file is made.

    Attributes:
        about: that of the file.
        entries: every entry in the order they came: key, score, complete, and their details.

    Raises:
        ConfigError: the file belongs to another search or is no ledger.
        OutputError: the file cannot be written.

    Example:
        >>> ledger = EvaluationLedger()
        >>> ledger.put("a", 0.5)
        >>> ledger.get("a"), ledger.get("b"), len(ledger)
        (0.5, None, 1)
    """

    def __init__(
        self,
        path: str | os.PathLike[str] | None = None,
        fingerprint: str = "",
        about: Mapping[str, Any] | None = None,
    ) -> None:
        self.path = None if path is None else Path(path)
        self.fingerprint = fingerprint
        self.about: dict[str, Any] = dict(about or {})
        self.entries: list[dict[str, Any]] = []
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

    def put(self, key: str, score: float, complete: bool = True, **details: Any) -> None:
        """Remember a score; a key that is known already keeps its first score.

        Args:
            key: what was scored.
            score: its score.
            complete: False if the true score is only known to be at most this.
            details: more to keep beside it, ready for JSON.

        Raises:
            OutputError: the file takes no more.
        """
        if key in self._scores or (not complete and score >= self._bounds.get(key, math.inf)):
            return
        entry = {"key": key, "score": score, "complete": complete, **details}
        if self.path is not None:
            self._append(self.path, entry)
        self._remember(entry)

    def _remember(self, entry: dict[str, Any]) -> None:
        entry.setdefault("complete", True)
        known = self._scores if entry["complete"] else self._bounds
        known[str(entry["key"])] = float(entry["score"])
        self.entries.append(entry)

    def __len__(self) -> int:
        return len(self._scores)

    @classmethod
    def read(cls, path: str | os.PathLike[str]) -> EvaluationLedger:
        """A ledger as it is on disk now, for looking at; the file may still be written to.

        Raises:
            ConfigError: there is no such file, or it is no ledger.
        """
        result = cls()
        try:
            head, entries, _ = cls._load(Path(path))
        except OSError as error:
            raise ConfigError(f"ledger {os.fspath(path)!r}: {error.strerror}.") from None
        result.fingerprint = head.get("fingerprint", "")
        result.about = head.get("about", {})
        for entry in entries:
            result._remember(entry)
        return result

    def _open(self, path: Path) -> None:
        head = {"schema": SCHEMA, "fingerprint": self.fingerprint, "about": self.about}
        if not path.exists() or path.stat().st_size == 0:
            self._append(path, head)
            return
        found, entries, length = self._load(path)
        self._replace(path, length)  # half a line at the end, if the writer was killed
        if not found:  # killed while the first line was written
            self._append(path, head)
            return
        if any(found.get(name) != head[name] for name in ("schema", "fingerprint")):
            raise ConfigError(
                f"ledger {os.fspath(path)!r}: got one of another search (model, data or settings "
                "differ); expected this one's. Name another file, or delete it."
            )
        self.about = found.get("about", {})
        for entry in entries:
            self._remember(entry)

    @classmethod
    def _load(cls, path: Path) -> tuple[dict[str, Any], list[dict[str, Any]], int]:
        """The first line, the others, and how many bytes they take together."""
        data = path.read_bytes()
        whole = data[: data.rfind(b"\n") + 1]
        lines = [cls._parse(line, path) for line in whole.splitlines()]
        if lines and "schema" not in lines[0]:
            raise ConfigError(
                f"ledger {os.fspath(path)!r}: got no heading; expected one. Name another file."
            )
        return (lines[0] if lines else {}), lines[1:], len(whole)

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
    def _replace(path: Path, length: int) -> None:
        if path.stat().st_size != length:
            with open(path, "r+b") as file:
                file.truncate(length)

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
