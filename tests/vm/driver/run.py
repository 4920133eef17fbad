"""Runs one script on machines of its own, inside the namespaces that tests/vm/run has made."""

from __future__ import annotations

import argparse
import os
import re
import signal
import subprocess
import sys
import time
import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from . import stage
from .log import Logger
from .machine import Machine, TestFailed, retry

VM = Path(__file__).resolve().parent.parent


def chain_id_of(script: str) -> str:
    """A script names another chain than `localnet` in its head: `# chain: testnet`."""
    match = re.search(r"^# chain: (\S+)$", script, re.MULTILINE)
    return match[1] if match else "localnet"


def source(script: Path) -> str:
    """What is run: the words that all scripts share, then the script. As on NixOS."""
    return (VM / "words.py").read_text() + "\n" + script.read_text()


def symbols(machines: list[Machine], logger: Logger) -> dict[str, Any]:
    """What a script finds, named as the NixOS driver names it."""

    def start_all() -> None:
        for machine in machines:
            machine.start()

    def join_all() -> None:
        for machine in machines:
            machine.wait_for_shutdown()

    @contextmanager
    def subtest(name: str) -> Iterator[None]:
        with logger.subtest(name):
            yield

    return {
        "start_all": start_all,
        "join_all": join_all,
        "subtest": subtest,
        "retry": retry,
        "machines": machines,
        "log": logger,
        "os": os,
        **{machine.name: machine for machine in machines},
    }


def main() -> int:
    parser = argparse.ArgumentParser()
    parser.add_argument("script", type=Path)
    parser.add_argument("--image", type=Path, required=True)
    parser.add_argument("--bin", type=Path, required=True)
    parser.add_argument("--consul", type=Path, required=True)
    parser.add_argument("--run", required=True)
    parser.add_argument("--logs", type=Path, required=True)
    parser.add_argument("--directory", type=Path, required=True, help="an empty one")
    options = parser.parse_args()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))

    name = options.script.stem
    logger = Logger(name, options.logs / "log")
    text = source(options.script)
    # Other unit files than those of this repository: what the NixOS modules make of them.
    units = Path(os.environ.get("KNEARD_VM_UNITS", VM.parent.parent / "systemd"))
    programs = stage.Programs(options.image, options.bin, options.consul, units)
    started = time.monotonic()
    with _memory(options.directory):
        machines = stage.build(
            programs, chain_id_of(text), options.directory, options.run, logger, options.logs
        )
        try:
            exec(compile(text, str(options.script), "exec"), symbols(machines, logger))
        except Exception as error:
            _report(error, text, logger, machines)
            return 1
        finally:
            for machine in machines:
                machine.release()
                (options.logs / f"{machine.name}.journal").write_text(machine.last_journal("all"))
    logger.info(f"passed in {time.monotonic() - started:.0f} s")
    return 0


@contextmanager
def _memory(directory: Path) -> Iterator[None]:
    """A file system in memory there, which nobody outside of this namespace sees."""
    mount = ["mount", "-t", "tmpfs", "-o", "size=2G,mode=755", "none", str(directory)]
    subprocess.run(mount, check=True)
    try:
        yield
    finally:
        subprocess.run(["umount", "--recursive", "--lazy", str(directory)], check=False)


def _report(error: Exception, text: str, logger: Logger, machines: list[Machine]) -> None:
    lines = text.splitlines()
    for frame in traceback.extract_tb(error.__traceback__):
        if frame.name == "<module>" or frame.filename.endswith(f"{logger.name}.py"):
            code = lines[frame.lineno - 1].strip() if frame.lineno else ""
            logger.info(f"at: {code}")
    if not isinstance(error, TestFailed):
        logger.log("".join(traceback.format_exception(error)))
    logger.info(f"{type(error).__name__}: {error}")
    for machine in machines:
        logger.info(f"--- the end of {machine.name}'s journal:\n{machine.last_journal(30)}")


if __name__ == "__main__":
    sys.exit(main())
