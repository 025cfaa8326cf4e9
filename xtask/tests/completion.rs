//! The scripts of `stowaway completion`, in the shells.

use anyhow::{Result, ensure};
use std::process::Command;
use xtask::build::Arch;
use xtask::machines::server::binary;
use xtask::setup::{self, run_captured};

/// Words that are typed, the last one unfinished, and what the shell offers for it in a directory with the file `file`.
const CASES: [(&str, &[&str]); 16] = [
    ("bro", &["browse"]),
    ("completion ", &["bash", "fish", "zsh"]),
    ("completion f", &["fish"]),
    ("check a", &["all"]),
    ("nfs --han", &["--handles"]),
    ("nfs --handles ", &["kernel", "path"]),
    ("serve --log-level ", &["debug", "error", "info", "warn"]),
    (
        "install --for ",
        &["busybox", "esxi", "openrc", "systemd", "sysvinit"],
    ),
    ("serve --no-m", &["--no-mdns"]),
    ("mdns --no-h", &["--no-host"]),
    ("nfs --key-file fi", &["file"]),
    ("nfs fi", &["file"]),
    ("cat fi", &["file"]),
    ("serve --log-level fi", &[]),
    ("serve --loops fi", &[]),
    ("browse fi", &[]),
];

/// Compares what `shell` offers with [`CASES`]. `script` sources the completions at `{}` and defines a function `offer`, which prints
/// the words that are offered after its arguments, the words typed.
fn ensure_offered(shell: &str, options: &[&str], script: &str) -> Result<()> {
    let (program, home) = (binary(Arch::X86_64)?, tempfile::tempdir()?);
    std::os::unix::fs::symlink(&program, home.path().join("stowaway"))?;
    let path = format!("{}:{}", home.path().display(), std::env::var("PATH")?);
    let printed = run_captured(Command::new(&program).args(["completion", shell]))?;
    let completions = home.path().join("script");
    std::fs::write(&completions, printed)?;
    let mut script = script.replace("{}", &completions.display().to_string());
    for (typed, _) in CASES {
        let words: Vec<String> = typed.split(' ').map(|word| format!("'{word}'")).collect();
        script += &format!("\necho '>'; offer {}", words.join(" "));
    }
    let directory = home.path().join("directory");
    std::fs::create_dir(&directory)?;
    std::fs::write(directory.join("file"), "")?;
    let mut command = Command::new(shell);
    command
        .args(options)
        .args(["-c", &script])
        .current_dir(directory)
        .env("HOME", home.path())
        .env("PATH", path);
    let printed = run_captured(&mut command)?;
    let offers: Vec<&str> = printed.split(">\n").skip(1).collect();
    ensure!(offers.len() == CASES.len(), "{printed}");
    for ((typed, expected), offer) in CASES.iter().zip(offers) {
        let mut words: Vec<&str> = offer.split_whitespace().collect();
        words.sort_unstable();
        // fish also offers --no-fail for "fi".
        words.retain(|word| !["--help", "--no-fail"].contains(word));
        ensure!(words == *expected, "{shell}: {typed}: {words:?}");
    }
    Ok(())
}

#[test]
fn bash_completes_words() -> Result<()> {
    let script = "source {}; complete -p stowaway >&2\n\
        offer() { COMP_WORDS=(stowaway \"$@\"); COMP_CWORD=$#; _stowaway stowaway \"${!#}\"; echo \"${COMPREPLY[@]}\"; }";
    ensure_offered("bash", &["--norc"], script)
}

/// The script is loaded as by compinit; compadd, which needs a terminal, prints instead.
#[test]
fn zsh_completes_words() -> Result<()> {
    setup::install_packages(&["zsh"])?;
    let script = "compdef() { }; source {}\n\
        compadd() { shift; print -r -- ${(M)@:#${words[CURRENT]}*}; }\n\
        _files() { print -r -- ${words[CURRENT]}*(N); }\n\
        offer() { words=(stowaway \"$@\") CURRENT=$(($# + 1)); _stowaway; }";
    ensure_offered("zsh", &["-f"], script)
}

#[test]
fn fish_completes_words() -> Result<()> {
    setup::install_packages(&["fish"])?;
    let script = "source {}\n\
        function offer; complete -C \"stowaway $argv\" | string replace -r '\\t.*' ''; true; end";
    ensure_offered("fish", &["--no-config"], script)
}

/// A role that did not know `--words` would start.
#[test]
fn every_role_prints_its_words_and_ends() -> Result<()> {
    let program = binary(Arch::X86_64)?;
    let roles = run_captured(Command::new(&program).arg("--words"))?;
    ensure!(roles.lines().count() > 10, "{roles}");
    for role in roles.lines() {
        let mut words = Command::new("timeout");
        let output = words
            .arg("5")
            .arg(&program)
            .args([role, "--words"])
            .output()?;
        let printed = String::from_utf8(output.stdout)?;
        // These have no options.
        let is_right = match role {
            "ls" | "cat" | "init" => output.status.code() == Some(2),
            "completion" => printed == "bash\nzsh\nfish\n",
            _ => output.status.success() && printed.contains("--"),
        };
        ensure!(is_right, "{role}: {}: {printed}", output.status);
    }
    Ok(())
}
