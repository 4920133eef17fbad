# A new program on both hosts, and no block missed.
{ pkgs }:
import ./common.nix {
  inherit pkgs;
  name = "upgrade";
}
