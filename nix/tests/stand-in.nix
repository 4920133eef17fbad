# The stand-in for neard as the virtual machines run it: with a clock that they share.
{ pkgs }:
pkgs.runCommandCC "neard-sim-with-shared-clock"
  {
    nativeBuildInputs = [ pkgs.makeWrapper ];
    meta.mainProgram = "neard";
  }
  ''
    mkdir -p $out/bin $out/lib
    $CC -Wall -Werror -O2 -shared -fPIC -o $out/lib/shared-clock.so ${./shared-clock.c} -ldl
    makeWrapper ${pkgs.kuutamo.neard-sim}/bin/neard $out/bin/neard --set LD_PRELOAD $out/lib/shared-clock.so
  ''
