# The machines' tests that `nix flake check` runs: a file each.
{ pkgs }:
pkgs.lib.genAttrs [
  "acl"
  "activation"
  "consul-leader-loss"
  "credentials"
  "failover-localnet"
  "failover-testnet"
  "freeze-watchdog"
  "manual"
  "partition"
  "upgrade"
] (name: import (./. + "/${name}.nix") { inherit pkgs; })
