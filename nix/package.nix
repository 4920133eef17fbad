# kneard and kneard-ctl, with units, man pages and completions.
{
  lib,
  stdenv,
  rustPlatform,
  installShellFiles,
}:
let
  manifest = lib.importTOML ../Cargo.toml;
in
rustPlatform.buildRustPackage {
  pname = "kneard";
  inherit (manifest.workspace.package) version;

  src = import ./source.nix { inherit lib; };
  cargoLock.lockFile = ../Cargo.lock;

  cargoBuildFlags = [
    "--package"
    "kneard"
  ];
  # The others start Consul and make network namespaces.
  cargoTestFlags = [
    "--package"
    "kneard"
    "--lib"
    "--bins"
  ];

  nativeBuildInputs = [ installShellFiles ];

  postInstall = ''
    for unit in systemd/*.service systemd/*.socket; do
      install -Dm444 -t $out/lib/systemd/system $unit
    done
    substituteInPlace $out/lib/systemd/system/*.service --replace-quiet /usr/bin/kneard $out/bin/kneard
    install -Dm444 systemd/kneard.sysusers $out/lib/sysusers.d/kneard.conf
    install -Dm444 systemd/kneard.tmpfiles $out/lib/tmpfiles.d/kneard.conf
  ''
  + lib.optionalString (stdenv.buildPlatform.canExecute stdenv.hostPlatform) ''
    $out/bin/kneard-ctl generate generated
    installManPage generated/share/man/man1/*
    installShellCompletion --bash generated/share/bash-completion/completions/*
    installShellCompletion --zsh generated/share/zsh/site-functions/*
    installShellCompletion --fish generated/share/fish/vendor_completions.d/*
  '';

  meta = {
    inherit (manifest.package) description;
    homepage = manifest.workspace.package.repository;
    license = lib.licenses.asl20;
    mainProgram = "kneard";
    platforms = lib.platforms.linux;
  };
}
