# What `nix flake check` builds and runs.
{ pkgs, ... }:
let
  inherit (pkgs) kuutamo;
in
{
  inherit (kuutamo) kneard neard-sim;
}
