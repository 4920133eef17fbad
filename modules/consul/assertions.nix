{
  config,
  lib,
  pkgs,
  ...
}:
let
  cfg = config.kuutamo.consul;
  shared = import ../lib.nix { inherit lib pkgs; };
  count = lib.length (lib.attrNames cfg.servers);
  inherit (config.services.consul) package;
  tlsFiles = lib.filter (file: file != null) (lib.attrValues cfg.tls);
in
{
  config = lib.mkIf cfg.enable {
    assertions = [
      {
        assertion = package.meta.available or true;
        message = ''
          ${package.name or "consul"} may not be used by this configuration: it is unfree (BUSL). To
          allow it, and nothing else that is:
            nixpkgs.config.allowUnfreePredicate = package: lib.getName package == "consul";
        '';
      }
      {
        assertion = lib.mod count 2 == 1;
        message = ''
          kuutamo.consul.servers names ${toString count} servers. It takes an odd number: of two or four
          no more may fail than of one or three. Add an arbiter, a small host elsewhere:
            kuutamo.consul.servers.arbiter = "10.0.0.3";
        '';
      }
      {
        assertion = cfg.address != null || cfg.interface != null;
        message = ''
          kuutamo.consul does not know the address of this host, ${cfg.nodeName}. Name it among the servers
          or the clients, or say which interface it has:
            kuutamo.consul.clients.${cfg.nodeName} = "10.0.0.4";
            kuutamo.consul.interface = "wg0";
        '';
      }
      {
        assertion = tlsFiles == [ ] || lib.length tlsFiles == 3;
        message = ''
          kuutamo.consul.tls needs all three of caFile, certFile and keyFile, or none:
            kuutamo.consul.tls.caFile = "/run/secrets/consul-ca.pem";
            kuutamo.consul.tls.certFile = "/run/secrets/consul-cert.pem";
            kuutamo.consul.tls.keyFile = "/run/secrets/consul-key.pem";
        '';
      }
      {
        assertion = cfg.acl.kneard == { } || cfg.acl.enable;
        message = ''
          kuutamo.consul.acl.kneard lists policies while access control is off:
            kuutamo.consul.acl.enable = true;
        '';
      }
    ]
    ++ shared.notInStore "kuutamo.consul.extraConfigFiles" cfg.extraConfigFiles
    ++ shared.notInStore "kuutamo.consul" {
      "tls.keyFile" = cfg.tls.keyFile;
      "acl.managementTokenFile" = cfg.acl.managementTokenFile;
    }
    ++ shared.notInStore "kuutamo.consul.acl.kneard" (
      lib.mapAttrs' (name: kneard: lib.nameValuePair "${name}.tokenFile" kneard.tokenFile) cfg.acl.kneard
    );
  };
}
