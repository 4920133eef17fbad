# The validator key comes as a credential, and is nowhere else.

validator = boot()
standby = other(validator)
KEY = "/run/credentials/kneard.service/validator_key.json"


def drop_in(machine: Machine, *lines: str) -> None:
    directory = "/run/systemd/system/kneard.service.d"
    text = "\\n".join(("[Service]", *lines))
    machine.succeed(
        f"mkdir -p {directory}",
        f"printf '{text}\\n' >{directory}/test.conf",
        "systemctl daemon-reload",
    )


def secret_is_in(machine: Machine, where: str) -> str:
    """A command: some regular file there holds the key's secret."""
    return f"grep -rqF --devices=skip --file=/root/secret {where}"


for machine in validators:
    # Not in a command line, where it would be found.
    secret = "s/.*\"secret_key\": *\"\\([^\"]*\\)\".*/\\1/p"
    machine.succeed(
        f"sed -n '{secret}' /etc/credstore/kneard.validator_key.json >/root/secret",
        "grep -q '^ed25519:' /root/secret",
    )

with subtest("the validator's home has a link to it, the standby's has none"):
    link = validator.succeed(f"readlink {HOME}/validator_key.json").strip()
    assert link == KEY, link
    standby.fail(f"test -L {HOME}/validator_key.json", f"test -e {HOME}/validator_key.json")
    for machine in validators:
        # grep does not follow links: nothing was copied.
        machine.fail(secret_is_in(machine, HOME), secret_is_in(machine, "/run/kneard"))

with subtest("nobody else can read it"):
    # The runner of this command is root, who may of course.
    validator.fail(f"setpriv --reuid=nobody --clear-groups cat {KEY}")
    validator.fail("setpriv --reuid=nobody --clear-groups cat /etc/credstore/kneard.validator_key.json")
    # In no command line and no environment.
    validator.fail(secret_is_in(validator, "/proc/[0-9]*/cmdline"))
    validator.fail(secret_is_in(validator, "/proc/[0-9]*/environ"))
    validator.fail(secret_is_in(validator, "/var/log"))

with subtest("without the key kneard says what to do, once"):
    standby.succeed("mv /etc/credstore/kneard.validator_key.json /root/key")
    standby.fail("systemctl restart kneard.service")
    until(standby, "systemctl is-failed kneard.service", 10)
    assert standby.get_unit_property("kneard.service", "ExecMainStatus") == "2"
    said = standby.succeed("journalctl -u kneard.service -n 20 -o cat")
    assert "name the key file with --validator-key" in said, said
    standby.succeed("mv /root/key /etc/credstore/kneard.validator_key.json")

with subtest("an encrypted key is opened for the service"):
    standby.succeed(
        "mkdir -p -m 700 /etc/credstore.encrypted",
        "systemd-creds encrypt --with-key=host --name=validator_key.json"
        " /etc/credstore/kneard.validator_key.json"
        " /etc/credstore.encrypted/kneard.validator_key.json",
        "mv /etc/credstore/kneard.validator_key.json /root/key",
    )
    encrypted = "/etc/credstore.encrypted/kneard.validator_key.json"
    drop_in(standby, "LoadCredential=", f"LoadCredentialEncrypted=validator_key.json:{encrypted}")
    standby.succeed("systemctl start kneard.service")
    wait_standby(standby)
    validator.succeed("systemctl stop kneard.service")
    wait_validates(standby)
    standby.succeed("mv /root/key /etc/credstore/kneard.validator_key.json")
    validator.succeed("systemctl start kneard.service")
    wait_standby(validator)

with subtest("a reload reads the Consul token again"):
    standby.succeed("systemctl reload kneard.service")
    until(standby, "journalctl -u kneard.service -o cat | grep -q 'read the Consul token again'", 10)
    standby.require_unit_state("kneard.service")

report(verdict())
