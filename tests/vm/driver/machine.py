"""One machine: a Debian under systemd-nspawn, with the methods of the NixOS driver's machines.

Names, parameters and meanings are the NixOS driver's (nixpkgs, nixos/lib/test-driver), as far as the
scripts here need them; api.py says which, and the check in check.py holds both to it.
"""

from __future__ import annotations

import os
import re
import shlex
import shutil
import signal
import subprocess
import time
from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path

from .cgroups import Group
from .log import Logger

_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
_STATES = {"initializing", "starting", "running", "degraded", "maintenance", "stopping"}


class TestFailed(Exception):
    """What a script asked for is not so."""

    __test__ = False


def retry(fn: Callable[[bool], bool], timeout_seconds: int = 900) -> None:
    """Until it says yes; at least once after the time is over."""
    end = time.monotonic() + timeout_seconds
    while time.monotonic() < end:
        if fn(False):
            return
        # The NixOS driver waits a second; nothing may depend on that.
        time.sleep(0.2)
    if not fn(True):
        raise TestFailed(f"not within {timeout_seconds} s")


class Machine:
    def __init__(
        self, name: str, root: Path, run: str, binds: dict[Path, str], logger: Logger, logs: Path
    ) -> None:
        self.name = name
        self.root = root
        self._run = run
        self._binds = binds
        self._logger = logger
        self._console = logs / f"{name}.console"
        self._stderr = logs / f"{name}.stderr"
        self._boots = 0
        self._process: subprocess.Popen[bytes] | None = None
        self._leader: int | None = None
        self._group: Group | None = None
        self._connected = False

    def __repr__(self) -> str:
        return f"<Machine '{self.name}'>"

    # --- life

    def start(self) -> None:
        if self._process is not None:
            return
        self._logger.log(f"{self.name}: start")
        self._boots += 1
        group = Group(f"{self._run}/{self.name}-{self._boots}")
        self._group = group
        command = [
            "systemd-nspawn",
            "--quiet",
            "--boot",
            "--register=no",
            "--keep-unit",
            "--link-journal=no",
            "--console=pipe",
            "--resolv-conf=off",
            "--timezone=off",
            f"--machine={self.name}",
            f"--directory={self.root}",
            "--network-bridge=br0",
            # What a machine's own first process may give its services.
            "--capability=CAP_SYS_RESOURCE,CAP_SYS_NICE,CAP_IPC_LOCK",
            "--rlimit=MEMLOCK=infinity",
            "--rlimit=RTPRIO=99",
            "--rlimit=NOFILE=1048576",
            *(f"--bind-ro={source}:{target}" for source, target in self._binds.items()),
        ]
        with self._console.open("ab") as console:
            self._process = subprocess.Popen(
                command,
                stdin=subprocess.DEVNULL,
                stdout=console,
                stderr=console,
                preexec_fn=group.enter,
                start_new_session=True,
            )

    def is_up(self) -> bool:
        return self._process is not None and self._connected

    def connect(self) -> None:
        """Waits until the machine's systemd takes orders."""
        if self._connected:
            return
        self.start()
        end = time.monotonic() + 60
        while time.monotonic() < end:
            if self._process is not None and self._process.poll() is not None:
                raise TestFailed(f"{self.name} does not boot: {self._last_of_console()}")
            self._leader = self._find_leader()
            if self._leader is not None:
                state = self._command("systemctl is-system-running", timeout=10)[1].strip()
                if state in _STATES:
                    self._connected = True
                    self._logger.log(f"{self.name}: connected ({state})")
                    return
            time.sleep(0.05)
        raise TestFailed(f"{self.name} does not boot: {self._last_of_console()}")

    def shutdown(self) -> None:
        """An orderly end, waited for."""
        if self._process is None:
            return
        self.connect()
        with self._nested("shutdown"):
            self._command("systemctl poweroff --no-block", timeout=10)
            self.wait_for_shutdown()

    def wait_for_shutdown(self) -> None:
        if self._process is None:
            return
        try:
            self._process.wait(timeout=180)
        except subprocess.TimeoutExpired:
            raise TestFailed(f"{self.name} does not power off") from None
        self._forget()

    def crash(self) -> None:
        """The power fails: nothing of the machine says another word, to its network neither."""
        if self._process is None:
            return
        self.connect()
        self._logger.log(f"{self.name}: crash")
        self.block()
        self._kill()

    def release(self) -> None:
        """The end of the run."""
        if self._process is not None:
            self._leader = self._leader or self._find_leader()
            self._kill()

    def _kill(self) -> None:
        assert self._process is not None
        # The first process of a machine takes all others with it, at once.
        for pid in (self._leader, self._process.pid):
            if pid is not None:
                try:
                    os.kill(pid, signal.SIGKILL)
                except ProcessLookupError:
                    pass
        self._process.wait()
        self._forget()

    def _forget(self) -> None:
        # The kernel is in no hurry to take the network of a dead machine away.
        link = ["ip", "link", "delete", f"vb-{self.name}"]
        subprocess.run(link, stderr=subprocess.DEVNULL, check=False)
        self._process = None
        self._leader = None
        self._connected = False
        if self._group is not None:
            self._group.remove()
            self._group = None

    def _find_leader(self) -> int | None:
        """The process that is number one inside."""
        assert self._process is not None
        pid = self._process.pid
        try:
            children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
            for child in children:
                status = Path(f"/proc/{child}/status").read_text()
                inside = re.search(r"^NSpid:.*\t1$", status, re.MULTILINE)
                # Before that it is still nspawn.
                if inside and Path(f"/proc/{child}/comm").read_text().strip() == "systemd":
                    return int(child)
        except (FileNotFoundError, ProcessLookupError):
            pass
        return None

    def _last_of_console(self) -> str:
        return "\n".join(self._console.read_text(errors="replace").splitlines()[-20:])

    # --- network

    def block(self) -> None:
        """Pulls the plug of the network to the other machines."""
        self._link("down")

    def unblock(self) -> None:
        self._link("up")

    def _link(self, state: str) -> None:
        self._logger.log(f"{self.name}: network {state}")
        subprocess.run(["ip", "link", "set", f"vb-{self.name}", state], check=True)

    # --- commands

    def execute(
        self,
        command: str,
        check_return: bool = True,
        check_output: bool = True,
        timeout: int | None = 900,
    ) -> tuple[int, str]:
        self.connect()
        status, output = self._command(f"set -euo pipefail; {command}", timeout, check_output)
        if not check_output:
            return (-2, "")
        return (status if check_return else -1, output)

    def _command(
        self, command: str, timeout: int | None, check_output: bool = True
    ) -> tuple[int, str]:
        assert self._leader is not None
        inside = ["env", "-i", f"PATH={_PATH}", "HOME=/root", "LANG=C.UTF-8"]
        if timeout is not None:
            inside += ["timeout", str(timeout)]
        enter = ["nsenter", "--target", str(self._leader), "--all", "--wd"]
        with self._stderr.open("ab") as stderr:
            process = subprocess.Popen(
                [*enter, *inside, "bash", "-c", command],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE if check_output else stderr,
                stderr=stderr,
            )
            if not check_output:
                return (0, "")
            output, _ = process.communicate()
        return (process.returncode, output.decode(errors="replace"))

    def succeed(self, *commands: str, timeout: int | None = None) -> str:
        output = ""
        for command in commands:
            with self._nested(f"must succeed: {command}"):
                status, out = self.execute(command, timeout=timeout)
                if status != 0:
                    said = f"{out[-2000:]}{self._last_stderr()}"
                    raise TestFailed(f"{self.name}: `{command}` failed with {status}\n{said}")
                output += out
        return output

    def fail(self, *commands: str, timeout: int | None = None) -> str:
        output = ""
        for command in commands:
            with self._nested(f"must fail: {command}"):
                status, out = self.execute(command, timeout=timeout)
                if status == 0:
                    raise TestFailed(f"{self.name}: `{command}` did not fail\n{out}")
                output += out
        return output

    def _last_stderr(self) -> str:
        lines = self._stderr.read_text(errors="replace").splitlines()
        return "\n".join(lines[-5:])

    def wait_until_succeeds(self, command: str, timeout: int = 900) -> str:
        return self._wait_for_status(command, timeout, lambda status: status == 0)

    def wait_until_fails(self, command: str, timeout: int = 900) -> str:
        return self._wait_for_status(command, timeout, lambda status: status != 0)

    def _wait_for_status(self, command: str, timeout: int, wanted: Callable[[int], bool]) -> str:
        output = ""

        def check(last: bool) -> bool:
            nonlocal output
            status, output = self.execute(command, timeout=timeout)
            if last and not wanted(status):
                self._logger.info(f"{self.name}: `{command}` gave {status}\n{output}")
            return wanted(status)

        with self._nested(f"waiting for: {command}"):
            retry(check, timeout)
        return output

    def sleep(self, secs: int) -> None:
        self.succeed(f"sleep {secs}")

    def wait_for_file(self, filename: str, timeout: int = 900) -> None:
        self.wait_until_succeeds(f"test -e {filename}", timeout)

    def wait_for_open_port(self, port: int, addr: str = "localhost", timeout: int = 900) -> None:
        self.wait_until_succeeds(f"true 2>/dev/null </dev/tcp/{addr}/{port}", timeout)

    def wait_for_closed_port(self, port: int, addr: str = "localhost", timeout: int = 900) -> None:
        self.wait_until_fails(f"true 2>/dev/null </dev/tcp/{addr}/{port}", timeout)

    # --- systemd

    def systemctl(self, q: str, user: str | None = None) -> tuple[int, str]:
        if user is not None:
            raise NotImplementedError("these machines have no users' systemd")
        return self.execute(f"systemctl {q}")

    def start_job(self, jobname: str, user: str | None = None) -> tuple[int, str]:
        return self.systemctl(f"start {jobname}", user)

    def stop_job(self, jobname: str, user: str | None = None) -> tuple[int, str]:
        return self.systemctl(f"stop {jobname}", user)

    def get_unit_info(self, unit: str, user: str | None = None) -> dict[str, str]:
        status, text = self.systemctl(f"--no-pager show {shlex.quote(unit)}", user)
        if status != 0:
            raise TestFailed(f"{self.name}: systemctl show {unit} failed with {status}")
        pairs = (line.split("=", 1) for line in text.splitlines() if "=" in line)
        return {name: value for name, value in pairs}

    def get_unit_property(self, unit: str, property: str, user: str | None = None) -> str:
        status, text = self.systemctl(
            f"--no-pager show {shlex.quote(unit)} --property={shlex.quote(property)}", user
        )
        if status != 0 or not text.startswith(f"{property}="):
            raise TestFailed(f"{self.name}: {unit} has no {property}: {text}")
        return text.split("=", 1)[1].rstrip("\n")

    def require_unit_state(self, unit: str, require_state: str = "active") -> None:
        state = self.get_unit_property(unit, "ActiveState")
        if state != require_state:
            raise TestFailed(f"{self.name}: {unit} is {state}, not {require_state}")

    def wait_for_unit(self, unit: str, user: str | None = None, timeout: int = 900) -> None:
        """Until it is active; a unit that has failed, or that nobody starts, is waited for no more."""

        def check(_last: bool) -> bool:
            state = self.get_unit_property(unit, "ActiveState", user)
            if state == "failed":
                raise TestFailed(f"{self.name}: {unit} has failed\n{self._journal_of(unit)}")
            if state == "inactive":
                _, jobs = self.systemctl("list-jobs --full 2>&1", user)
                if "No jobs" in jobs and self.get_unit_property(unit, "ActiveState") == state:
                    raise TestFailed(f"{self.name}: {unit} is inactive and nobody starts it")
            return state == "active"

        with self._nested(f"waiting for unit {unit}"):
            retry(check, timeout)

    def _journal_of(self, unit: str) -> str:
        return self.execute(f"journalctl --no-pager -n 20 -u {shlex.quote(unit)}")[1]

    # --- files

    def copy_from_host(self, source: str, target: str) -> None:
        self.connect()
        self.succeed(f"mkdir -p {shlex.quote(str(Path(target).parent))}")
        # What is mounted over the root inside (/run, /tmp) is seen through the first process only.
        inside = Path(f"/proc/{self._leader}/root") / target.lstrip("/")
        if Path(source).is_dir():
            shutil.copytree(source, inside, dirs_exist_ok=True)
        else:
            shutil.copy(source, inside)

    def copy_from_host_via_shell(self, source: str, target: str) -> None:
        self.copy_from_host(source, target)

    def last_journal(self, lines: int | str) -> str:
        """For the report of a failure: also of a machine that is down."""
        directory = self.root / "var/log/journal"
        command = ["journalctl", "--no-pager", f"--lines={lines}", f"--directory={directory}"]
        return subprocess.run(command, capture_output=True, text=True, check=False).stdout

    def _nested(self, text: str) -> AbstractContextManager[None]:
        return self._logger.nested(f"{self.name}: {text}")
