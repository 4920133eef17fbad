# What cannot work, and what to write instead.
{
  config,
  lib,
  pkgs,
  ...
}:
let
  cfg = config.kuutamo.kneard;
  neard = config.kuutamo.neard;
  shared = import ../lib.nix { inherit lib pkgs; };
  ms = shared.milliseconds;
  public = lib.elem neard.chainId [
    "mainnet"
    "testnet"
  ];
  hotSwap =
    cfg.promotion == "hot-swap" || (cfg.promotion == "auto" && cfg.validatorNodeKeyFile == null);
  local = lib.any (
    url: lib.hasInfix "//127.0.0.1" url || lib.hasInfix "//localhost" url || lib.hasInfix "//[::1]" url
  ) cfg.consulAddresses;
in
{
  config = lib.mkIf cfg.enable {
    assertions = [
      {
        assertion = !neard.enable;
        message = ''
          kuutamo.neard.enable and kuutamo.kneard.enable would both start neard with this validator's
          home. kneard runs it: remove kuutamo.neard.enable.
        '';
      }
      {
        assertion = 4 * ms cfg.killMargin + 1000 <= ms cfg.lease && ms cfg.lease <= 60000;
        message = ''
          kuutamo.kneard.lease must be between 4 x killMargin + 1 s and 60 s:
          4 x ${cfg.killMargin} + 1s <= ${cfg.lease} <= 60s does not hold. The defaults do:
            kuutamo.kneard.lease = "7s";
            kuutamo.kneard.killMargin = "500ms";
        '';
      }
      {
        assertion = ms cfg.killMargin >= 500;
        message = ''
          kuutamo.kneard.killMargin is ${cfg.killMargin}, below 500ms, the least in which a guard surely kills.
          Leave it out.
        '';
      }
      {
        assertion = ms cfg.watchdog + ms cfg.killMargin + 2000 <= ms cfg.lease;
        message = ''
          kuutamo.kneard.watchdog is too long for the lease: a kneard that hangs would be replaced at
          the lease's end only. watchdog + killMargin + 2 s <= lease must hold, and
          ${cfg.watchdog} + ${cfg.killMargin} + 2s <= ${cfg.lease} does not. Write a longer lease, or a watchdog of at most
            kuutamo.kneard.watchdog = "${toString (lib.max 1 (ms cfg.lease - ms cfg.killMargin - 2000))}ms";
        '';
      }
      {
        assertion = cfg.validatorNodeKeyFile == null || cfg.voterNodeKeyFile != null;
        message = ''
          kuutamo.kneard.validatorNodeKeyFile is set without a node key for the standby; two nodes
          with one key disturb each other. Give each host one of its own:
            kuutamo.kneard.voterNodeKeyFile = "/run/secrets/voter-node-key.json";
          or, for hot swap, leave validatorNodeKeyFile out.
        '';
      }
      {
        assertion = cfg.promotion != "restart" || cfg.validatorNodeKeyFile != null;
        message = ''
          kuutamo.kneard.promotion = "restart" needs the node key that moves with the validator key:
            kuutamo.kneard.validatorNodeKeyFile = "/run/secrets/validator-node-key.json";
            kuutamo.kneard.voterNodeKeyFile = "/run/secrets/voter-node-key.json";
          Without them leave promotion out: hot swap restarts nothing.
        '';
      }
      {
        assertion =
          !(public && hotSwap)
          || cfg.accountId != null
          || neard.settings.tracked_shards_config or "NoShards" != "NoShards";
        message = ''
          A standby on ${toString neard.chainId} has to follow the shards of its validator. Say which account that is:
            kuutamo.kneard.accountId = "validator.near";
        '';
      }
      {
        assertion = !(neard.settings ? network.addr) && !(neard.settings ? network.public_addrs);
        message = ''
          kuutamo.neard.settings sets network.addr or network.public_addrs, which kneard writes. Use
            kuutamo.kneard.validatorNetworkAddress = "0.0.0.0:24567";
            kuutamo.kneard.publicAddress = "192.0.2.1";
        '';
      }
      {
        assertion = !(neard.settings ? rpc) || neard.settings.rpc != null;
        message = ''
          kuutamo.neard.settings.rpc = null turns off what kneard watches neard by. Keep it on this
          host only:
            kuutamo.neard.settings.rpc.addr = "127.0.0.1:3030";
        '';
      }
      {
        assertion = cfg.consulAddresses != [ ];
        message = ''
          kuutamo.kneard.consulAddresses is empty; without Consul there is no election:
            kuutamo.kneard.consulAddresses = [ "http://127.0.0.1:8500" ];
        '';
      }
      {
        assertion = !local || config.services.consul.enable;
        message = ''
          kuutamo.kneard.consulAddresses names an agent on this host, and none runs here. Either
            kuutamo.consul = {
              enable = true;
              servers = { host-a = "10.0.0.1"; host-b = "10.0.0.2"; host-c = "10.0.0.3"; };
            };
          or give the addresses of yours.
        '';
      }
      {
        assertion = (cfg.consulCertFile == null) == (cfg.consulKeyFile == null);
        message = ''
          kuutamo.kneard.consulCertFile and consulKeyFile belong together: set both, or none.
        '';
      }
    ]
    ++ shared.notInStore "kuutamo.kneard" {
      inherit (cfg)
        validatorKeyFile
        validatorNodeKeyFile
        voterNodeKeyFile
        consulTokenFile
        consulKeyFile
        ;
    };
  };
}
