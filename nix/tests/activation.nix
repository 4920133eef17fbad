# The sockets start the service, and a restart refuses no connection.
{ pkgs }:
import ./common.nix {
  inherit pkgs;
  name = "activation";
}
