# neard without failover, for the day on which failover is broken: not while another node may validate.

validator = boot()
standby = other(validator)
MANUAL = "kneard-manual.service"
SOCKETS = "kneard.socket kneard-exporter.socket"
KNEARD = f"{SOCKETS} kneard.service"


def refused(machine: Machine, why: str) -> None:
    machine.succeed(f"systemctl reset-failed {MANUAL} || true", f"systemctl start {MANUAL} || true")
    until(machine, f"systemctl is-failed {MANUAL}", 30)
    assert machine.get_unit_property(MANUAL, "ExecMainStatus") == "3"
    said = machine.succeed(f"journalctl -u {MANUAL} -n 5 -o cat")
    assert why in said and "KNEARD_MANUAL_FORCE=true" in said, said
    machine.fail(neard_has_key())


with subtest("it does not start while another node holds the lock"):
    refused(standby, f"{validator.name} on {validator.name} takes part in the election (Validating)")
    # That stopped kneard here; the validator has not noticed.
    standby.fail("systemctl is-active kneard.service kneard.socket kneard-exporter.socket")
    validator.succeed(neard_has_key())
    verdict()

with subtest("it starts where nobody takes part, and a scrape does not end it"):
    validator.succeed(f"systemctl stop {KNEARD}")
    standby.succeed(f"systemctl start {MANUAL}")
    until(standby, neard_has_key(), 30)
    standby.fail(f"curl -sf --max-time 2 {EXPORTER}/health", f"{CTL} status")
    standby.require_unit_state(MANUAL)
    user = standby.succeed(f"stat -c %U /proc/{main_pid(standby, MANUAL)}").strip()
    assert user == "kneard", user

with subtest("kneard ends it, and takes over from there"):
    standby.succeed(f"systemctl start {KNEARD}")
    standby.require_unit_state(MANUAL, "inactive")
    wait_validates(standby)
    validator.succeed(f"systemctl start {KNEARD}")
    wait_standby(validator)
    verdict()

validator, standby = standby, validator

with subtest("it waits for the lease of one that lost its lock"):
    standby.succeed(f"systemctl stop {KNEARD}")
    validator.block()
    entry = f"http://127.0.0.1:8500/v1/kv/kuutamod-nodes/node3/{validator.name}"
    until(standby, f"! curl -sf {entry} | grep -q Session", 90, 0.5)
    standby.succeed(f"systemctl start {MANUAL}")
    until(standby, neard_has_key(), 30)
    validator.fail(neard_has_key())
    verdict()
    standby.succeed(f"systemctl stop {MANUAL}")
    standby.fail(f"test -e {HOME}/validator_key.json")
    validator.unblock()
    # Consul would try again only after half a minute.
    validator.execute("consul join arbiter")
    verdict()

with subtest("without Consul it starts on an operator's word only"):
    # Which has to be true.
    validator.succeed(f"systemctl stop {KNEARD}")
    standby.succeed("systemctl stop consul.service")
    refused(standby, "Consul cannot say who validates")
    directory = f"/run/systemd/system/{MANUAL}.d"
    standby.succeed(
        f"mkdir -p {directory}",
        f"printf '[Service]\\nEnvironment=KNEARD_MANUAL_FORCE=true\\n' >{directory}/force.conf",
        "systemctl daemon-reload",
        f"systemctl reset-failed {MANUAL}",
        f"systemctl start {MANUAL}",
    )
    until(standby, neard_has_key(), 30)

report(verdict())
