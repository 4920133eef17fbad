# neard: its home, and a service for a node without failover.
{
  config,
  lib,
  pkgs,
  ...
}:
let
  cfg = config.kuutamo.neard;
  # Under kneard too.
  used = cfg.enable || (config.kuutamo.kneard.enable or false);
  public = lib.elem cfg.chainId [
    "mainnet"
    "testnet"
  ];
  address = cfg.settings.network.addr or "0.0.0.0:24567";
  shared = import ../lib.nix { inherit lib pkgs; };
in
{
  imports = [
    ./options.nix
    ./setup.nix
    (lib.mkRenamedOptionModule
      [ "kuutamo" "neard" "enableSolanaKernelTuning" ]
      [ "kuutamo" "neard" "kernelTuning" ]
    )
  ];

  config = lib.mkMerge [
    (lib.mkIf used {
      assertions = [
        {
          assertion = !lib.hasInfix "Near Field" (cfg.package.meta.description or "");
          message = ''
            kuutamo.neard.package is a daemon for NFC, which nixpkgs calls neard. Leave the option
            out, or take the package from this flake:
              kuutamo.neard.package = inputs.kneard.packages.''${pkgs.stdenv.hostPlatform.system}.neard;
          '';
        }
        {
          assertion = cfg.s3.dataBackupDirectory == null || cfg.s3.dataBackupTarball == null;
          message = ''
            kuutamo.neard.s3.dataBackupDirectory and kuutamo.neard.s3.dataBackupTarball both say
            where the data comes from. Keep one of them.
          '';
        }
        {
          assertion = !(public && (cfg.settings.tracked_shards_config or null) == "AllShards");
          message = ''
            kuutamo.neard.settings.tracked_shards_config = "AllShards" makes neard panic on
            ${toString cfg.chainId} as soon as it has the key of a current validator. Leave it out; or write
              kuutamo.neard.settings.tracked_shards_config.ShadowValidator = "validator.near";
          '';
        }
      ];

      kuutamo.neard.settings = lib.mkMerge [
        # Weaker than what kneard needs, stronger than what `neard init` writes.
        (lib.mkIf public {
          tracked_shards_config = lib.mkOverride 1200 "NoShards";
          store.load_mem_tries_for_tracked_shards = lib.mkDefault true;
        })
        # Four nodes, of which one may be down.
        (lib.mkIf (cfg.chainId == "localnet") { consensus.min_num_peers = lib.mkDefault 1; })
        (lib.mkIf (cfg.bootNodes != [ ]) {
          network.boot_nodes = lib.mkDefault (lib.concatStringsSep "," cfg.bootNodes);
        })
      ];

      users.users.${cfg.user} = {
        isSystemUser = true;
        group = cfg.user;
        inherit (cfg) home;
      };
      users.groups.${cfg.user} = { };

      environment.systemPackages = [ cfg.package ];

      boot.kernel.sysctl = lib.mkIf cfg.kernelTuning (
        lib.mapAttrs (_: lib.mkDefault) {
          "net.core.rmem_default" = 134217728;
          "net.core.rmem_max" = 134217728;
          "net.core.wmem_default" = 134217728;
          "net.core.wmem_max" = 134217728;
          "fs.nr_open" = 1048576;
        }
      );
    })

    (lib.mkIf cfg.enable {
      networking.firewall.allowedTCPPorts = lib.mkIf cfg.openFirewall [ (shared.portOf address) ];

      systemd.services.neard = {
        description = "NEAR node";
        wantedBy = [ "multi-user.target" ];
        wants = [ "network-online.target" ];
        requires = [ "neard-setup.service" ];
        after = [
          "network-online.target"
          "neard-setup.service"
        ];
        unitConfig.StartLimitIntervalSec = 0;
        serviceConfig = import ./sandbox.nix // {
          ExecStart = "${lib.getExe' cfg.package "neard"} --home ${cfg.home} run";
          User = cfg.user;
          Group = cfg.user;
          StateDirectory = cfg.stateDirectory;
          StateDirectoryMode = "0750";
          WorkingDirectory = cfg.home;
          Restart = "always";
          RestartSec = "5s";
          # It closes its database.
          TimeoutStopSec = "3min";
          LimitNOFILE = 1048576;
          # A core may hold the key.
          LimitCORE = 0;
          RestrictRealtime = true;
        };
      };
    })
  ];
}
