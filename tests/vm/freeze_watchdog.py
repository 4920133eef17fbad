# What hangs is ended by the watchdog, within the lease, and started again.

validator = boot()


def signs_elsewhere(what: str, command: str) -> None:
    """The other one signs before the lease is over, and the one that hung comes back as a standby."""
    global validator
    standby = other(validator)
    validator.succeed(command)
    took = wait_validates(standby, 20)
    report(f"{what}: the standby signs after {took:.2f} s")
    assert took < LEASE, f"the lease was first: {took:.2f} s"
    wait_standby(validator)
    validator.succeed("journalctl -b -u kneard.service --grep 'Watchdog timeout'")
    validator = standby
    verdict()


for _ in range(max(ROUNDS, 2)):
    with subtest("kneard hangs"):
        signs_elsewhere("kneard hangs", f"kill -STOP {main_pid(validator)}")

with subtest("kneard, guard and neard hang"):
    command = "systemctl kill --kill-whom=all --signal=STOP kneard.service"
    signs_elsewhere("all of the service hangs", command)

with subtest("a standby that hangs is started again too, and the validator does not notice"):
    standby = other(validator)
    pid = main_pid(standby)
    standby.succeed(f"kill -STOP {pid}")
    until(standby, f"[ $(systemctl show kneard.service -p MainPID --value) -gt {pid} ]", 20)
    wait_standby(standby)
    validator.succeed(neard_has_key())

report(verdict())
