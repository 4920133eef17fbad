{
  description = "kneard: high availability for NEAR validators";

  inputs.nixpkgs.url = "github:NixOS/nixpkgs/nixos-26.05";

  outputs =
    { self, nixpkgs }:
    let
      inherit (nixpkgs) lib;
      systems = [
        "x86_64-linux"
        "aarch64-linux"
      ];
      eachSystem = f: lib.genAttrs systems (system: f pkgsFor.${system});
      # Consul is unfree (BUSL). This choice is the flake's own: its packages, shell and tests. A
      # configuration that imports the modules makes its own.
      pkgsFor = lib.genAttrs systems (
        system:
        import nixpkgs {
          inherit system;
          overlays = [ self.overlays.default ];
          config.allowUnfreePredicate = package: lib.getName package == "consul";
        }
      );
    in
    {
      packages = eachSystem (
        { kuutamo, ... }:
        {
          inherit (kuutamo) kneard neard neard-sim;
          default = kuutamo.kneard;
        }
      );

      # One name only, since nixpkgs has a `neard` (a daemon for NFC) and an old `nearcore`.
      overlays.default = final: _: { kuutamo = import ./nix/packages.nix { pkgs = final; }; };

      nixosModules = {
        neard = ./modules/neard;
        neard-localnet = ./modules/neard/localnet.nix;
        neard-testnet = ./modules/neard/testnet.nix;
        neard-mainnet = ./modules/neard/mainnet.nix;
        kneard = ./modules/kneard;
        consul = ./modules/consul;
        monitoring = ./modules/monitoring;
        default = ./modules;
      };

      checks = eachSystem (pkgs: import ./nix/checks.nix { inherit pkgs self; });

      # Too large for every check: `nix build .#failover-localnet-neard` builds the real neard.
      legacyPackages = eachSystem (pkgs: {
        failover-localnet-neard = import ./nix/tests/failover-localnet-neard.nix { inherit pkgs self; };
      });

      devShells = eachSystem (pkgs: {
        default = import ./nix/shell.nix { inherit pkgs; };
      });

      formatter = eachSystem (pkgs: pkgs.nixfmt-tree);

      apps = eachSystem (pkgs: import ./nix/apps.nix { inherit pkgs; });

      templates = rec {
        cluster = {
          path = ./templates/cluster;
          description = "Two validators and an arbiter, deployed with nixos-rebuild";
        };
        default = cluster;
      };
    };
}
