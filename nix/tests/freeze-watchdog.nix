# What hangs is ended by the watchdog, within the lease.
{ pkgs }:
import ./common.nix {
  inherit pkgs;
  name = "freeze-watchdog";
}
