//! The completions, loaded by each shell.

use anyhow::{Result, ensure};
use std::process::Command;
use xtask::setup;

use super::release;

#[test]
fn bash_completes_roles_and_flags() -> Result<()> {
    let script = release()?.join("completions/stowaway.bash");
    let script = format!(
        "source {} && complete -p stowaway\n\
         COMP_WORDS=(stowaway bro); COMP_CWORD=1; _stowaway stowaway bro stowaway; echo \"${{COMPREPLY[@]}}\"\n\
         COMP_WORDS=(stowaway nfs --han); COMP_CWORD=2; _stowaway stowaway --han nfs; echo \"${{COMPREPLY[@]}}\"",
        script.display()
    );
    let printed = setup::run_captured(Command::new("bash").args(["--norc", "-c", &script]))?;
    let lines: Vec<&str> = printed.lines().skip(1).collect();
    ensure!(lines == ["browse", "--handles"], "{printed}");
    Ok(())
}

#[test]
fn zsh_loads_the_completions() -> Result<()> {
    setup::install_packages(&["zsh"])?;
    let script = format!(
        "fpath=({} $fpath); autoload -Uz compinit && compinit -u -D; print $_comps[stowaway]; autoload +X -Uz _stowaway && print loaded",
        release()?.join("completions").display()
    );
    let printed = setup::run_captured(Command::new("zsh").args(["-fc", &script]))?;
    ensure!(printed == "_stowaway\nloaded\n", "{printed}");
    Ok(())
}

#[test]
fn fish_completes_roles_and_flags() -> Result<()> {
    setup::install_packages(&["fish"])?;
    let script = format!(
        "source {}; complete -C 'stowaway bro'; complete -C 'stowaway nfs --han'",
        release()?.join("completions/stowaway.fish").display()
    );
    let home = tempfile::tempdir()?;
    let mut fish = Command::new("fish");
    fish.args(["--no-config", "-c", &script])
        .env("HOME", home.path());
    let printed = setup::run_captured(&mut fish)?;
    let words: Vec<&str> = printed
        .lines()
        .filter_map(|line| line.split('\t').next())
        .collect();
    ensure!(words == ["browse", "--handles"], "{printed}");
    Ok(())
}
