"""What a run prints: steps with their duration, indented; the machines' own output goes to a file."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TextIO


class Logger:
    def __init__(self, name: str, file: Path) -> None:
        self.name = name
        self.depth = 0
        self.started = time.monotonic()
        self.file: TextIO = file.open("w", buffering=1)

    def _line(self, text: str) -> str:
        at = time.monotonic() - self.started
        return f"[{self.name} {at:6.1f}] {'  ' * self.depth}{text}\n"

    def log(self, text: str) -> None:
        """To the file alone."""
        self.file.write(self._line(text))

    def info(self, text: str) -> None:
        """To the file and to the terminal."""
        line = self._line(text)
        self.file.write(line)
        sys.stdout.write(line)
        sys.stdout.flush()

    @contextmanager
    def nested(self, text: str) -> Iterator[None]:
        self.log(text)
        self.depth += 1
        started = time.monotonic()
        try:
            yield
        finally:
            self.depth -= 1
            self.log(f"(after {time.monotonic() - started:.2f} s: {text})")

    @contextmanager
    def subtest(self, name: str) -> Iterator[None]:
        started = time.monotonic()
        self.log(f"subtest: {name}")
        self.depth += 1
        try:
            yield
        except Exception:
            self.info(f"FAILED: {name}")
            raise
        finally:
            self.depth -= 1
        self.info(f"ok: {name} ({time.monotonic() - started:.1f} s)")
