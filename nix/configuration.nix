# One complete NixOS system for evaluations: { nixpkgs, system, modules } to its evaluation.
{
  nixpkgs,
  system ? "x86_64-linux",
  modules,
}:
import (nixpkgs + "/nixos/lib/eval-config.nix") {
  inherit system;
  modules = [
    ../modules
    {
      boot.loader.grub.enable = false;
      fileSystems."/" = {
        device = "/dev/vda";
        fsType = "ext4";
      };
      networking.hostName = "host-a";
      system.stateVersion = "26.05";
      # A reference manual needs all modules read.
      documentation.enable = false;
    }
  ]
  ++ modules;
}
