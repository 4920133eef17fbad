# What `nix flake check` builds and runs.
{ pkgs, self }:
let
  inherit (pkgs) lib kuutamo;
  scripts = pkgs.runCommand "scripts" { nativeBuildInputs = [ pkgs.shellcheck ]; } ''
    shellcheck ${../modules/neard/setup.sh} ${../modules/kneard/rollout.sh} ${../modules/consul/acl.sh}
    touch $out
  '';
  format =
    pkgs.runCommand "format"
      {
        nativeBuildInputs = [
          pkgs.nixfmt
          pkgs.deadnix
        ];
      }
      ''
        cd ${self}
        find . -name '*.nix' -print0 | xargs -0 nixfmt --check
        deadnix --fail
        touch $out
      '';
  alerts = pkgs.runCommand "alerts" { nativeBuildInputs = [ pkgs.prometheus.cli ]; } ''
    promtool check rules ${../modules/monitoring/alerts.yml}
    ${lib.getExe pkgs.jq} -e .panels ${../modules/monitoring/dashboard.json}
    touch $out
  '';
  options = pkgs.runCommand "options" { } ''
    diff ${
      pkgs.writeText "options.md" (import ./options-md.nix { inherit pkgs; })
    } ${../docs/options.md}
    touch $out
  '';
in
{
  inherit (kuutamo) kneard neard-sim;
  inherit
    scripts
    format
    alerts
    options
    ;
}
// import ./tests { inherit pkgs; }
