"""Debian machines under systemd-nspawn, driven with the API of the NixOS test driver."""
