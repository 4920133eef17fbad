# What cargo needs of this repository. Changes elsewhere (documents, modules, these files) build
# nothing anew. A workspace is read as a whole, so each package needs all its members.
{ lib }:
let
  inherit (lib) fileset;
in
fileset.toSource {
  root = ../.;
  fileset = fileset.unions [
    ../Cargo.toml
    ../Cargo.lock
    ../src
    ../systemd
    # Compiled in.
    ../docs/consul-policy.hcl
    ../tests/fuzz/src
    # Named by Cargo.toml.
    ../tests/bench
    ../tests/chaos
    ../tests/neard-sim
    ../tests/proof
  ];
}
