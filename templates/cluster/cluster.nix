# On all three hosts: Consul, and the way in for you.
{ lib, ... }:
{
  # Consul is unfree (BUSL).
  nixpkgs.config.allowUnfreePredicate = package: lib.getName package == "consul";

  kuutamo.consul = {
    enable = true;
    # The hosts' addresses in a network of their own (WireGuard, a VLAN). Three places that do not
    # fail together.
    servers = {
      host-a = "10.0.0.1";
      host-b = "10.0.0.2";
      arbiter = "10.0.0.3";
    };
    # {"encrypt": "…"}, with a key made by `consul keygen`.
    extraConfigFiles.gossip = "/var/lib/secrets/consul-gossip.json";
  };

  services.openssh = {
    enable = true;
    settings.PasswordAuthentication = false;
  };
  # users.users.root.openssh.authorizedKeys.keys = [ "ssh-ed25519 …" ];

  system.stateVersion = "26.05";
}
