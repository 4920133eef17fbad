# chain: testnet
# On a public chain a neard that tracks all shards cannot be given the key: kneard says so in time.

validator = boot()
standby = other(validator)

with subtest("the power of its host fails"):
    validator.crash()
    took = wait_validates(standby, 30)
    report(f"crash of the host on testnet: the standby signs after {took:.2f} s")
    assert took <= LEASE + 1, f"{took:.2f} s for a lease of {LEASE:.0f} s"
    validator.start()
    wait_standby(validator)
    validator, standby = standby, validator
    verdict()

with subtest("its kneard is killed, and the standby needs no restart"):
    pid = neard_pid(standby)
    validator.succeed(f"kill -9 {main_pid(validator)}")
    took = wait_validates(standby, 10)
    report(f"kill -9 of kneard on testnet: the standby signs after {took:.2f} s")
    assert neard_pid(standby) == pid, "neard was restarted"
    wait_standby(validator)
    validator, standby = standby, validator
    verdict()

with subtest("a standby that tracks all shards says what to change, and gives the key back"):
    config = f"{HOME}/config.json"
    standby.succeed(
        f"cp -p {config} /root/config.json",
        f"sed -i -z 's/\"tracked_shards_config\": *{{[^}}]*}}/\"tracked_shards_config\": \"AllShards\"/' {config}",
        f"grep -q AllShards {config}",
        "systemctl restart kneard.service",
    )
    wait_standby(standby)
    validator.succeed("systemctl restart kneard.service")
    until(standby, "journalctl -u kneard.service -o cat | grep -q 'set \"tracked_shards_config\": {\"ShadowValidator\": \"node3\"}'", 30)
    wait_validates(validator, 90)
    verdict()
    standby.succeed(f"cp -p /root/config.json {config}", "systemctl restart kneard.service")
    wait_standby(standby)

report(verdict())
