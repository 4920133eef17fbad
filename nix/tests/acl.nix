# Consul allows nothing by default; kneard works with the policy that the module writes, and only that.
{ pkgs }:
let
  inherit (pkgs) lib;
  # Tokens that everybody knows: it is a test.
  tokens = {
    management = "6f1f2a52-1d0c-4c0e-9d5e-0f4f6f6f0001";
    validator1 = "6f1f2a52-1d0c-4c0e-9d5e-0f4f6f6f0002";
    validator2 = "6f1f2a52-1d0c-4c0e-9d5e-0f4f6f6f0003";
  };
  agent = pkgs.writeText "agent-token.json" (
    builtins.toJSON {
      acl.tokens = {
        initial_management = tokens.management;
        agent = tokens.management;
      };
    }
  );
  place = name: owner: "f /run/secrets/${name} 0400 ${owner} ${owner} - ${tokens.${name}}";
in
import ./common.nix {
  inherit pkgs;
  name = "acl";
  script = ./acl.py;
  all =
    { config, ... }:
    let
      name = config.networking.hostName;
    in
    {
      systemd.tmpfiles.rules = [
        "d /run/secrets 0755"
        "C /run/secrets/agent.json 0400 root root - ${agent}"
      ]
      ++ (
        if name == "arbiter" then
          [
            (place "management" "root")
            (place "validator1" "root")
            (place "validator2" "root")
          ]
        else
          [ (place name "kneard") ]
      );
      kuutamo.consul = {
        extraConfigFiles.agent = "/run/secrets/agent.json";
        acl = {
          enable = true;
          managementTokenFile = if name == "arbiter" then "/run/secrets/management" else null;
          kneard = lib.genAttrs [ "validator1" "validator2" ] (validator: {
            accountId = "node3";
            tokenFile = "/run/secrets/${validator}";
          });
        };
      };
    };
  validator =
    { config, ... }:
    {
      kuutamo.kneard.consulTokenFile = "/run/secrets/${config.networking.hostName}";
    };
}
