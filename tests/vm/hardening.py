# What the service cannot do, tried from inside its sandbox.

validator = boot()
machine = other(validator)
UNITS = "kneard.service kneard.socket kneard-exporter.socket kneard-manual.service"



def pids_of_service(machine: Machine) -> list[str]:
    """By its control group, in whichever hierarchy systemd has it."""
    ask = "find /sys/fs/cgroup -path '*/system.slice/kneard.service/cgroup.procs' | xargs cat | sort -un"
    return machine.succeed(ask).split()


def command_line(machine: Machine, pid: str) -> list[str]:
    return machine.succeed(f"tr '\\0' '\\n' </proc/{pid}/cmdline").splitlines()


with subtest("systemd-analyze finds nothing wrong and little exposed"):
    said = machine.succeed(f"systemd-analyze verify --man=no {UNITS} 2>&1")
    assert said == "", said
    for unit in ("kneard.service", "kneard-manual.service"):
        text = machine.succeed(f"systemd-analyze security --no-pager {unit}")
        exposure = float(text.strip().splitlines()[-1].split(":")[1].split()[0])
        report(f"systemd-analyze security {unit}: {exposure}")
        assert exposure <= 1.9, text

with subtest("what a command of the service can and cannot do"):
    cannot = {
        "read the password hashes": "cat /etc/shadow",
        "read the keys at their source": "cat /etc/credstore/kneard.validator_key.json",
        "look into homes": "ls /root/. /home/.",
        "write to /etc": "touch /etc/probe",
        "write to the programs": "touch /usr/bin/probe",
        "write beside its state": "touch /var/lib/probe",
        "see the first process": "ls -d /proc/1",
        "signal the first process": "kill -0 1",
        "change a kernel parameter": "echo 1 >/proc/sys/kernel/panic",
        "read the log of the kernel": "dmesg",
        "make a set-user-id file": f"touch {HOME}/probe-suid && chmod u+s {HOME}/probe-suid",
        "make a user namespace": "unshare --user true",
        "mount": "mount -t tmpfs none /mnt",
        "open a netlink socket": "ip link show",
        "set the clock": "date -s @0",
        "set the host name": "hostname probe",
        "see devices": "ls /dev/mem /dev/kmsg /dev/net/tun",
    }
    can = {
        "write its state": f"touch {HOME}/probe-state",
        "reach the network": "exec 3<>/dev/tcp/127.0.0.1/8500",
    }
    lines = []
    for what, command in {**cannot, **can}.items():
        lines.append(f"if bash -c '{command}' >/dev/null 2>&1; then echo 'can {what}'; else echo 'cannot {what}'; fi")
    probe = "\n".join(lines)
    text = base64.b64encode(probe.encode()).decode()
    directory = "/run/systemd/system/kneard.service.d"
    machine.succeed(
        f"mkdir -p {directory} && echo {text} | base64 -d >/etc/probe.sh",
        f"printf '[Service]\\nExecStartPre=/bin/sh -c \"sh /etc/probe.sh >{HOME}/probe\"\\n' >{directory}/probe.conf",
        "systemctl daemon-reload && systemctl restart kneard.service",
    )
    found = set(machine.succeed(f"cat {HOME}/probe").splitlines())
    wanted = {f"cannot {what}" for what in cannot} | {f"can {what}" for what in can}
    assert found == wanted, f"{sorted(found - wanted)} instead of {sorted(wanted - found)}"
    machine.succeed(f"rm {directory}/probe.conf && systemctl daemon-reload")
    # The probe is not blind: without the sandbox most of it works.
    free = set(machine.succeed("sh /etc/probe.sh").splitlines())
    for what in ("read the password hashes", "write to /etc", "see the first process", "mount"):
        assert f"can {what}" in free, sorted(free)
    wait_standby(machine)

with subtest("kneard, its guard and neard are all in it"):
    pids = pids_of_service(machine)
    assert len(pids) == 3, pids
    for pid in pids:
        text = machine.succeed(f"cat /proc/{pid}/status")
        fields = dict(line.split(":\t", 1) for line in text.splitlines() if ":\t" in line)
        user = machine.succeed("id -u kneard").strip()
        assert fields["Uid"].split() == [user] * 4, fields["Uid"]
        facts = (fields["CapEff"].strip("0"), fields["NoNewPrivs"], fields["Seccomp"])
        assert facts == ("", "1", "2"), f"{fields['Name']}: {facts}"

with subtest("the guard is locked in memory and has a real-time priority, where the machine allows it"):
    [guard] = [pid for pid in pids_of_service(machine) if "guard" in command_line(machine, pid)]
    neard = str(neard_pid(machine))

    def number(pid: str, file: str, name: str) -> int:
        line = machine.succeed(f"grep '^{name}' /proc/{pid}/{file}")
        return int(line[len(name):].split()[0].replace("unlimited", "-1"))

    # A container whose host sets the limits lower does not get what the unit asks for.
    may_lock = number(guard, "limits", "Max locked memory") == 64 << 20
    may_hurry = number(guard, "limits", "Max realtime priority") == 1
    locked = number(guard, "status", "VmLck:")
    policy = machine.succeed(f"chrt -p {guard} | head -n 1").split(": ")[-1].strip()
    assert (locked > 0) == may_lock, f"{locked} kB locked, allowed: {may_lock}"
    assert policy.startswith("SCHED_FIFO") == may_hurry, f"{policy}, allowed: {may_hurry}"
    assert number(neard, "status", "VmLck:") == 0
    report(f"the guard: {policy}, {locked} kB locked (this machine allows: {may_hurry}, {may_lock})")

report(verdict())
