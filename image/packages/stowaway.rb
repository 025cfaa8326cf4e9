# A formula for Homebrew on Linux: brew install --formula ./stowaway.rb
class Stowaway < Formula
  desc "Serves files over NFS, SFTP and HTTP from one static file, and announces them"
  homepage "@URL@"
  version "@VERSION@"
  license any_of: ["MIT", "Apache-2.0"]
  depends_on :linux

  on_intel { url "@URL@/x86_64/stowaway"; sha256 "@SHA256:x86_64/stowaway@" }
  on_arm { url "@URL@/aarch64/stowaway"; sha256 "@SHA256:aarch64/stowaway@" }

  resource "share" do
    url "@URL@/share.tar.gz"
    sha256 "@SHA256:share.tar.gz@"
  end

  def install
    bin.install "stowaway"
    resource("share").stage { share.install Dir["share/*"] }
  end

  test do
    assert_match version.to_s, shell_output("#{bin}/stowaway --version")
  end
end
