# A new kneard, one host after the other: the key moves first, and no block is missed.


def missed() -> int:
    """Blocks and chunks that our validator should have made and did not."""
    question = '{"jsonrpc":"2.0","id":"1","method":"validators","params":[null]}'
    ask = f"curl -sf -H 'Content-Type: application/json' -d '{question}' http://127.0.0.1:3030"
    answer = json.loads(arbiter.succeed(ask))["result"]["current_validators"]
    ours = next(entry for entry in answer if entry["account_id"] == "node3")
    blocks = ours["num_expected_blocks"] - ours["num_produced_blocks"]
    chunks = ours["num_expected_chunks"] - ours["num_produced_chunks"]
    return int(blocks + chunks)


def height() -> int:
    return int(json.loads(arbiter.succeed("curl -sf http://127.0.0.1:3030/status"))["sync_info"]["latest_block_height"])


def wait_for_blocks(count: int) -> None:
    """So many that ours is among them, and counted."""
    until(arbiter, f"[ $(curl -sf http://127.0.0.1:3030/status | sed 's/.*\"latest_block_height\": *\\([0-9]*\\).*/\\1/') -ge {height() + count} ]", 60)


def install_new_kneard(machine: Machine) -> str:
    """A package manager replaces the file under a running program; here it has another name."""
    program = f"/var/lib/kneard-{int(time.time())}"
    directory = "/run/systemd/system/kneard.service.d"
    machine.succeed(
        f"cp $(readlink /proc/{main_pid(machine)}/exe) {program}",
        f"mkdir -p {directory}",
        f"printf '[Service]\\nExecStart=\\nExecStart={program}\\n' >{directory}/upgrade.conf",
        "systemctl daemon-reload",
    )
    return program


def restart(machine: Machine) -> None:
    program = install_new_kneard(machine)
    old = main_pid(machine)
    machine.succeed("systemctl restart kneard.service")
    assert main_pid(machine) != old
    running = machine.succeed(f"readlink /proc/{main_pid(machine)}/exe").strip()
    assert running == program, running


def upgrade() -> int:
    """Of both hosts; how many blocks and chunks were missed."""
    validator = wait_for_validator()
    standby = other(validator)
    wait_standby(standby)
    wait_for_blocks(4)
    before = missed()

    with subtest("the standby first: the validator does not notice"):
        restart(standby)
        wait_standby(standby)
        validator.succeed(neard_has_key())

    with subtest("then the validator: the key moves first"):
        validator.succeed(f"{CTL} switchover --wait", timeout=60)
        wait_validates(standby)
        restart(validator)
        wait_standby(validator)

    wait_for_blocks(8)
    return missed() - before


boot()
# A machine that is busy with other tests may miss a block by itself.
for _ in range(3):
    lost = upgrade()
    report(f"two upgrades, blocks and chunks missed: {lost}; {verdict()}")
    if lost == 0:
        break
else:
    raise Exception("each time blocks or chunks were missed")
