{
  description = "A NEAR validator on two hosts, with an arbiter";

  inputs = {
    kneard.url = "github:kuutamolabs/near-staking-knd";
    # What kneard is tested with.
    nixpkgs.follows = "kneard/nixpkgs";
  };

  outputs =
    { nixpkgs, kneard, ... }:
    let
      host =
        name: modules:
        nixpkgs.lib.nixosSystem {
          modules = [
            kneard.nixosModules.default
            ./cluster.nix
            (./hardware + "/${name}.nix")
            { networking.hostName = name; }
          ]
          ++ modules;
        };
    in
    {
      nixosConfigurations = {
        host-a = host "host-a" [ ./validator.nix ];
        host-b = host "host-b" [ ./validator.nix ];
        arbiter = host "arbiter" [ ];
      };
    };
}
