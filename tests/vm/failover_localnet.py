# Whatever happens to the validator's host, the other one takes over, once, and two never sign.

validator = boot()

with subtest("the status line says who validates, for whom, and who stands by"):
    line = rf"^StatusText=Validating as node3 since [0-9:]{{8}} UTC, height [0-9]+, standby: {other(validator).name}$"
    until(validator, f"systemctl show kneard.service -p StatusText | grep -Eq '{line}'", 20)

with subtest("its kneard is stopped in good order"):
    standby = other(validator)
    validator.succeed("systemctl stop kneard.service")
    report(f"systemctl stop: the standby signs after {wait_validates(standby, 10):.2f} s more")
    assert validator.get_unit_property("kneard.service", "Result") == "success"
    validator.succeed("systemctl start kneard.service")
    wait_standby(validator)
    validator = standby
    verdict()

times = []
for _ in range(max(ROUNDS, 5)):
    with subtest("its kneard is killed"):
        standby = other(validator)
        pid = main_pid(validator)
        validator.succeed(f"kill -9 {pid}")
        times.append(wait_validates(standby, 10))
        until(validator, f"[ $(systemctl show kneard.service -p MainPID --value) -gt {pid} ]", 20)
        wait_standby(validator)
        validator = standby
        verdict()
times.sort()
median = times[len(times) // 2]
report(f"kill -9 of kneard: the standby signs after {', '.join(f'{t:.2f}' for t in times)} s")
assert median <= 1.0, f"median {median:.2f} s"

with subtest("the journal tells state changes apart by fields"):
    ask = "journalctl MESSAGE_ID=d6195464258e448abe7c1b81b45ee0b2 KNEARD_STATE=Validating -n 1 -o json"
    entry = json.loads(validator.succeed(ask))
    assert entry["MESSAGE"] == "state changed: Voting -> Validating", entry
    assert entry["KNEARD_PEER"] == other(validator).name and entry["PRIORITY"] == "6", entry
    assert int(entry["KNEARD_TERM"]) == status(validator)["record"]["term"], entry
    assert entry["_SYSTEMD_UNIT"] == "kneard.service" and entry["KNEARD_NODE_ID"] == validator.name, entry

with subtest("its kneard hangs"):
    standby = other(validator)
    validator.succeed(f"kill -STOP {main_pid(validator)}")
    took = wait_validates(standby, 20)
    report(f"kill -STOP of kneard: the standby signs after {took:.2f} s")
    assert took < LEASE - 1.5, f"the watchdog was not first: {took:.2f} s"
    wait_standby(validator)
    validator.succeed("journalctl -u kneard.service --grep 'Watchdog timeout'")
    validator = standby
    verdict()

with subtest("its kneard, guard and neard hang"):
    standby = other(validator)
    validator.succeed("systemctl kill --kill-whom=all --signal=STOP kneard.service")
    took = wait_validates(standby, 20)
    report(f"kill -STOP of the whole service: the standby signs after {took:.2f} s")
    assert took < LEASE - 1.5, f"the watchdog was not first: {took:.2f} s"
    wait_standby(validator)
    validator = standby
    verdict()

wait_for_consul()
with subtest("its Consul agent stops"):
    standby = other(validator)
    validator.succeed("systemctl stop consul.service")
    took = wait_validates(standby, 20)
    report(f"stop of the validator's only Consul agent: the standby signs after {took:.2f} s")
    assert took <= LEASE + 1, f"{took:.2f} s for a lease of {LEASE:.0f} s"
    validator.fail(neard_has_key())
    validator.succeed("systemctl start consul.service")
    wait_standby(validator)
    validator = standby
    verdict()

wait_for_consul()
with subtest("its host is rebooted"):
    standby = other(validator)
    validator.shutdown()
    wait_validates(standby, 10)
    validator.start()
    validator.wait_for_unit("kneard.service")
    wait_standby(validator)
    validator = standby
    verdict()

times = []
for _ in range(ROUNDS):
    wait_for_consul()
    with subtest("the power of its host fails"):
        standby = other(validator)
        validator.crash()
        took = wait_validates(standby, 30)
        times.append(took)
        assert took <= LEASE + 1, f"{took:.2f} s for a lease of {LEASE:.0f} s"
        validator.start()
        wait_standby(validator)
        validator = standby
        verdict()
report(f"crash of the host: the standby signs after {', '.join(f'{t:.2f}' for t in times)} s")

wait_for_consul()
with subtest("its host is cut off from the others"):
    standby = other(validator)
    validator.block()
    took = wait_validates(standby, 20)
    report(f"the validator is cut off: the standby signs after {took:.2f} s")
    assert took <= LEASE + 1, f"{took:.2f} s for a lease of {LEASE:.0f} s"
    validator.fail(neard_has_key())
    validator.unblock()
    # Consul would try again only after half a minute.
    validator.execute("consul join arbiter")
    wait_standby(validator)
    validator = standby

report(verdict())
