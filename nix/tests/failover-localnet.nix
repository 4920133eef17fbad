# Whatever happens to the validator's host, the other one takes over.
{ pkgs }:
import ./common.nix {
  inherit pkgs;
  name = "failover-localnet";
}
