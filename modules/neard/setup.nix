# The home, made and brought up to date before each start of neard.
{
  config,
  lib,
  pkgs,
  ...
}:
let
  cfg = config.kuutamo.neard;
  used = cfg.enable || (config.kuutamo.kneard.enable or false);

  fromS3 = cfg.s3.dataBackupDirectory != null || cfg.s3.dataBackupTarball != null;
  sign = lib.optionalString (!cfg.s3.signRequests) "--no-sign-request";
  bootstrap =
    if cfg.bootstrap.command != null then
      cfg.bootstrap.command
    else if cfg.s3.dataBackupDirectory != null then
      "aws s3 sync ${sign} --delete --no-progress ${lib.escapeShellArg cfg.s3.dataBackupDirectory} data"
    else if cfg.s3.dataBackupTarball != null then
      "aws s3 cp ${sign} ${lib.escapeShellArg cfg.s3.dataBackupTarball} - | bsdtar -x -f -"
    else
      null;

  genesis =
    if cfg.genesisFile != null then
      lib.optionals (cfg.chainId == "testnet") [
        "--genesis"
        "${cfg.genesisFile}"
      ]
    else
      lib.optional (cfg.chainId == "testnet") "--download-genesis";
  initFlags =
    lib.optionals (cfg.chainId != null) [
      "--chain-id"
      cfg.chainId
    ]
    ++ genesis
    ++ lib.optionals (cfg.downloadConfig != null) [
      "--download-config"
      cfg.downloadConfig
    ]
    ++ cfg.initFlags;
in
{
  config = lib.mkIf used {
    systemd.services.neard-setup = {
      description = "Home of the NEAR node";
      wants = [ "network-online.target" ];
      after = [ "network-online.target" ];
      # It runs before each start; a switch must not run it beside a neard.
      restartIfChanged = false;
      # Nor may its starts be counted: kneard's own are not, and it stays down when this is refused.
      unitConfig.StartLimitIntervalSec = 0;
      path = [
        cfg.package
        pkgs.jq
      ]
      ++ lib.optionals fromS3 [
        pkgs.awscli2
        pkgs.libarchive
      ];
      environment = {
        NEARD_HOME = cfg.home;
        NEARD_INIT_FLAGS = lib.optionalString (cfg.chainId != null) (lib.concatStringsSep " " initFlags);
        NEARD_SETTINGS = (pkgs.formats.json { }).generate "neard-settings.json" cfg.settings;
        NEARD_GENERATE_NODE_KEY = lib.boolToString cfg.generateNodeKey;
      }
      // lib.optionalAttrs (cfg.configFile != null) { NEARD_CONFIG_FILE = "${cfg.configFile}"; }
      // lib.optionalAttrs (cfg.genesisFile != null) { NEARD_GENESIS_FILE = "${cfg.genesisFile}"; }
      // lib.optionalAttrs (bootstrap != null) {
        NEARD_BOOTSTRAP = pkgs.writeShellScript "neard-bootstrap" ''
          set -euo pipefail
          ${bootstrap}
        '';
      };
      serviceConfig = import ./sandbox.nix // {
        Type = "oneshot";
        ExecStart = "${pkgs.runtimeShell} ${./setup.sh}";
        User = cfg.user;
        Group = cfg.user;
        StateDirectory = cfg.stateDirectory;
        StateDirectoryMode = "0750";
        WorkingDirectory = cfg.home;
        # A large download; whoever waits for it goes on waiting.
        TimeoutStartSec = "infinity";
        Restart = "on-failure";
        RestartMode = "direct";
        RestartSec = "10s";
      };
    };
  };
}
