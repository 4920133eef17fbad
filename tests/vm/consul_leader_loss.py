# Consul loses its leader again and again, and the validator signs on: an election is shorter than a lease.

validator = boot()


def leader() -> Machine:
    address = arbiter.succeed("curl -sf http://127.0.0.1:8500/v1/status/leader").strip().strip('"')
    host = address.rsplit(":", 1)[0]
    for machine in hosts:
        # Not through `grep -q`: it ends early, and with pipefail that may look like a no.
        if machine.succeed(f"ip -o address show to {host}").strip():
            return machine
    raise Exception(f"no machine has {host}")


def term() -> int:
    return int(status(validator)["record"]["term"])


def give_the_leadership(machine: Machine) -> None:
    """Consul's leader stops until it is one whose loss leaves the validator its agent."""
    for _ in range(10):
        current = leader()
        if current is not machine:
            return
        current.succeed("systemctl restart consul.service")
        until(arbiter, "curl -sf http://127.0.0.1:8500/v1/status/leader | grep -q :", 30)
        wait_for_consul()
    raise Exception("the same server is elected each time")


for _ in range(max(ROUNDS, 2)):
    with subtest("the leader is killed"):
        wait_for_consul()
        give_the_leadership(validator)
        validator = wait_for_validator()
        wait_standby(other(validator))
        if leader() is validator:
            continue
        before = term()
        lost = leader()
        lost.succeed("systemctl kill --signal=KILL consul.service")
        end = time.monotonic() + 2 * LEASE
        while time.monotonic() < end:
            validator.succeed(neard_has_key())
            time.sleep(0.5)
        assert term() == before, "the validator lost its lock"
        lost.succeed("systemctl start consul.service")
        report(f"the leader on {lost.name} was killed: {validator.name} kept the key")
        verdict()

report(verdict())
