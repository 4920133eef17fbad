# NEAR's own node, from source.
#
# Neither built nor run by those who wrote this: hash and outputHashes have one public source each.
# Cargo.lock is that of the 2.13 release branch on 25 June 2026 (commit bbba9b244, 2.13.0-rc.1), since
# the tag's own was not at hand; a lock file beside this one keeps evaluation free of builds. If cargo
# finds that the tag needs other versions, copy the tag's Cargo.lock here.
#
# pkgs.neard in nixpkgs is a daemon for NFC, and pkgs.nearcore is of 2022 and broken.
{
  lib,
  rustPlatform,
  fetchFromGitHub,
  pkg-config,
  protobuf,
  openssl,
  zlib,
}:
let
  version = "2.13.1";
in
rustPlatform.buildRustPackage {
  pname = "neard";
  inherit version;

  src = fetchFromGitHub {
    owner = "near";
    repo = "nearcore";
    tag = version;
    hash = "sha256-hXtOZb73V3NBQ5RLech/TCklNiScVegxdwLnBDhDk98=";
  };

  cargoLock = {
    lockFile = ./Cargo.lock;
    outputHashes = {
      "bolero-0.10.0" = "sha256-758bPz+qMRLk+Pw51cJWM8GCo1cvsEOT+cRM3pMX7ZI=";
      "okapi-0.7.0" = "sha256-j/MqvHYfW8GzyQPrbg17O61JuYlQCKbFEwOz1hWxuSA=";
      "protobuf-3.0.2" = "sha256-HVNlMXZRNa9F8hr6sj75uuCvppR6mVOSumSLnye/F3Y=";
    };
  };

  postPatch = ''
    cp ${./Cargo.lock} Cargo.lock
    # The contracts for tests are compiled to wasm by a cargo of their own, with the sources of the
    # standard library. neard needs none of them: empty files take their place.
    substituteInPlace runtime/near-test-contracts/build.rs --replace-fail '    // build the contract' \
      '    if std::env::var_os("NIX_BUILD_TOP").is_some() { return empty_contract(&target_dir, output); }'
    cat >>runtime/near-test-contracts/build.rs <<'END'
    fn empty_contract(dir: &Path, output: &str) -> Result<(), Error> {
        let empty = dir.join(format!("{output}.wasm"));
        std::fs::write(&empty, [])?;
        println!("cargo:rustc-env=CONTRACT_{output}={}", empty.display());
        Ok(())
    }
    END
    # There is no git repository to ask.
    substituteInPlace neard/build.rs --replace-fail \
      'return Ok(("unknown".to_string(), "unknown".to_string()));' \
      'return Ok(("nix:${version}".to_string(), "${version}".to_string()));'
  '';

  nativeBuildInputs = [
    pkg-config
    protobuf
    rustPlatform.bindgenHook
  ];
  buildInputs = [
    openssl
    zlib
  ];

  env = {
    NEAR_RELEASE_BUILD = "release";
    OPENSSL_NO_VENDOR = "1";
  };

  buildAndTestSubdir = "neard";
  # They need the network, and the contracts.
  doCheck = false;

  requiredSystemFeatures = [ "big-parallel" ];

  meta = {
    description = "Reference client of the NEAR protocol";
    homepage = "https://github.com/near/nearcore";
    changelog = "https://github.com/near/nearcore/releases/tag/${version}";
    license = lib.licenses.gpl3Only;
    mainProgram = "neard";
    platforms = [
      "x86_64-linux"
      "aarch64-linux"
    ];
  };
}
