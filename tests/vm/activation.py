# The sockets are systemd's: the first connection starts kneard, and a restart loses none.

validator = boot()
machine = other(validator)
CONTROL = "/run/kneard/control.sock"
URL = f"{EXPORTER}/health"


def stop() -> None:
    machine.succeed("systemctl stop kneard.service")
    machine.require_unit_state("kneard.service", "inactive")


with subtest("the sockets are there while kneard is not, and carry their names"):
    # systemd may pass them in either order.
    wanted = "LISTEN_FDNAMES=(control:exporter|exporter:control)"
    names = f"tr '\\0' '\\n' </proc/{main_pid(machine)}/environ | grep -Ex '{wanted}'"
    machine.succeed(names)
    mode = machine.succeed(f"stat -c '%A %U:%G' {CONTROL}").strip()
    assert mode == "srw-rw---- root:kneard", mode
    inode = machine.succeed(f"stat -c %i {CONTROL}")
    stop()
    assert inode == machine.succeed(f"stat -c %i {CONTROL}"), "another control socket"

with subtest("the first connection to the exporter starts kneard"):
    machine.succeed(f"curl -sf --max-time 30 {URL}")
    machine.wait_for_unit("kneard.service")

with subtest("the first connection to the control socket starts kneard"):
    stop()
    machine.succeed(f"{CTL} status")
    machine.wait_for_unit("kneard.service")
    wait_standby(machine)

with subtest("kneard binds its own sockets where there are none of systemd's"):
    machine.succeed(
        "systemctl stop kneard.socket kneard-exporter.socket kneard.service",
        # Alone, since Sockets= would pull them in. (A runtime mask would be weaker than NixOS' units.)
        "systemctl start --job-mode=ignore-dependencies kneard.service",
        f"curl -sf --max-time 30 {URL}",
        "kneard-ctl --control-socket /run/kneard/daemon/control.sock status",
        "systemctl stop kneard.service",
        "systemctl start kneard.socket kneard-exporter.socket kneard.service",
    )
    wait_standby(machine)

with subtest("1,000 connections across ten restarts, none refused"):
    ask = f"curl -s -o /dev/null --max-time 60 -w '%{{http_code}}\\n' {URL} || echo refused $?"
    worker = f"for i in $(seq 250); do {ask}; sleep 0.02; done"
    machine.succeed("rm -rf /var/tmp/asked && mkdir /var/tmp/asked")
    for number in range(4):
        machine.execute(f"({worker}) >/var/tmp/asked/{number} 2>&1 &", check_output=False)
    for number in range(10):
        # Spread over all of them.
        until(machine, f"[ $(cat /var/tmp/asked/* | wc -l) -ge {number * 95} ]", 60)
        machine.succeed("systemctl restart kneard.service")
    until(machine, "[ $(cat /var/tmp/asked/* | wc -l) -ge 1000 ]", 60)
    answers = machine.succeed("cat /var/tmp/asked/* | sort | uniq -c").split()
    assert answers == ["1000", "200"], answers
    report("1,000 connections across ten restarts: every one answered")
    wait_standby(machine)

report(verdict())
