# All packages of this repository, built with the nixpkgs that is given.
{ pkgs }:
{
  kneard = pkgs.callPackage ./package.nix { };
  neard = pkgs.callPackage ./neard { };
  neard-sim = pkgs.callPackage ./neard-sim.nix { };
}
