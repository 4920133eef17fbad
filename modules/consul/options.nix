{
  config,
  lib,
  pkgs,
  ...
}:
let
  inherit (lib) mkOption types;
  cfg = config.kuutamo.consul;
  shared = import ../lib.nix { inherit lib pkgs; };
  inherit (shared.types) secretFile;
  members =
    description: example:
    mkOption {
      type = types.attrsOf types.str;
      default = { };
      inherit description example;
    };
in
{
  options.kuutamo.consul = {
    enable = lib.mkEnableOption ''
      Consul, set up for kneard. It is nixpkgs' {option}`services.consul` underneath, where all else
      can be set'';

    package = lib.mkPackageOption pkgs "consul" { };

    servers =
      members
        ''
          The servers, by name and address: three or five, in separate places. The same on each host;
          this host is a server if its {option}`nodeName` is among them.
        ''
        {
          host-a = "10.0.0.1";
          host-b = "10.0.0.2";
          arbiter = "10.0.0.3";
        };

    clients = members ''
      Hosts that run an agent only, by name and address: the servers' firewalls let them in.
    '' { host-d = "10.0.0.4"; };

    nodeName = mkOption {
      type = types.str;
      default = config.networking.hostName;
      defaultText = lib.literalExpression "config.networking.hostName";
      description = "Name of this host among the servers and clients.";
    };

    address = mkOption {
      type = types.nullOr types.str;
      default =
        if cfg.interface != null then null else (cfg.servers // cfg.clients).${cfg.nodeName} or null;
      defaultText = lib.literalMD "that of {option}`nodeName` among the servers and clients";
      description = "IP address that Consul binds to.";
    };

    interface = mkOption {
      type = types.nullOr types.str;
      default = null;
      example = "wg0";
      description = "Interface whose address Consul binds to, where no address can be named.";
    };

    extraConfigFiles = mkOption {
      type = types.attrsOf secretFile;
      default = { };
      example = lib.literalExpression "{ gossip = config.sops.secrets.consul-gossip.path; }";
      description = ''
        Files in Consul's JSON with what must not be in the Nix store: `{"encrypt": "…"}` for the
        gossip between the members, `{"acl": {"tokens": {"agent": "…"}}}`. systemd reads them as
        root when Consul starts.
      '';
    };

    tls = {
      caFile = mkOption {
        type = types.nullOr types.path;
        default = null;
        description = "PEM; with it, members speak TLS and verify each other's certificates.";
      };
      certFile = mkOption {
        type = types.nullOr types.path;
        default = null;
        description = "PEM; this host's certificate, for `server.<datacenter>.consul` on a server.";
      };
      keyFile = mkOption {
        type = types.nullOr secretFile;
        default = null;
        description = "PEM; its private key. systemd reads it as root when Consul starts.";
      };
    };

    acl = {
      enable = lib.mkEnableOption "Consul's access control, with nothing allowed by default";

      managementTokenFile = mkOption {
        type = types.nullOr secretFile;
        default = null;
        description = ''
          File with a token that may write policies and tokens. With it, `consul-kneard-acl.service`
          makes kneard's policies and tokens; one server is enough.
        '';
      };

      kneard = mkOption {
        default = { };
        example = lib.literalExpression ''
          {
            host-a = {
              accountId = "validator.near";
              tokenFile = config.sops.secrets.kneard-token-a.path;
            };
          }
        '';
        description = ''
          The kneards, by the Consul node name of their host. Each gets a policy with what it needs
          and no more.
        '';
        type = types.attrsOf (
          types.submodule {
            options = {
              accountId = mkOption {
                type = types.str;
                example = "validator.near";
                description = "The validator's account.";
              };
              agents = mkOption {
                type = types.listOf types.str;
                default = [ ];
                description = "Further agents that this kneard may ask, by their node names.";
              };
              tokenFile = mkOption {
                type = types.nullOr secretFile;
                default = null;
                description = ''
                  File with the token that kneard is to have, a UUID that you made (`uuidgen`). null:
                  the policy alone.
                '';
              };
            };
          }
        );
      };
    };

    apiForMembers = mkOption {
      type = types.bool;
      default = false;
      description = ''
        Serve the API on {option}`address` too, for the other members, so that a kneard whose own
        agent is down can ask another. Without access control every member may do everything.
      '';
    };

    openFirewall = mkOption {
      type = types.bool;
      default = true;
      description = "Let the other members, and nobody else, reach Consul's ports.";
    };
  };
}
