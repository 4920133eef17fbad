# neard on mainnet.
{ lib, ... }:
{
  imports = [ ./. ];
  kuutamo.neard.chainId = lib.mkDefault "mainnet";
}
