# On the two hosts that can validate.
{ config, ... }:
{
  # "mainnet" is all that mainnet takes.
  kuutamo.neard.chainId = "testnet";

  # The chain's data, for a host that has none. Without it neard gets it from its peers.
  # kuutamo.neard.bootstrap.command = "rclone copy --transfers 32 …:testnet data";

  kuutamo.kneard = {
    enable = true;
    accountId = "validator.pool.f863973.m0";
    # The same on both hosts. With sops-nix: config.sops.secrets.validator-key.path
    validatorKeyFile = "/var/lib/secrets/validator-key.json";
    publicAddress =
      {
        host-a = "192.0.2.1";
        host-b = "192.0.2.2";
      }
      .${config.networking.hostName};
    # operators = [ "alice" ];
  };
}
