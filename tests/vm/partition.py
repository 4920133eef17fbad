# The network between the hosts is cut: who can still ask most of Consul's servers validates.

validator = boot()
standby = other(validator)


def keeps_validating(machine: Machine, seconds: float) -> None:
    """Its neard has the key all the time."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        machine.succeed(neard_has_key())
        time.sleep(0.5)


with subtest("the standby is cut off: nothing happens to the validator"):
    standby.block()
    keeps_validating(validator, 2 * LEASE)
    standby.fail(neard_has_key())
    standby.unblock()
    wait_standby(standby)
    verdict()

wait_for_consul()
with subtest("the arbiter is cut off: two servers are enough"):
    arbiter.block()
    keeps_validating(validator, 2 * LEASE)
    standby.fail(neard_has_key())
    arbiter.unblock()
    verdict()

for number in range(max(ROUNDS, 2)):
    wait_for_consul()
    with subtest("the validator is cut off, and comes back"):
        validator.block()
        took = wait_validates(standby, 20)
        report(f"the validator is cut off: the standby signs after {took:.2f} s")
        assert took <= LEASE + 1, f"{took:.2f} s for a lease of {LEASE:.0f} s"
        validator.fail(neard_has_key())
        validator.unblock()
        wait_standby(validator)
        validator, standby = standby, validator
        verdict()

wait_for_consul()
with subtest("everybody is cut off: nobody signs, and one does afterwards"):
    for machine in hosts:
        machine.block()
    time.sleep(LEASE + 1)
    for machine in validators:
        machine.fail(neard_has_key())
    for machine in hosts:
        machine.unblock()
    validator = wait_for_validator(90)
    wait_standby(other(validator))

report(verdict())
