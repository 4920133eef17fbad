{
  config,
  lib,
  pkgs,
  ...
}:
let
  inherit (lib) mkOption types;
  shared = import ../lib.nix { inherit lib pkgs; };
  json = (pkgs.formats.json { }).type;
in
{
  options.kuutamo.neard = {
    enable = lib.mkEnableOption ''
      neard alone, without failover. With {option}`kuutamo.kneard.enable` kneard runs neard, and this
      stays off'';

    package = mkOption {
      type = types.package;
      default = shared.packages.neard;
      defaultText = lib.literalMD "`neard` of this flake";
      description = ''
        NEAR's node. nixpkgs' `neard` is a daemon for NFC, and its `nearcore` is too old.
      '';
    };

    chainId = mkOption {
      type = types.nullOr types.str;
      default = null;
      example = "testnet";
      description = ''
        The chain: `mainnet`, `testnet`, `localnet` or that of your own. The modules
        `neard-mainnet`, `neard-testnet` and `neard-localnet` set it. With null nothing is made: the
        home must hold what `neard init` makes.
      '';
    };

    settings = mkOption {
      type = json;
      default = { };
      example = {
        rpc.addr = "127.0.0.1:3030";
        archive = false;
      };
      description = ''
        Fields of neard's `config.json`. Before each start they are merged into the file that is
        there, field by field; fields that are not named here stay as they are. null is written as
        such: `rpc = null` turns the RPC off.
      '';
    };

    configFile = mkOption {
      type = types.nullOr types.path;
      default = null;
      description = ''
        A JSON file that is merged into `config.json` in the same way, before the settings.
      '';
    };

    genesisFile = mkOption {
      type = types.nullOr types.path;
      default = null;
      description = ''
        The chain's genesis. With null neard brings it (mainnet) or downloads it (testnet) when the
        home is made.
      '';
    };

    downloadConfig = mkOption {
      type = types.nullOr (
        types.enum [
          "validator"
          "rpc"
          "archival"
        ]
      );
      default =
        if
          lib.elem config.kuutamo.neard.chainId [
            "mainnet"
            "testnet"
          ]
        then
          "validator"
        else
          null;
      defaultText = lib.literalMD "`\"validator\"` on mainnet and testnet, else null";
      description = ''
        Which of the chain's own `config.json` files neard downloads when the home is made. It brings
        boot nodes of the day, which no package can.
      '';
    };

    initFlags = mkOption {
      type = types.listOf (types.strMatching "[^ \n]+" // { description = "string without spaces"; });
      default = [ ];
      example = [
        "--download-config-url"
        "https://example.org/config.json"
      ];
      description = "More flags for the `neard init` that makes the home.";
    };

    bootNodes = mkOption {
      type = types.listOf (types.strMatching "ed25519:[1-9A-HJ-NP-Za-km-z]+@.+:[0-9]+");
      default = [ ];
      example = [ "ed25519:86EtEy7epneKyrcJwSWP7zsisTkfDRH5CFVszt4qiQYw@192.0.2.1:24567" ];
      description = "Boot nodes instead of those in `config.json`.";
    };

    generateNodeKey = mkOption {
      type = types.bool;
      default = true;
      description = "Make `node_key.json` where there is none.";
    };

    s3 = {
      dataBackupDirectory = mkOption {
        type = types.nullOr types.str;
        default = null;
        example = "s3://example-backups/testnet/rpc/2026-09-06T23:00:55Z";
        description = "Where a home without data gets it from: a directory in an S3 bucket.";
      };
      dataBackupTarball = mkOption {
        type = types.nullOr types.str;
        default = null;
        example = "s3://example-backups/data.tar.gz";
        description = "The same from an archive that holds `data/`; it is unpacked as it comes.";
      };
      signRequests = mkOption {
        type = types.bool;
        default = false;
        description = "Sign the requests: for a bucket of your own. A public one takes unsigned ones.";
      };
    };

    bootstrap.command = mkOption {
      type = types.nullOr types.lines;
      default = null;
      example = "rclone copy --transfers 32 snapshot:testnet data";
      description = ''
        Shell commands that fill `data` in the current directory, for a home without data. They run
        as neard's user and are repeated until they succeed; the programs that they need go into
        {option}`systemd.services.neard-setup.path`.
      '';
    };

    kernelTuning = mkOption {
      type = types.bool;
      default = true;
      description = ''
        Raise the kernel's limits of socket buffers and open files for a busy node.
      '';
    };

    openFirewall = mkOption {
      type = types.bool;
      default = false;
      description = "Open the port of {option}`settings.network.addr` (24567) when neard runs alone.";
    };

    user = mkOption {
      type = types.str;
      default = "neard";
      description = "User and group of neard and its home. Under kneard: `kneard`.";
    };

    stateDirectory = mkOption {
      type = types.strMatching "[a-zA-Z0-9_.-]+";
      default = "neard";
      description = ''
        Name of neard's home below `/var/lib`. Under kneard the default is `kneard`; to keep the home
        of a neard that ran alone, set `neard`.
      '';
    };

    home = mkOption {
      type = types.str;
      readOnly = true;
      default = "/var/lib/${config.kuutamo.neard.stateDirectory}";
      defaultText = lib.literalMD "`/var/lib/` and {option}`stateDirectory`";
      description = "neard's home.";
    };
  };
}
