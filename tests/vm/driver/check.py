"""Checks the scripts before any machine boots: types, and the NixOS driver's signatures.

    python3 -m driver.check NIXPKGS     compares api.py with that nixpkgs
"""

from __future__ import annotations

import ast
import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

VM = Path(__file__).resolve().parent.parent
ROOT = VM.parent.parent

#: What stands before a script when its types are checked; as the NixOS driver itself does it.
_HEAD = """import os
from api import Machine, join_all, start_all, subtest
arbiter: Machine
validator1: Machine
validator2: Machine
machines: list[Machine]
"""
#: That our machines are what the scripts expect.
_CONFORMS = """import api
from driver.machine import Machine
def conforms(machine: Machine) -> api.Machine:
    return machine
"""


def _mypy() -> str:
    found = shutil.which("mypy", path=f"{ROOT / '.cache/bin'}:{os.environ['PATH']}")
    if found is None:
        sys.exit("tests/vm/run: no mypy; run tests/setup tests")
    return found


def check_scripts(scripts: list[Path]) -> None:
    """Ends the program with mypy's words if a script is not well typed."""
    words = (VM / "words.py").read_text()
    with tempfile.TemporaryDirectory() as directory:
        for script in scripts:
            text = f"{_HEAD}{words}\n# --- {script.name}\n{script.read_text()}"
            (Path(directory) / f"{script.stem}_script.py").write_text(text)
        (Path(directory) / "conforms.py").write_text(_CONFORMS)
        command = [_mypy(), "--strict", "--python-version=3.11", "--no-error-summary"]
        command += [f"--cache-dir={ROOT / '.cache/mypy-cache'}", directory, str(VM / "driver")]
        environment = {**os.environ, "MYPYPATH": str(VM)}
        # Explicit bases: api and driver are found from the scripts' directory too.
        command[1:1] = ["--explicit-package-bases"]
        done = subprocess.run(command, env=environment, cwd=VM, check=False)
        if done.returncode != 0:
            sys.exit("tests/vm/run: the scripts are not well typed")


Signature = tuple[tuple[str, str, str], ...]


def signatures(source: str, classes: set[str]) -> dict[str, Signature]:
    """Of the methods of these classes: name, type and default of each parameter, and the result."""
    found: dict[str, Signature] = {}
    for node in ast.walk(ast.parse(source)):
        if not isinstance(node, ast.ClassDef) or node.name not in classes:
            continue
        for method in node.body:
            if isinstance(method, ast.FunctionDef):
                found.setdefault(method.name, _signature(method))
    return found


def _signature(method: ast.FunctionDef) -> Signature:
    arguments = method.args
    defaults: list[ast.expr | None] = [None] * (len(arguments.args) - len(arguments.defaults))
    defaults += arguments.defaults

    def text(node: ast.expr | None) -> str:
        return "" if node is None else ast.unparse(node)

    parts = [
        (argument.arg, text(argument.annotation), text(default))
        for argument, default in zip(arguments.args, defaults, strict=True)
    ]
    if arguments.vararg is not None:
        parts.append(("*" + arguments.vararg.arg, text(arguments.vararg.annotation), ""))
    for argument, default in zip(arguments.kwonlyargs, arguments.kw_defaults, strict=True):
        parts.append((argument.arg, text(argument.annotation), text(default)))
    return (*parts, ("->", text(method.returns), ""))


def differences(nixpkgs: Path) -> list[str]:
    """Where api.py says otherwise than the driver of this nixpkgs."""
    package = nixpkgs / "nixos/lib/test-driver/src/test_driver"
    files = [package / "machine/__init__.py", package / "machine.py"]
    source = next((file.read_text() for file in files if file.exists()), None)
    if source is None:
        return [f"{nixpkgs} has no nixos/lib/test-driver"]
    # Where a method is in several, that of the virtual machines counts.
    theirs = signatures(source, {"QemuMachine"})
    for name, signature in signatures(source, {"BaseMachine", "Machine"}).items():
        theirs.setdefault(name, signature)
    wrong = []
    for name, ours in signatures((VM / "api.py").read_text(), {"Machine"}).items():
        if name not in theirs:
            wrong.append(f"{name}: not in the driver")
        elif not _accepts(theirs[name], ours):
            wrong.append(f"{name}: {ours} here, {theirs[name]} there")
    driver = (package / "driver.py").read_text()
    for word in ("start_all", "join_all", "subtest"):
        if f"{word}=" not in driver:
            wrong.append(f"{word}: not among the driver's words")
    return wrong


def _accepts(theirs: Signature, ours: Signature) -> bool:
    """Theirs may have more parameters, if these have defaults."""
    more = [part for part in theirs if part not in ours]
    return all(part in theirs for part in ours) and all(default for _, _, default in more)


if __name__ == "__main__":
    problems = differences(Path(sys.argv[1]))
    print("\n".join(problems) or "api.py agrees with the NixOS test driver")
    sys.exit(1 if problems else 0)
