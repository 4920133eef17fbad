# How a new configuration reaches a running kneard. A switch restarts neither kneard nor the Consul
# beside it. This service runs at the end of a switch that changed one of them: it hands the validator
# key to another host first, restarts what changed, and waits until this host stands by again.
{
  config,
  lib,
  pkgs,
  ...
}:
let
  cfg = config.kuutamo.kneard;
  consul = config.services.consul.enable;
  shared = import ../lib.nix { inherit lib pkgs; };

  units = [
    "kneard.service"
    "neard-setup.service"
  ]
  ++ lib.optionals cfg.socketActivation [
    "kneard.socket"
    "kneard-exporter.socket"
  ]
  ++ lib.optional consul "consul.service";
  wanted = pkgs.writeText "kneard-units" (
    lib.concatMapStrings (unit: "${unit} ${config.systemd.units.${unit}.unit}\n") units
    + "kneard.service ${cfg.package}\n"
  );
in
{
  config = lib.mkIf cfg.enable {
    systemd.services.consul = lib.mkIf consul { restartIfChanged = false; };

    systemd.services.kneard-rollout = {
      description = "New configuration for kneard, one host after the other";
      documentation = [ "https://github.com/kuutamolabs/near-staking-knd" ];
      wantedBy = [ "multi-user.target" ];
      after = [
        "kneard.service"
        "consul.service"
      ];
      stopIfChanged = false;
      path = [
        cfg.package
        config.systemd.package
        pkgs.curl
        pkgs.jq
      ];
      environment = {
        KUUTAMO_CONTROL_SOCKET = config.environment.variables.KUUTAMO_CONTROL_SOCKET;
        KNEARD_ROLLOUT_SECONDS = toString (shared.milliseconds cfg.rolloutTimeout / 1000);
      };
      serviceConfig = {
        Type = "oneshot";
        RemainAfterExit = true;
        ExecStart = "${pkgs.runtimeShell} ${./rollout.sh} ${wanted}";
        RuntimeDirectory = "kneard-rollout";
        RuntimeDirectoryPreserve = true;
        # It bounds its waiting by itself.
        TimeoutStartSec = "infinity";
      };
    };
  };
}
