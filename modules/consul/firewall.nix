# Consul's ports for the other members only, with either of NixOS' firewalls.
{ config, lib, ... }:
let
  cfg = config.kuutamo.consul;
  addresses = lib.attrValues (removeAttrs (cfg.servers // cfg.clients) [ cfg.nodeName ]);
  v6 = lib.hasInfix ":";
  # RPC between servers, gossip within the cluster, and the API where it is shared.
  tcp = [
    8300
    8301
  ]
  ++ lib.optional cfg.apiForMembers 8500;
  udp = [ 8301 ];
  ports = lib.concatMapStringsSep "," toString;

  nftables = address: ''
    ${if v6 address then "ip6" else "ip"} saddr ${address} tcp dport { ${ports tcp} } accept
    ${if v6 address then "ip6" else "ip"} saddr ${address} udp dport { ${ports udp} } accept
  '';
  iptables =
    address:
    let
      command = if v6 address then "ip6tables" else "iptables";
    in
    ''
      ${command} -w -A nixos-fw -s ${address} -p tcp -m multiport --dports ${ports tcp} -j nixos-fw-accept
      ${command} -w -A nixos-fw -s ${address} -p udp -m multiport --dports ${ports udp} -j nixos-fw-accept
    '';
in
{
  config = lib.mkIf (cfg.enable && cfg.openFirewall) {
    # The chain nixos-fw is made anew at each start, so there is nothing to take back.
    networking.firewall =
      if config.networking.nftables.enable then
        { extraInputRules = lib.concatMapStrings nftables addresses; }
      else
        { extraCommands = lib.concatMapStrings iptables addresses; };
  };
}
