# What nix/eval-check evaluates, given a nixpkgs tree: configurations, assertions and units.
{
  nixpkgs,
  system ? "x86_64-linux",
}:
let
  lib = import (nixpkgs + "/lib");
  evaluate =
    modules:
    (import ./configuration.nix {
      inherit nixpkgs system modules;
    }).config;

  unfree.nixpkgs.config.allowUnfreePredicate = package: lib.getName package == "consul";
  servers = {
    host-a = "10.0.0.1";
    host-b = "10.0.0.2";
    arbiter = "10.0.0.3";
  };
  consul = {
    imports = [ unfree ];
    kuutamo.consul = {
      enable = true;
      inherit servers;
    };
  };
  testnet.kuutamo.neard.chainId = "testnet";
  kneard = {
    imports = [
      consul
      testnet
    ];
    kuutamo.kneard = {
      enable = true;
      accountId = "validator.near";
      validatorKeyFile = "/run/secrets/validator-key.json";
    };
  };
  nodeKeys.kuutamo.kneard = {
    validatorNodeKeyFile = "/run/secrets/validator-node-key.json";
    voterNodeKeyFile = "/run/secrets/voter-node-key.json";
  };
  with' = base: more: {
    imports = [
      base
      more
    ];
  };
in
{
  configurations = lib.mapAttrs (_: module: evaluate [ module ]) {
    nothing = { };
    neard-mainnet = {
      imports = [ ../modules/neard/mainnet.nix ];
      kuutamo.neard = {
        enable = true;
        openFirewall = true;
        s3.dataBackupDirectory = "s3://backups/mainnet/rpc/2026-09-06";
      };
    };
    neard-testnet = {
      imports = [ ../modules/neard/testnet.nix ];
      kuutamo.neard = {
        enable = true;
        genesisFile = ./configuration.nix;
        configFile = ./configuration.nix;
        kernelTuning = false;
        s3 = {
          dataBackupTarball = "s3://backups/data.tar.gz";
          signRequests = true;
        };
      };
    };
    neard-localnet = {
      imports = [ ../modules/neard/localnet.nix ];
      kuutamo.neard = {
        enable = true;
        bootstrap.command = "mkdir data";
        bootNodes = [ "ed25519:86EtEy7epneKyrcJwSWP7zsisTkfDRH5CFVszt4qiQYw@192.0.2.1:24567" ];
        settings.archive = true;
        generateNodeKey = false;
      };
    };
    kneard-hot-swap = kneard;
    kneard-restart = with' kneard nodeKeys;
    kneard-mainnet = with' kneard { kuutamo.neard.chainId = lib.mkForce "mainnet"; };
    kneard-without-sockets = with' kneard { kuutamo.kneard.socketActivation = false; };
    kneard-home-of-neard = with' kneard { kuutamo.neard.stateDirectory = "neard"; };
    kneard-other-consul = {
      imports = [ testnet ];
      kuutamo.kneard = {
        enable = true;
        accountId = "validator.near";
        validatorKeyFile = "/run/agenix/validator-key";
        consulAddresses = [ "https://consul.example.org:8501" ];
        consulTokenFile = "/run/agenix/consul-token";
        consulCertFile = "/run/agenix/cert.pem";
        consulKeyFile = "/run/agenix/key.pem";
        consulCaFile = ./configuration.nix;
      };
    };
    kneard-every-option = with' (with' kneard nodeKeys) {
      kuutamo.kneard = {
        nodeId = "a";
        publicAddress = "192.0.2.1";
        lease = "15s";
        killMargin = "1s";
        watchdog = "6s";
        maxLag = 5;
        promotion = "hot-swap";
        promotionTimeout = "20min";
        stopTimeout = "30s";
        doppelgangerCheck = false;
        validatorNetworkAddress = "0.0.0.0:34567";
        voterNetworkAddress = "0.0.0.0:34568";
        openFirewall = false;
        exporterAddress = "10.0.0.1:2233";
        operators = [ "alice" ];
        rolloutTimeout = "1min";
        environment.KUUTAMO_ALLOW_READABLE_KEYS = "true";
      };
      users.users.alice.isNormalUser = true;
    };
    kuutamod-names = {
      imports = [
        consul
        testnet
      ];
      kuutamo.kneard.enable = true;
      kuutamo.neard.enableSolanaKernelTuning = false;
      kuutamo.kuutamod = {
        accountId = "validator.near";
        validatorKeyFile = "/run/secrets/validator-key.json";
        publicAddresses = [ "192.0.2.1" ];
        openFirewall = false;
      };
    };
    consul-server = consul;
    consul-client = with' consul {
      networking.hostName = lib.mkForce "host-d";
      kuutamo.consul.clients.host-d = "10.0.0.4";
    };
    consul-by-interface = with' consul {
      kuutamo.consul = {
        interface = "wg0";
        apiForMembers = true;
      };
    };
    consul-everything = with' consul {
      networking.nftables.enable = true;
      kuutamo.consul = {
        servers = lib.mkForce (lib.mapAttrs (name: _: "fd00::${lib.substring 5 1 name}1") servers);
        apiForMembers = true;
        extraConfigFiles.gossip = "/run/secrets/gossip.json";
        tls = {
          caFile = "/run/secrets/ca.pem";
          certFile = "/run/secrets/cert.pem";
          keyFile = "/run/secrets/key.pem";
        };
        acl = {
          enable = true;
          managementTokenFile = "/run/secrets/management";
          kneard.host-a = {
            accountId = "validator.near";
            agents = [ "host-b" ];
            tokenFile = "/run/secrets/kneard-a";
          };
        };
      };
    };
    monitoring = with' kneard {
      services.grafana = {
        enable = true;
        settings.security.secret_key = "$__file{/run/secrets/grafana}";
      };
      kuutamo.monitoring = {
        grafana.enable = true;
        prometheus = {
          enable = true;
          hosts = [ "10.0.0.1" ];
          consulHosts = [ "localhost" ];
        };
      };
    };
  };

  # Each with a piece of the one message that it must bring.
  assertions =
    lib.mapAttrs
      (
        _:
        { module, says }:
        {
          inherit says;
          messages = map (a: a.message) (lib.filter (a: !a.assertion) (evaluate [ module ]).assertions);
        }
      )
      {
        key-in-store = {
          module = with' kneard { kuutamo.kneard.validatorKeyFile = lib.mkForce ./configuration.nix; };
          says = ''kuutamo.kneard.validatorKeyFile = "/run/secrets/validatorkeyfile"'';
        };
        token-in-store = {
          module = with' kneard { kuutamo.kneard.consulTokenFile = "${builtins.storeDir}/aaa-token"; };
          says = "kuutamo.kneard.consulTokenFile is /nix/store/aaa-token";
        };
        gossip-key-in-store = {
          module = with' consul { kuutamo.consul.extraConfigFiles.gossip = ./eval.nix; };
          says = "kuutamo.consul.extraConfigFiles.gossip is";
        };
        tls-key-in-store = {
          module = with' consul {
            kuutamo.consul.tls = {
              caFile = "/run/ca.pem";
              certFile = "/run/cert.pem";
              keyFile = ./eval.nix;
            };
          };
          says = "kuutamo.consul.tls.keyFile is";
        };
        acl-token-in-store = {
          module = with' consul {
            kuutamo.consul.acl = {
              enable = true;
              kneard.host-a = {
                accountId = "validator.near";
                tokenFile = ./eval.nix;
              };
            };
          };
          says = "kuutamo.consul.acl.kneard.host-a.tokenFile is";
        };
        two-services-with-the-key = {
          module = with' kneard { kuutamo.neard.enable = true; };
          says = "remove kuutamo.neard.enable";
        };
        lease-too-short = {
          module = with' kneard {
            kuutamo.kneard = {
              lease = "4s";
              killMargin = "1s";
              watchdog = "1s";
            };
          };
          says = "4 x 1s + 1s <= 4s <= 60s does not hold";
        };
        lease-too-long = {
          module = with' kneard { kuutamo.kneard.lease = "61s"; };
          says = "4 x 500ms + 1s <= 61s <= 60s does not hold";
        };
        kill-margin-too-short = {
          module = with' kneard { kuutamo.kneard.killMargin = "100ms"; };
          says = "killMargin is 100ms, below 500ms";
        };
        lease-shorter-than-watchdog = {
          module = with' kneard { kuutamo.kneard.watchdog = "5s"; };
          says = ''kuutamo.kneard.watchdog = "4500ms"'';
        };
        node-key-for-one-role = {
          module = with' kneard { kuutamo.kneard.validatorNodeKeyFile = "/run/secrets/n"; };
          says = "kuutamo.kneard.voterNodeKeyFile =";
        };
        restart-without-node-key = {
          module = with' kneard { kuutamo.kneard.promotion = "restart"; };
          says = ''kuutamo.kneard.promotion = "restart" needs'';
        };
        account-unknown = {
          module = with' kneard { kuutamo.kneard.accountId = lib.mkForce null; };
          says = ''kuutamo.kneard.accountId = "validator.near"'';
        };
        all-shards = {
          module = with' kneard { kuutamo.neard.settings.tracked_shards_config = "AllShards"; };
          says = ''tracked_shards_config.ShadowValidator = "validator.near"'';
        };
        network-address-in-settings = {
          module = with' kneard { kuutamo.neard.settings.network.addr = "0.0.0.0:1"; };
          says = "kuutamo.kneard.validatorNetworkAddress =";
        };
        no-rpc = {
          module = with' kneard { kuutamo.neard.settings.rpc = null; };
          says = ''kuutamo.neard.settings.rpc.addr = "127.0.0.1:3030"'';
        };
        no-consul-address = {
          module = with' kneard { kuutamo.kneard.consulAddresses = [ ]; };
          says = ''kuutamo.kneard.consulAddresses = [ "http://127.0.0.1:8500" ]'';
        };
        no-consul-here = {
          module = with' kneard { kuutamo.consul.enable = lib.mkForce false; };
          says = "or give the addresses of yours";
        };
        certificate-without-key = {
          module = with' kneard { kuutamo.kneard.consulCertFile = "/run/cert.pem"; };
          says = "consulCertFile and consulKeyFile belong together";
        };
        wrong-neard =
          let
            pkgs = import nixpkgs { inherit system; };
          in
          {
            module = with' kneard { kuutamo.neard.package = pkgs.neard; };
            says = "a daemon for NFC";
          };
        two-backups = {
          module = with' testnet {
            kuutamo.neard = {
              enable = true;
              s3.dataBackupDirectory = "s3://a";
              s3.dataBackupTarball = "s3://b";
            };
          };
          says = "Keep one of them";
        };
        consul-unfree = {
          module = with' consul { nixpkgs.config.allowUnfreePredicate = lib.mkForce (_: false); };
          says = ''nixpkgs.config.allowUnfreePredicate = package: lib.getName package == "consul";'';
        };
        even-number-of-servers = {
          module = with' consul {
            kuutamo.consul.servers = lib.mkForce (removeAttrs servers [ "arbiter" ]);
          };
          says = "names 2 servers. It takes an odd number";
        };
        unknown-host = {
          module = with' consul { networking.hostName = lib.mkForce "host-x"; };
          says = ''kuutamo.consul.clients.host-x = "10.0.0.4"'';
        };
        half-of-tls = {
          module = with' consul { kuutamo.consul.tls.caFile = "/run/ca.pem"; };
          says = "needs all three of caFile, certFile and keyFile";
        };
        policies-without-acl = {
          module = with' consul {
            kuutamo.consul.acl.kneard.host-a.accountId = "validator.near";
          };
          says = "kuutamo.consul.acl.enable = true";
        };
      };

  # As the modules write them: beside kneard's own unit files they are drop-ins.
  units =
    let
      texts = module: names: lib.genAttrs names (name: (evaluate [ module ]).systemd.units.${name}.text);
    in
    texts
      (with' kneard {
        kuutamo.kneard.exporterAddress = "10.0.0.1:2233";
        kuutamo.consul = {
          extraConfigFiles.gossip = "/run/secrets/gossip.json";
          acl = {
            enable = true;
            managementTokenFile = "/run/secrets/management";
          };
        };
      })
      [
        "kneard.service"
        "kneard-manual.service"
        "kneard.socket"
        "kneard-exporter.socket"
        "kneard-rollout.service"
        "neard-setup.service"
        "consul.service"
        "consul-kneard-acl.service"
      ]
    // texts {
      imports = [ testnet ];
      kuutamo.neard.enable = true;
    } [ "neard.service" ];

  # The same for the test machines of tests/vm, which have their home, their key and no Nix store.
  machines =
    let
      inherit
        (evaluate [
          consul
          {
            kuutamo.kneard = {
              enable = true;
              accountId = "node3";
              validatorKeyFile = null;
            };
          }
        ])
        systemd
        ;
    in
    lib.genAttrs [
      "kneard.service"
      "kneard-manual.service"
      "kneard.socket"
      "kneard-exporter.socket"
      "neard-setup.service"
    ] (name: systemd.units.${name}.text);
}
