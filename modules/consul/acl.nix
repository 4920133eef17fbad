# kneard's policies and tokens in Consul, made by one server with a management token.
{
  config,
  lib,
  pkgs,
  ...
}:
let
  cfg = config.kuutamo.consul;
  json = pkgs.formats.json { };

  # As docs/consul-policy.hcl has them, with its reasons.
  rules = node: kneard: {
    session = lib.genAttrs ([ node ] ++ kneard.agents) (_: {
      policy = "write";
    });
    agent = lib.genAttrs ([ node ] ++ kneard.agents) (_: {
      policy = "read";
    });
    key = {
      "kuutamod-leader/${kneard.accountId}".policy = "write";
      "kuutamod-pause/${kneard.accountId}".policy = "write";
    };
    key_prefix = {
      "kuutamod-nodes/${kneard.accountId}/".policy = "write";
      "kuutamod-history/${kneard.accountId}/".policy = "write";
    };
  };
  policy = node: kneard: {
    Name = "kneard-${node}";
    Description = "kneard on ${node} for ${kneard.accountId}; written by NixOS";
    Rules = builtins.toJSON (rules node kneard);
  };
  policies = json.generate "kneard-policies.json" (lib.mapAttrsToList policy cfg.acl.kneard);
  withToken = lib.filterAttrs (_: kneard: kneard.tokenFile != null) cfg.acl.kneard;
in
{
  config = lib.mkIf (cfg.enable && cfg.acl.enable && cfg.acl.managementTokenFile != null) {
    systemd.services.consul-kneard-acl = {
      description = "kneard's policies and tokens in Consul";
      wantedBy = [ "multi-user.target" ];
      wants = [ "consul.service" ];
      after = [ "consul.service" ];
      path = [
        pkgs.curl
        pkgs.jq
      ];
      serviceConfig = import ../neard/sandbox.nix // {
        Type = "oneshot";
        RemainAfterExit = true;
        DynamicUser = true;
        ExecStart = "${pkgs.runtimeShell} ${./acl.sh} ${policies}";
        LoadCredential = [
          "management:${cfg.acl.managementTokenFile}"
        ]
        ++ lib.mapAttrsToList (node: kneard: "kneard-${node}:${kneard.tokenFile}") withToken;
        # Until the servers have a leader.
        TimeoutStartSec = "10min";
        Restart = "on-failure";
        RestartSec = "10s";
      };
    };
  };
}
