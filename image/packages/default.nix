# nix-build default.nix
{ pkgs ? import <nixpkgs> { } }:

let
  version = "@VERSION@";
  base = "@URL@";
  programs = {
    x86_64-linux = { arch = "x86_64"; sha256 = "@SHA256:x86_64/stowaway@"; };
    i686-linux = { arch = "i686"; sha256 = "@SHA256:i686/stowaway@"; };
    aarch64-linux = { arch = "aarch64"; sha256 = "@SHA256:aarch64/stowaway@"; };
    armv7l-linux = { arch = "armv7"; sha256 = "@SHA256:armv7/stowaway@"; };
  };
  program = programs.${pkgs.stdenv.hostPlatform.system};
in
pkgs.stdenvNoCC.mkDerivation {
  pname = "stowaway";
  inherit version;
  src = pkgs.fetchurl {
    url = "${base}/${program.arch}/stowaway";
    inherit (program) sha256;
  };
  share = pkgs.fetchurl {
    url = "${base}/share.tar.gz";
    sha256 = "@SHA256:share.tar.gz@";
  };
  dontUnpack = true;
  dontStrip = true;
  installPhase = ''
    install -Dm755 $src $out/bin/stowaway
    tar -xzf $share
    mv usr/share $out/share
  '';
  meta = {
    description = "One static file that serves files over NFS, SFTP and HTTP, and announces them";
    license = with pkgs.lib.licenses; [ mit asl20 ];
    platforms = builtins.attrNames programs;
    mainProgram = "stowaway";
  };
}
