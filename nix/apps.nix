# `nix run`: the local network with its story, and the operator's tool.
{ pkgs }:
let
  inherit (pkgs) lib kuutamo;
  localnet = pkgs.writeShellApplication {
    name = "kneard-localnet";
    runtimeInputs = [
      kuutamo.kneard
      kuutamo.neard-sim
      pkgs.consul
    ];
    text = ''
      if [ $# = 0 ]; then set -- --demo; fi
      exec kneard-ctl localnet "$@"
    '';
  };
in
rec {
  localnet-demo = {
    type = "app";
    program = lib.getExe localnet;
    meta.description = "A network of five nodes on this machine, in which a validator fails over";
  };
  kneard-ctl = {
    type = "app";
    program = "${kuutamo.kneard}/bin/kneard-ctl";
    meta.description = "Ask and order a running kneard";
  };
  default = localnet-demo;
}
