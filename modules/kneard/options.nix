{
  config,
  lib,
  pkgs,
  ...
}:
let
  inherit (lib) mkOption types;
  shared = import ../lib.nix { inherit lib pkgs; };
  inherit (shared.types) duration secretFile;

  consul = config.kuutamo.consul or { };
  others = lib.optionals (consul.enable or false && consul.apiForMembers) (
    lib.attrValues (removeAttrs consul.servers [ consul.nodeName ])
  );

  file =
    description:
    mkOption {
      type = types.nullOr secretFile;
      default = null;
      inherit description;
    };
  time =
    default: description:
    mkOption {
      type = duration;
      inherit default description;
    };
  address =
    default: description:
    mkOption {
      type = types.strMatching ".+:[0-9]+";
      inherit default description;
    };
in
{
  options.kuutamo.kneard = {
    enable = lib.mkEnableOption ''
      kneard: neard, with the validator key while this host is the elected one. Its settings are
      those of {option}`kuutamo.neard`'';

    package = mkOption {
      type = types.package;
      default = shared.packages.kneard;
      defaultText = lib.literalMD "`kneard` of this flake";
      description = "kneard, with its unit files.";
    };

    validatorKeyFile = mkOption {
      type = types.nullOr secretFile;
      example = lib.literalExpression "config.sops.secrets.validator-key.path";
      description = ''
        The validator key, `validator_key.json`, the same on each host. systemd reads it as root when
        the service starts and gives it to kneard as a credential: mode and owner do not matter, as
        long as nobody else can read it. null: `kneard.validator_key.json` in `/etc/credstore`, or
        whatever a drop-in of your own says.
      '';
    };

    validatorNodeKeyFile = file ''
      neard's node key while it validates, the same on each host: for failover by restart. null means
      hot swap: neard gets the validator key while it runs, and keeps its own node key.
    '';

    voterNodeKeyFile = file ''
      neard's node key while it stands by, another one on each host. Needed with
      {option}`validatorNodeKeyFile`.
    '';

    accountId = mkOption {
      type = types.nullOr (types.strMatching "[a-z0-9]([a-z0-9_.-]*[a-z0-9])?");
      default = null;
      example = "validator.near";
      description = ''
        The validator's account. It must agree with the key, and makes a standby follow the
        validator's shards, which hot swap needs.
      '';
    };

    nodeId = mkOption {
      type = types.strMatching "[A-Za-z0-9_.-]+";
      default = config.networking.hostName;
      defaultText = lib.literalExpression "config.networking.hostName";
      description = "Name of this host in the election, another one on each.";
    };

    publicAddress = mkOption {
      type = types.nullOr (types.strMatching "[0-9a-fA-F.:]+");
      default = null;
      example = "192.0.2.1";
      description = ''
        IP address, without a port, under which other nodes of the chain reach neard here.
      '';
    };

    consulAddresses = mkOption {
      type = types.listOf (types.strMatching "https?://[^@/]+/?");
      default = [ "http://127.0.0.1:8500" ] ++ map (host: "http://${shared.hostOf host}:8500") others;
      defaultText = lib.literalMD "the agent on this host, and the members' APIs where they are shared";
      example = [
        "http://127.0.0.1:8500"
        "http://10.0.0.2:8500"
      ];
      description = ''
        Consul agents or servers, tried in turn. With {option}`kuutamo.consul.apiForMembers` the
        servers of the cluster follow by themselves.
      '';
    };

    consulTokenFile = file ''
      File with kneard's Consul token and nothing else. It is read from there, as a token may change:
      the user kneard must be able to read it (sops-nix and agenix: `owner = "kneard"`). Written anew,
      `systemctl reload kneard`.
    '';

    consulCaFile = mkOption {
      type = types.nullOr types.path;
      default = null;
      description = "PEM; whom to trust at `https` addresses. null: the system's CAs.";
    };
    consulCertFile = mkOption {
      type = types.nullOr types.path;
      default = null;
      description = "PEM; client certificate, readable for the user kneard.";
    };
    consulKeyFile = file "PEM; the certificate's private key, readable for the user kneard.";

    lease = time "7s" ''
      How long neard may sign after a successful renewal, and about how long an outage lasts when a
      host is lost. 7s sits out the election of a Consul leader.
    '';
    killMargin = time "500ms" "How long before the lease's end neard is killed.";
    watchdog = time "3s" ''
      After how long systemd kills a kneard that hangs. It must leave time within the lease.
    '';
    maxLag = mkOption {
      type = types.ints.positive;
      default = 10;
      description = "How many blocks a standby may lie behind the validator and still take over.";
    };
    promotion = mkOption {
      type = types.enum [
        "auto"
        "hot-swap"
        "restart"
      ];
      default = "auto";
      description = ''
        How neard gets the key: while it runs, or by a restart. `auto` restarts if there is a
        {option}`validatorNodeKeyFile`.
      '';
    };
    promotionTimeout = time "10min" ''
      How long neard may take from its restart with the key until it is in sync.
    '';
    stopTimeout = time "10s" "How long neard may take to stop before it is killed.";
    doppelgangerCheck = mkOption {
      type = types.bool;
      default = true;
      description = ''
        Ask the chain, before the first promotion, whether the key signs elsewhere.
      '';
    };

    validatorNetworkAddress = address "0.0.0.0:24567" ''
      Where neard listens for other nodes while it validates; with hot swap always.
    '';
    voterNetworkAddress = address "0.0.0.0:24568" "The same while it stands by.";
    openFirewall = mkOption {
      type = types.bool;
      default = true;
      description = "Open neard's ports for other nodes of the chain.";
    };

    exporterAddress = address "127.0.0.1:2233" ''
      Where the metrics are served: read-only, without a password.
    '';
    socketActivation = mkOption {
      type = types.bool;
      default = true;
      description = ''
        systemd holds the control socket and the exporter's, so that a restart of kneard refuses no
        connection.
      '';
    };
    operators = mkOption {
      type = types.listOf types.str;
      default = [ ];
      example = [ "alice" ];
      description = "Users who may use `kneard-ctl`: members of the group kneard.";
    };

    rolloutTimeout = time "15min" ''
      A switch to a new configuration does not restart kneard: `kneard-rollout.service` does, once
      another host has the validator key. So long it waits for a standby, and then until kneard here
      stands by; after that the switch fails, and a kneard that validates goes on as it was.
    '';

    environment = mkOption {
      type = types.attrsOf types.str;
      default = { };
      example.KUUTAMO_ALLOW_READABLE_KEYS = "true";
      description = "More of kneard's settings by their variables: `kneard --help` names them.";
    };
  };
}
