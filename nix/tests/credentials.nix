# The validator key is a credential, and nowhere else.
{ pkgs }:
import ./common.nix {
  inherit pkgs;
  name = "credentials";
}
