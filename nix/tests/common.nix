# The machines that the scripts of tests/vm expect, as NixOS virtual machines: two validators and an
# arbiter, set up with this repository's modules. What the scripts need is in tests/vm/README.md.
{
  pkgs,
  # Of the check, and of its script in tests/vm, with _ for -.
  name,
  script ? ../../tests/vm + "/${lib.replaceStrings [ "-" ] [ "_" ] name}.py",
  chainId ? "localnet",
  # The stand-in, or the real one with words of its own.
  neard ? import ./stand-in.nix { inherit pkgs; },
  words ? "",
  # More for all machines, and for the validators.
  all ? { },
  validator ? { },
  lib ? pkgs.lib,
}:
let
  account = "node3";
  addresses = {
    arbiter = "192.168.1.1";
    validator1 = "192.168.1.2";
    validator2 = "192.168.1.3";
  };
  chain = import ./chain.nix {
    inherit
      pkgs
      neard
      chainId
      account
      ;
    address = addresses.arbiter;
  };

  base = {
    imports = [
      ../../modules
      all
    ];
    virtualisation = {
      memorySize = 1536;
      cores = 2;
    };
    environment.systemPackages = [ pkgs.curl ];
    kuutamo.consul = {
      enable = true;
      servers = addresses;
    };
    # Over a crash too.
    services.journald.extraConfig = ''
      Storage=persistent
      SyncIntervalSec=1s
      RateLimitBurst=0
    '';
    systemd.tmpfiles.rules = [ "d /var/log/journal 2755 root systemd-journal" ];
  };

  # number: whose home it has; of a node that does not run.
  makeValidator = number: {
    imports = [
      base
      validator
    ];
    kuutamo.neard = {
      inherit chainId;
      package = neard;
    };
    kuutamo.kneard = {
      enable = true;
      accountId = account;
      # From /etc/credstore.
      validatorKeyFile = null;
    };
    systemd.tmpfiles.rules = [
      "d /etc/credstore 0700"
      "C /etc/credstore/kneard.validator_key.json 0600 root root - ${chain}/${account}/validator_key.json"
      "d /var/lib/kneard 0750 kneard kneard"
    ]
    ++
      map (file: "C /var/lib/kneard/${file} 0600 kneard kneard - ${chain}/node${toString number}/${file}")
        [
          "config.json"
          "genesis.json"
          "node_key.json"
        ];
  };

  node = number: {
    name = "chain-node-${toString number}";
    value = {
      description = "Node ${toString number} of the chain";
      wantedBy = [ "multi-user.target" ];
      wants = [ "network-online.target" ];
      after = [ "network-online.target" ];
      serviceConfig.ExecStart = "${lib.getExe' neard "neard"} --home /var/lib/near/node${toString number} run";
    };
  };

  # The class of the machines has not always had the same name.
  driver = builtins.readFile (pkgs.path + "/nixos/lib/test-driver/src/test_driver/driver.py");
  machineType = lib.optionalString (lib.hasInfix "QemuMachine=" driver) "Machine = QemuMachine\n";
in
pkgs.testers.runNixOSTest {
  name = "kneard-${name}";

  nodes = {
    arbiter = {
      imports = [ base ];
      environment.systemPackages = [ pkgs.kuutamo.neard-sim ];
      networking.firewall.allowedTCPPortRanges = [
        {
          from = 3030;
          to = 3032;
        }
        {
          from = 24567;
          to = 24569;
        }
      ];
      systemd.services = lib.listToAttrs (map node (lib.range 0 2));
      systemd.tmpfiles.rules = map (
        number: "C /var/lib/near/node${toString number} - - - - ${chain}/node${toString number}"
      ) (lib.range 0 2);
    };
    validator1 = makeValidator 4;
    validator2 = makeValidator 5;
  };

  testScript = ''
    import os

    ${machineType}
    ${builtins.readFile ../../tests/vm/words.py}
    ${words}
    ${builtins.readFile script}
  '';
}
