# The template's three systems, with this flake and a nixpkgs in place of its inputs.
{ nixpkgs }:
let
  template = import ../templates/cluster/flake.nix;
  outputs = template.outputs {
    nixpkgs.lib = (import (nixpkgs + "/lib")) // {
      nixosSystem =
        arguments: import (nixpkgs + "/nixos/lib/eval-config.nix") ({ system = null; } // arguments);
    };
    kneard.nixosModules.default = ../modules;
  };
in
builtins.mapAttrs (
  _: system: system.config.system.build.toplevel.drvPath
) outputs.nixosConfigurations
