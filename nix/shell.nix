# `nix develop`: the tutorial, the tests, and the Rust toolchain.
{ pkgs }:
pkgs.mkShell {
  packages = [
    # The tutorial and the tests' clusters. The real neard is large: `nix shell .#neard`.
    pkgs.consul
    pkgs.kuutamo.neard-sim
    pkgs.hivemind
    pkgs.honcho
    pkgs.jq
    pkgs.curl

    pkgs.cargo
    pkgs.rustc
    pkgs.rustfmt
    pkgs.clippy
    pkgs.rust-analyzer

    # Tests with network namespaces and machines, and the type checker of their scripts.
    pkgs.iproute2
    pkgs.util-linux
    pkgs.debootstrap
    (pkgs.python3.withPackages (python: [ python.mypy ]))

    pkgs.nixfmt
    pkgs.deadnix
    pkgs.shellcheck
  ];

  env.RUST_SRC_PATH = "${pkgs.rustPlatform.rustLibSrc}";
}
