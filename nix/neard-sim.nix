# The stand-in for neard that the tests use, and the checker of what it signed.
{ lib, rustPlatform }:
let
  manifest = lib.importTOML ../Cargo.toml;
in
rustPlatform.buildRustPackage {
  pname = "neard-sim";
  inherit (manifest.workspace.package) version;

  src = import ./source.nix { inherit lib; };
  cargoLock.lockFile = ../Cargo.lock;

  cargoBuildFlags = [
    "--package"
    "neard-sim"
    "--bins"
  ];
  cargoTestFlags = [
    "--package"
    "neard-sim"
    "--lib"
  ];

  meta = {
    description = "Stand-in for neard, for tests: it signs nothing that a real chain would take";
    homepage = manifest.workspace.package.repository;
    license = lib.licenses.asl20;
    mainProgram = "neard";
    platforms = lib.platforms.linux;
  };
}
