# neard on testnet.
{ lib, ... }:
{
  imports = [ ./. ];
  kuutamo.neard.chainId = lib.mkDefault "testnet";
}
