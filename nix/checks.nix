# What `nix flake check` builds and runs.
{ pkgs, self }:
let
  inherit (pkgs) kuutamo;
in
{
  inherit (kuutamo) kneard neard-sim;
}
