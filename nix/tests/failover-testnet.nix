# On a public chain, whose rules forbid a node with a key to track all shards.
{ pkgs }:
import ./common.nix {
  inherit pkgs;
  name = "failover-testnet";
  chainId = "testnet";
  # The script spoils config.json by hand; the settings would mend it at the next start.
  validator =
    { lib, ... }:
    {
      kuutamo.neard.settings = lib.mkForce { store.load_mem_tries_for_tracked_shards = true; };
    };
}
