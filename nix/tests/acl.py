# Consul with access control: nothing is allowed but what kneard's policy says.

validator = boot()
API = "http://127.0.0.1:8500/v1"


def may(machine: Machine, request: str) -> str:
    """A command: this machine's kneard may ask that."""
    token = f"/run/secrets/{machine.name}"
    return f'curl -sf -o /dev/null -H "X-Consul-Token: $(cat {token})" {request}'


with subtest("a new policy and token are written by the unit, and a second run changes nothing"):
    arbiter.wait_for_unit("consul-kneard-acl.service")
    arbiter.succeed("systemctl restart consul-kneard-acl.service")
    said = arbiter.succeed("journalctl -b -u consul-kneard-acl.service -o cat")
    assert said.count("token for kneard-validator1 made") == 1, said
    assert said.count("policy kneard-validator1 brought up to date") == 1, said

with subtest("without a token nothing can be read or written"):
    for request in ("kv/kuutamod-leader/node3", "kv/kuutamod-nodes/node3?recurse"):
        validator.fail(f"curl -sf {API}/{request}")
    validator.fail(f"curl -sf -X PUT -d '{{}}' {API}/session/create")

with subtest("kneard's token is good for its own entries only"):
    validator.succeed(may(validator, f"{API}/kv/kuutamod-leader/node3"))
    validator.fail(may(validator, f"-X PUT -d x {API}/kv/kuutamod-leader/somebody.near"))
    validator.fail(may(validator, f"-X PUT -d x {API}/kv/anything"))
    validator.fail(may(validator, f"{API}/acl/tokens"))
    elsewhere = json.dumps({"Node": other(validator).name})
    validator.fail(may(validator, f"-X PUT -d '{elsewhere}' {API}/session/create"))

with subtest("the standby takes over with its own token"):
    standby = other(validator)
    validator.crash()
    took = wait_validates(standby, 30)
    report(f"crash of the host, with access control: the standby signs after {took:.2f} s")
    assert took <= LEASE + 1, f"{took:.2f} s for a lease of {LEASE:.0f} s"
    validator.start()
    wait_standby(validator)

with subtest("no token is in the store, a command line or the log"):
    validator.fail(f"journalctl -b -o cat | grep -qF \"$(cat /run/secrets/{validator.name})\"")

report(verdict())
