# The network between the hosts is cut, in every way.
{ pkgs }:
import ./common.nix {
  inherit pkgs;
  name = "partition";
}
