# Names of the options that configurations of kuutamod have.
{ lib, ... }:
let
  old = name: [
    "kuutamo"
    "kuutamod"
    name
  ];
  new = name: [
    "kuutamo"
    "kneard"
    name
  ];
in
{
  imports =
    map (name: lib.mkRenamedOptionModule (old name) (new name)) [
      "validatorKeyFile"
      "validatorNodeKeyFile"
      "nodeId"
      "consulTokenFile"
      "accountId"
      "openFirewall"
    ]
    ++ [
      (lib.mkChangedOptionModule (old "publicAddresses") (new "publicAddress") (
        config:
        let
          addresses = lib.getAttrFromPath (old "publicAddresses") config;
        in
        if addresses == [ ] then null else lib.head addresses
      ))
    ];
}
