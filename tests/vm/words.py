# Words that all scripts here share; they stand before each script. What they expect of the machines
# is in README.md.

import base64
import json
import tempfile
import time
from typing import Any

validators = [validator1, validator2]
#: All; the driver's own list does not say which kind they are.
hosts = [arbiter, *validators]
#: As kneard has it by default.
LEASE = 7.0
ROUNDS = int(os.environ.get("KNEARD_VM_ROUNDS", "1"))

HOME = "/var/lib/kneard"
EXPORTER = "http://127.0.0.1:2233"
CTL = "kneard-ctl --control-socket /run/kneard/control.sock"


def other(machine: Machine) -> Machine:
    """The other validator."""
    return validator2 if machine is validator1 else validator1


def until(machine: Machine, command: str, seconds: int, pause: float = 0.05) -> float:
    """Waits inside the machine, to the pause's precision; how long it took, in seconds."""
    started = time.monotonic()
    machine.succeed(f"until {command}; do sleep {pause}; done", timeout=seconds)
    return time.monotonic() - started


def state_is(state: str) -> str:
    """A command: kneard is in this state."""
    metrics = f"curl -sf --max-time 2 {EXPORTER}/metrics"
    return f"{metrics} | grep -q 'kuutamod_state{{type=\"{state}\"}} 1'"


def neard_has_key(wanted: bool = True) -> str:
    """A command: neard says that it signs with a key, or with none."""
    key = '"ed25519:' if wanted else "null"
    status = "curl -sf --max-time 2 http://127.0.0.1:3030/status"
    return f"{status} | grep -q '\"validator_public_key\": *{key}'"


def wait_validates(machine: Machine, seconds: int = 60) -> float:
    """Until its neard has the key and the election knows; the time to the former."""
    took = until(machine, neard_has_key(), seconds, 0.02)
    until(machine, state_is("Validating"), seconds)
    until(machine, f"{CTL} active-validator | grep -qx 'Name: {machine.name}'", seconds)
    return took


def wait_standby(machine: Machine, seconds: int = 90) -> None:
    """Until it is one that could take over at once: it follows the other's beats, too."""
    until(machine, state_is("Voting"), seconds)
    record = f'"holder":"{other(machine).name}".*"state":"active"'
    sees = f"{CTL} --json status | tr -d ' \\n' | grep -q '{record}'"
    until(machine, sees, seconds)
    # A neard that has just started is not told to reload.
    ready = "[ $(curl -sf http://127.0.0.1:3030/status | sed 's/.*\"uptime_sec\": *\\([0-9]*\\).*/\\1/') -ge 2 ]"
    until(machine, ready, 20, 0.2)


def wait_for_consul() -> None:
    """Until Consul can lose a server again: before a fault that takes one."""
    ask = "curl -sf --max-time 2 http://127.0.0.1:8500/v1"
    healthy = f"{ask}/operator/autopilot/health | grep -q '\"Healthy\":true,\"FailureTolerance\":1'"
    # Also by this server's own gossip: it would not find the next leader otherwise.
    members = f"{ask}/agent/members | grep -Eo '\"Status\": ?1\\b' | wc -l"
    for machine in hosts:
        until(machine, f"{healthy} && [ $({members}) = {len(hosts)} ]", 90, 0.2)


def boot() -> Machine:
    """All machines up, one validator and one standby; the validator."""
    start_all()
    for machine in hosts:
        machine.wait_for_unit("multi-user.target")
    for machine in validators:
        machine.wait_for_unit("kneard.service")
    validator = wait_for_validator()
    wait_standby(other(validator))
    return validator


def wait_for_validator(seconds: int = 60) -> Machine:
    """The one that validates."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        for machine in validators:
            if machine.is_up() and machine.execute(state_is("Validating"))[0] == 0:
                wait_validates(machine)
                return machine
        time.sleep(0.2)
    raise Exception(f"nobody validates within {seconds} s")


def main_pid(machine: Machine, unit: str = "kneard.service") -> int:
    return int(machine.get_unit_property(unit, "MainPID"))


def status(machine: Machine) -> Any:
    return json.loads(machine.succeed(f"{CTL} --json status"))


def neard_pid(machine: Machine) -> int:
    return int(machine.succeed(f"curl -sf {EXPORTER}/neard-pid"))


def verdict() -> str:
    """The checker's word on all that the validators' nodes have signed; fails if two could sign."""
    for machine in validators:
        # They may be written to meanwhile, which tar does not like.
        copy = "rm -rf /var/tmp/signed && mkdir /var/tmp/signed"
        copy += f" && cp {HOME}/signatures.* /var/tmp/signed/"
        packed = machine.succeed(f"{copy} && tar -C /var/tmp/signed -cf - . | base64 -w 0")
        with tempfile.NamedTemporaryFile() as file:
            file.write(base64.b64decode(packed))
            file.flush()
            arbiter.copy_from_host(file.name, f"/var/tmp/check/{machine.name}.tar")
        unpack = f"cd /var/tmp/check && mkdir -p {machine.name} && tar -C {machine.name} -xf {machine.name}.tar"
        arbiter.succeed(unpack)
    homes = " ".join(f"/var/tmp/check/{machine.name}" for machine in validators)
    said = arbiter.succeed(f"signature-check {homes} | tail -n 1").strip()
    assert said.startswith("verdict: 0 overlaps, 0 equivocations,"), said
    return said


def report(text: str) -> None:
    """A figure for whoever reads the run's output."""
    print(f"    {text}", flush=True)
