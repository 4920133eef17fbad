# docs/options.md, as text: nix eval --raw .#optionsMd
{ pkgs }:
let
  inherit (pkgs) lib;
  evaluated = import (pkgs.path + "/nixos/lib/eval-config.nix") {
    system = null;
    modules = [
      ../modules
      {
        nixpkgs.pkgs = pkgs;
        networking.hostName = "host-a";
      }
    ];
  };
  options = lib.filter (option: option.visible && !option.internal) (
    lib.optionAttrSetToDocList evaluated.options.kuutamo
  );

  literal =
    value:
    if value ? _type && value._type == "literalMD" then
      value.text
    else
      let
        text = if value ? _type then value.text else lib.generators.toPretty { } value;
      in
      if lib.hasInfix "\n" text then "\n\n```nix\n${lib.removeSuffix "\n" text}\n```" else "`${text}`";
  spaced = text: if lib.hasPrefix "\n" text then text else " ${text}";
  # The manual's own marks.
  plain = builtins.replaceStrings [ "{option}`" ] [ "`" ];
  entry =
    option:
    lib.concatStringsSep "\n\n" (
      [
        "### ${option.name}"
        (lib.removeSuffix "\n" (plain option.description))
        "Type: ${option.type}"
      ]
      ++ lib.optional (option ? default) "Default:${spaced (plain (literal option.default))}"
      ++ lib.optional (option ? example) "Example:${spaced (plain (literal option.example))}"
    );
  part =
    name: title:
    lib.concatStringsSep "\n\n" (
      [ "## ${title}" ]
      ++ map entry (
        lib.filter (option: lib.hasPrefix "kuutamo.${name}." option.name) (
          lib.sort (a: b: a.name < b.name) options
        )
      )
    );
in
''
  # Options of the NixOS modules

  Made from the modules; do not edit: `nix/options-doc`. How to use them:
  [run-nixos.md](run-nixos.md). Everything that kneard itself can be told is explained in
  [configuration.md](configuration.md).

''
+ lib.concatStringsSep "\n\n" [
  (part "kneard" "kneard")
  (part "neard" "neard")
  (part "consul" "Consul")
  (part "monitoring" "Monitoring")
]
+ "\n"
