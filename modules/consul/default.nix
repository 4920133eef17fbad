# Consul for kneard: a cluster that elects fast, and forgets no member.
{
  config,
  lib,
  ...
}:
let
  cfg = config.kuutamo.consul;
  isServer = cfg.servers ? ${cfg.nodeName};
  count = lib.length (lib.attrNames cfg.servers);
  others = removeAttrs cfg.servers [ cfg.nodeName ];
  credential = name: "/run/credentials/consul.service/${name}";
  tls = cfg.tls.caFile != null;
in
{
  imports = [
    ./options.nix
    ./assertions.nix
    ./firewall.nix
    ./acl.nix
  ];

  config = lib.mkIf cfg.enable {
    services.consul = {
      enable = true;
      package = lib.mkDefault cfg.package;
      interface = lib.mkIf (cfg.interface != null) {
        bind = cfg.interface;
        advertise = cfg.interface;
      };
      extraConfigFiles = lib.mapAttrsToList (name: _: credential "${name}.json") cfg.extraConfigFiles;

      extraConfig = lib.mkMerge [
        {
          server = isServer;
          node_name = cfg.nodeName;
          retry_join = lib.attrValues others;
          retry_interval = "1s";
          rejoin_after_leave = true;
          # Elections of a leader within a lease.
          performance.raft_multiplier = 1;
          # A host that is down comes back; a member that left would count no more.
          leave_on_terminate = false;
          skip_leave_on_interrupt = true;
          disable_update_check = true;
          # How long writes take, for the monitoring.
          telemetry.prometheus_retention_time = "10m";
          ports.serf_wan = -1;
        }
        (lib.mkIf isServer {
          bootstrap_expect = count;
          autopilot.cleanup_dead_servers = false;
        })
        (lib.mkIf (cfg.address != null) {
          bind_addr = cfg.address;
          advertise_addr = cfg.address;
        })
        (lib.mkIf cfg.apiForMembers {
          addresses.http =
            if cfg.address != null then
              "127.0.0.1 ${cfg.address}"
            else
              "127.0.0.1 {{ GetInterfaceIP \"${cfg.interface}\" }}";
        })
        (lib.mkIf tls {
          tls = {
            defaults = {
              ca_file = credential "ca.pem";
              cert_file = credential "cert.pem";
              key_file = credential "key.pem";
            };
            internal_rpc = {
              verify_incoming = true;
              verify_outgoing = true;
              verify_server_hostname = true;
            };
          };
        })
        (lib.mkIf cfg.acl.enable {
          acl = {
            enabled = true;
            default_policy = "deny";
            # A session's checks go on while no leader answers.
            down_policy = "extend-cache";
            enable_token_persistence = true;
          };
        })
      ];
    };

    systemd.services.consul = {
      wants = [ "network-online.target" ];
      after = [ "network-online.target" ];
      serviceConfig = {
        LoadCredential =
          lib.mapAttrsToList (name: file: "${name}.json:${file}") cfg.extraConfigFiles
          ++ lib.optionals tls [
            "ca.pem:${cfg.tls.caFile}"
            "cert.pem:${cfg.tls.certFile}"
            "key.pem:${cfg.tls.keyFile}"
          ];
        RestartSec = "1s";
        LimitNOFILE = 65536;
        # services.consul writes to /etc as root before the start, hence no stricter ProtectSystem.
        ProtectSystem = true;
        NoNewPrivileges = true;
        # That start makes the state directory consul's.
        CapabilityBoundingSet = [
          "CAP_CHOWN"
          "CAP_DAC_OVERRIDE"
          "CAP_FOWNER"
        ];
        ProtectHome = true;
        PrivateTmp = true;
        PrivateDevices = true;
        ProtectClock = true;
        ProtectControlGroups = true;
        ProtectHostname = true;
        ProtectKernelLogs = true;
        ProtectKernelModules = true;
        ProtectKernelTunables = true;
        LockPersonality = true;
        MemoryDenyWriteExecute = true;
        RestrictNamespaces = true;
        RestrictRealtime = true;
        RestrictSUIDSGID = true;
        RestrictAddressFamilies = [
          "AF_UNIX"
          "AF_INET"
          "AF_INET6"
          "AF_NETLINK"
        ];
        SystemCallArchitectures = "native";
        SystemCallFilter = [ "@system-service" ];
        SystemCallErrorNumber = "EPERM";
      };
      unitConfig.StartLimitIntervalSec = 0;
    };
  };
}
