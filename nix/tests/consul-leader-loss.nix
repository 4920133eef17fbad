# Consul loses its leader, and the validator goes on.
{ pkgs }:
import ./common.nix {
  inherit pkgs;
  name = "consul-leader-loss";
}
