# neard without failover, and when it does not start.
{ pkgs }:
import ./common.nix {
  inherit pkgs;
  name = "manual";
}
