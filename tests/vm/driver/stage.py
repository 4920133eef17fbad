"""The machines of a run: two validators and an arbiter on one bridge, ready to boot.

Everything lives in the mount and network namespaces of this process, and goes with them.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from .log import Logger
from .machine import Machine

#: In the order of their addresses, as the NixOS driver gives them out: by name.
NAMES = ("arbiter", "validator1", "validator2")
VALIDATORS = ("validator1", "validator2")
ADDRESSES = {name: f"192.168.1.{number}" for number, name in enumerate(NAMES, start=1)}
#: Nodes of the chain, on the arbiter. The fourth validator is the one that fails over.
NODES = 3
ACCOUNT = "node3"

#: Nothing that a test needs, and it costs time at every boot.
_MASKED = (
    "console-getty.service",
    "getty.target",
    "systemd-logind.service",
    "systemd-update-utmp.service",
    "systemd-networkd-wait-online.service",
    "apt-daily.timer",
    "apt-daily-upgrade.timer",
    "dpkg-db-backup.timer",
    "e2scrub_all.timer",
    "fstrim.timer",
    "systemd-tmpfiles-clean.timer",
)

_NETWORK_UNIT = """[Unit]
Description=The test network
DefaultDependencies=no
Before=network-online.target network.target
[Service]
Type=oneshot
RemainAfterExit=yes
ExecStart=ip link set host0 up
ExecStart=ip address replace {address}/24 dev host0
[Install]
WantedBy=multi-user.target network-online.target
"""

_CONSUL_UNIT = """[Unit]
Description=Consul
After=network-online.target
Wants=network-online.target
[Service]
ExecStart=/usr/bin/consul agent -config-file=/etc/consul.json
Restart=on-failure
[Install]
WantedBy=multi-user.target
"""

_NODE_UNIT = """[Unit]
Description=Node %i of the chain
After=network-online.target
Wants=network-online.target
[Service]
ExecStart=/usr/bin/neard --home /var/lib/near/node%i run
[Install]
WantedBy=multi-user.target
"""


@dataclass(frozen=True)
class Programs:
    """Where the host has what the machines run."""

    image: Path
    bin: Path
    consul: Path
    units: Path


def build(
    programs: Programs, chain_id: str, directory: Path, run: str, logger: Logger, logs: Path
) -> list[Machine]:
    """Makes network, disks and machines. `directory` is empty, and in memory if it can be."""
    _network()
    chain = directory / "chain"
    _make_chain(programs, chain, chain_id)
    common = directory / "common"
    _fill_common(programs, common)
    machines = []
    for name in NAMES:
        root = _mount(programs.image, common, directory / name)
        _fill_machine(root, name, chain)
        # A program of 70 MB is not worth a copy in memory.
        binds = {programs.consul: "/usr/bin/consul"}
        machines.append(Machine(name, root, run, binds, logger, logs))
    return machines


def _network() -> None:
    for command in ("link set lo up", "link add br0 type bridge", "link set br0 up"):
        subprocess.run(["ip", *command.split()], check=True)


def _mount(image: Path, common: Path, directory: Path) -> Path:
    root = directory / "root"
    for part in ("upper", "work", "root"):
        (directory / part).mkdir(parents=True)
    options = f"lowerdir={common}:{image},upperdir={directory / 'upper'},workdir={directory / 'work'}"
    subprocess.run(["mount", "-t", "overlay", "overlay", "-o", options, str(root)], check=True)
    return root


def _write(path: Path, text: str, mode: int = 0o644) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    path.chmod(mode)


def _install(source: Path, target: Path, mode: int = 0o644) -> None:
    target.parent.mkdir(parents=True, exist_ok=True)
    shutil.copyfile(source, target)
    target.chmod(mode)


def _fill_common(programs: Programs, root: Path) -> None:
    """As a package of kneard would install it."""
    for program in ("kneard", "kneard-ctl", "neard", "signature-check"):
        _install(programs.bin / program, root / "usr/bin" / program, 0o755)
    for unit in programs.units.iterdir():
        if unit.suffix in (".service", ".socket"):
            _install(unit, root / "usr/lib/systemd/system" / unit.name)
    _install(programs.units / "kneard.sysusers", root / "usr/lib/sysusers.d/kneard.conf")
    _install(programs.units / "kneard.tmpfiles", root / "usr/lib/tmpfiles.d/kneard.conf")
    system = root / "etc/systemd/system"
    system.mkdir(parents=True)
    for unit_name in _MASKED:
        (system / unit_name).symlink_to("/dev/null")
    _write(system / "consul.service", _CONSUL_UNIT)
    _write(system / "chain-node@.service", _NODE_UNIT)
    hosts = "".join(f"{address} {name}\n" for name, address in ADDRESSES.items())
    _write(root / "etc/hosts", "127.0.0.1 localhost\n" + hosts)
    # All that is logged, also over a crash.
    (root / "var/log/journal").mkdir(parents=True)
    _write(
        root / "etc/systemd/journald.conf.d/test.conf",
        "[Journal]\nStorage=persistent\nRateLimitBurst=0\nSyncIntervalSec=1s\nAudit=no\n",
    )
    # A first boot would apply presets.
    _write(root / "etc/machine-id", uuid.uuid4().hex + "\n")


def _fill_machine(root: Path, name: str, chain: Path) -> None:
    _write(root / "etc/hostname", f"{name}\n")
    _write(root / "etc/machine-id", uuid.uuid4().hex + "\n")
    system = root / "etc/systemd/system"
    _write(system / "test-network.service", _NETWORK_UNIT.format(address=ADDRESSES[name]))
    _enable(root, "test-network.service", "/etc/systemd/system", "network-online.target")
    _consul(root, name)
    if name in VALIDATORS:
        _validator(root, name, chain)
    else:
        for number in range(NODES):
            home = root / f"var/lib/near/node{number}"
            shutil.copytree(chain / f"node{number}", home)
            unit = f"chain-node@{number}.service"
            _enable(root, unit, "/etc/systemd/system", template="chain-node@.service")


def _enable(
    root: Path,
    unit: str,
    where: str,
    target: str = "multi-user.target",
    template: str | None = None,
) -> None:
    wants = root / f"etc/systemd/system/{target}.wants"
    wants.mkdir(parents=True, exist_ok=True)
    (wants / unit).symlink_to(f"{where}/{template or unit}")


def _consul(root: Path, name: str) -> None:
    settings = {
        "server": True,
        "bootstrap_expect": len(NAMES),
        "node_name": name,
        "data_dir": "/var/lib/consul",
        "bind_addr": ADDRESSES[name],
        "client_addr": "127.0.0.1",
        "retry_join": [address for other, address in ADDRESSES.items() if other != name],
        "retry_interval": "1s",
        "performance": {"raft_multiplier": 1},
        "ports": {"dns": -1, "serf_wan": -1, "grpc": -1},
        # Or Consul ends the holder's session some seconds after its host, in one case of eight
        # before the lease ends, and then makes the standby wait out the lock's delay.
        "autopilot": {"cleanup_dead_servers": False},
        "leave_on_terminate": False,
        "skip_leave_on_interrupt": True,
        "disable_update_check": True,
        "log_level": "info",
    }
    _write(root / "etc/consul.json", json.dumps(settings, indent=2))
    _enable(root, "consul.service", "/etc/systemd/system")


def _validator(root: Path, name: str, chain: Path) -> None:
    subprocess.run(["systemd-sysusers", f"--root={root}"], check=True, capture_output=True)
    passwd = dict(line.split(":", 1) for line in (root / "etc/passwd").read_text().splitlines())
    uid, gid = (int(number) for number in passwd["kneard"].split(":")[1:3])
    home = root / "var/lib/kneard"
    home.mkdir(parents=True)
    for file in ("config.json", "genesis.json", "node_key.json"):
        # Each its own node key, that of a node which does not run.
        number = NODES + 1 + VALIDATORS.index(name)
        _install(chain / f"node{number}" / file, home / file, 0o600)
    for path in (home, *home.iterdir()):
        os.chown(path, uid, gid)

    store = root / "etc/credstore"
    store.mkdir(mode=0o700, exist_ok=True)
    key = chain / ACCOUNT / "validator_key.json"
    _install(key, store / "kneard.validator_key.json", 0o600)
    settings = {
        "KUUTAMO_NODE_ID": name,
        "KUUTAMO_CONSUL_URL": "http://127.0.0.1:8500",
        "KUUTAMO_NEARD_BOOTNODES": _boot_node(chain),
    }
    text = "".join(f"{name}={value}\n" for name, value in settings.items())
    _write(root / "etc/kneard/kneard.env", text)
    _enable(root, "kneard.service", "/usr/lib/systemd/system")
    for socket in ("kneard.socket", "kneard-exporter.socket"):
        _enable(root, socket, "/usr/lib/systemd/system", "sockets.target")


def _boot_node(chain: Path) -> str:
    key = json.loads((chain / "node0/node_key.json").read_text())["public_key"]
    return f"{key}@{ADDRESSES['arbiter']}:24567"


def _make_chain(programs: Programs, chain: Path, chain_id: str) -> None:
    """The homes of four validators and two more, for the kneards."""
    chain.mkdir()
    command = [str(programs.bin / "neard"), "--home", str(chain)]
    command += ["localnet", "--shards", "1", "--v", str(NODES + 1), "--n", "2"]
    subprocess.run(command, check=True, capture_output=True)
    for number in range(NODES + 3):
        home = chain / f"node{number}"
        on_arbiter = number < NODES
        with _edited(home / "config.json") as config:
            offset = number if on_arbiter else 0
            config["rpc"]["addr"] = f"{'0.0.0.0' if on_arbiter else '127.0.0.1'}:{3030 + offset}"
            config["network"]["addr"] = f"0.0.0.0:{24567 + offset}"
            config["network"]["boot_nodes"] = _boot_node(chain) if 0 < number < NODES else ""
            config["consensus"]["min_num_peers"] = 1
            if chain_id != "localnet":
                # Those of the chain hold keys from the start, which on a public chain forbids
                # tracking all shards; a standby follows the shards of its validator.
                config.pop("tracked_shards", None)
                shards: Any = "NoShards" if on_arbiter else {"ShadowValidator": ACCOUNT}
                config["tracked_shards_config"] = shards
                config.setdefault("store", {})["load_mem_tries_for_tracked_shards"] = True
        with _edited(home / "genesis.json") as genesis:
            genesis["chain_id"] = chain_id
            genesis["epoch_length"] = 10_000


@contextmanager
def _edited(path: Path) -> Iterator[dict[str, Any]]:
    """A JSON file, written back at the end of the block."""
    value: dict[str, Any] = json.loads(path.read_text())
    yield value
    path.write_text(json.dumps(value, indent=2))
