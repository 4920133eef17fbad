# What several modules here share.
{ lib, pkgs }:
rec {
  /*
    This repository's packages: from the overlay where there is one, else built with the nixpkgs of
    the configuration.
  */
  packages = pkgs.kuutamo or (import ../nix/packages.nix { inherit pkgs; });

  types = {
    duration = lib.types.strMatching "[0-9]+(ms|s|m|min|h)" // {
      description = "duration: a number and one of ms, s, m, min, h";
    };
    # A path is given as a string, or it would be copied into the store, which all can read.
    secretFile = lib.types.path // {
      description = "absolute path outside the Nix store, as a string";
    };
  };

  milliseconds =
    duration:
    let
      parts = builtins.match "([0-9]+)(ms|s|m|min|h)" duration;
      factor = {
        ms = 1;
        s = 1000;
        m = 60000;
        min = 60000;
        h = 3600000;
      };
    in
    lib.toIntBase10 (lib.head parts) * factor.${lib.last parts};

  inStore = file: builtins.isPath file || lib.hasPrefix builtins.storeDir (toString file);

  # An assertion for each secret of the set that would be copied into the store.
  notInStore =
    prefix: files:
    lib.mapAttrsToList (name: file: {
      assertion = file == null || !inStore file;
      message = ''
        ${prefix}.${name} is ${toString file}, in the Nix store or about to be copied there, where
        every user can read it. Give the path as a string, to a file that is on the machine only:
          ${prefix}.${name} = "/run/secrets/${lib.toLower name}";
      '';
    }) files;

  hostOf = address: if lib.hasInfix ":" address then "[${address}]" else address;

  portOf = address: lib.toIntBase10 (lib.last (lib.splitString ":" address));
}
