# The failover with NEAR's own node, which is large to build: outside of `nix flake check`.
{ pkgs, ... }:
import ./common.nix {
  inherit pkgs;
  name = "failover-localnet-neard";
  script = ../../tests/vm/failover_localnet.py;
  neard = pkgs.kuutamo.neard;
  words = builtins.readFile ./real-neard.py;
  all.virtualisation.memorySize = pkgs.lib.mkForce 6144;
}
