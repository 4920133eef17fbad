# kneard: the unit files of the package, and this configuration's settings on top.
{
  config,
  lib,
  pkgs,
  ...
}:
let
  cfg = config.kuutamo.kneard;
  neard = config.kuutamo.neard;
  set = lib.filterAttrs (_: value: value != null);

  environment =
    set {
      KUUTAMO_NODE_ID = cfg.nodeId;
      KUUTAMO_ACCOUNT_ID = cfg.accountId;
      KUUTAMO_NEARD_HOME = neard.home;
      KUUTAMO_NEARD_BINARY = lib.getExe' neard.package "neard";
      KUUTAMO_NEARD_BOOTNODES =
        if neard.bootNodes == [ ] then null else lib.concatStringsSep "," neard.bootNodes;
      KUUTAMO_VALIDATOR_NETWORK_ADDR = cfg.validatorNetworkAddress;
      KUUTAMO_VOTER_NETWORK_ADDR = cfg.voterNetworkAddress;
      KUUTAMO_PUBLIC_ADDRESS = cfg.publicAddress;
      KUUTAMO_CONSUL_URL = lib.concatStringsSep "," cfg.consulAddresses;
      KUUTAMO_CONSUL_TOKEN_FILE = cfg.consulTokenFile;
      KUUTAMO_CONSUL_CA_FILE = cfg.consulCaFile;
      KUUTAMO_CONSUL_CERT_FILE = cfg.consulCertFile;
      KUUTAMO_CONSUL_KEY_FILE = cfg.consulKeyFile;
      KUUTAMO_LEASE = cfg.lease;
      KUUTAMO_KILL_MARGIN = cfg.killMargin;
      KUUTAMO_MAX_LAG = toString cfg.maxLag;
      KUUTAMO_PROMOTION = cfg.promotion;
      KUUTAMO_PROMOTION_TIMEOUT = cfg.promotionTimeout;
      KUUTAMO_STOP_TIMEOUT = cfg.stopTimeout;
      KUUTAMO_EXPORTER_ADDRESS = cfg.exporterAddress;
      KUUTAMO_NO_DOPPELGANGER_CHECK = if cfg.doppelgangerCheck then null else "true";
    }
    // cfg.environment;

  # Where one is named, what the units say is emptied first.
  credentials =
    lib.optional (keys != { }) "" ++ lib.mapAttrsToList (name: file: "${name}:${file}") keys;
  keys = set {
    "validator_key.json" = cfg.validatorKeyFile;
    "validator_node_key.json" = cfg.validatorNodeKeyFile;
    "voter_node_key.json" = cfg.voterNodeKeyFile;
  };

  common = {
    inherit environment;
    requires = [ "neard-setup.service" ];
    after = [ "neard-setup.service" ];
    # kneard-rollout.service does it, and never to a host that validates.
    restartIfChanged = false;
    serviceConfig = {
      LoadCredential = credentials;
    }
    // lib.optionalAttrs (neard.stateDirectory != "kneard") {
      StateDirectory = [
        ""
        neard.stateDirectory
      ];
      WorkingDirectory = neard.home;
    };
  };

  control =
    if cfg.socketActivation then "/run/kneard/control.sock" else "/run/kneard/daemon/control.sock";
in
{
  imports = [
    ../neard
    ./options.nix
    ./assertions.nix
    ./rollout.nix
    ./renamed.nix
  ];

  config = lib.mkIf cfg.enable {
    kuutamo.neard = {
      user = "kneard";
      stateDirectory = lib.mkDefault "kneard";
      settings = lib.mkIf (cfg.accountId != null) {
        tracked_shards_config = lib.mkDefault { ShadowValidator = cfg.accountId; };
        store.load_mem_tries_for_tracked_shards = lib.mkDefault true;
      };
    };

    systemd.packages = [ cfg.package ];
    systemd.services.kneard = lib.mkMerge [
      common
      {
        wantedBy = [ "multi-user.target" ];
        serviceConfig.WatchdogSec = cfg.watchdog;
      }
    ];
    # Started by hand, and never by a switch.
    systemd.services.kneard-manual = common;

    systemd.sockets = {
      kneard = {
        enable = cfg.socketActivation;
        wantedBy = [ "sockets.target" ];
      };
      kneard-exporter = {
        enable = cfg.socketActivation;
        wantedBy = [ "sockets.target" ];
        socketConfig = lib.mkIf (cfg.exporterAddress != "127.0.0.1:2233") {
          ListenStream = [
            ""
            cfg.exporterAddress
          ];
        };
      };
    };

    users.groups.kneard.members = cfg.operators;

    environment.systemPackages = [ cfg.package ];
    environment.variables.KUUTAMO_CONTROL_SOCKET = control;

    networking.firewall.allowedTCPPorts =
      let
        inherit (import ../lib.nix { inherit lib pkgs; }) portOf;
      in
      lib.mkIf cfg.openFirewall (
        map portOf [
          cfg.validatorNetworkAddress
          cfg.voterNetworkAddress
        ]
      );
  };
}
