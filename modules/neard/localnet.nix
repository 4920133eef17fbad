# neard on localnet.
{ lib, ... }:
{
  imports = [ ./. ];
  kuutamo.neard.chainId = lib.mkDefault "localnet";
}
