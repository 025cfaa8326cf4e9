//! Our own `--jail`, as OpenSSH's client sees it: there is nothing outside, and what is inside is as everywhere.

use super::{Direct, ensure_same, make};
use anyhow::{Context, Result, ensure};
use std::fs;
use std::os::unix::fs::symlink;
use std::path::Path;

/// Runs commands with the server in a jail, which is its directory.
fn jailed(direct: &Direct, options: &str, commands: &str) -> Result<String> {
    let server = direct.server();
    let jail = format!(
        "{} --jail {} {options}",
        server.display(),
        direct.there().display()
    );
    direct.batch_by(jail.trim(), &[], commands)
}

#[test]
fn a_jail_has_all_that_is_in_it() -> Result<()> {
    Direct::each(|direct| {
        let (here, there) = (direct.here(), direct.there());
        make(&here.join("file"), 40, 400_000)?;
        symlink("/sub/inner", there.join("absolute"))?;
        let said = jailed(
            direct,
            "",
            "put file\nmkdir sub\nput file sub/inner\nget absolute\nln -s /sub/inner made\nget made\n\
             cp file copy\nrename copy moved\nln file hard\nchmod 0600 file\ndf\ncd sub\npwd\ncd ../..\npwd\n\
             ls -1\nput file ../../deep",
        )?;
        for copy in ["file", "sub/inner", "moved", "hard", "deep"] {
            ensure_same(&here.join("file"), &there.join(copy)).context(copy)?;
        }
        for copy in ["absolute", "made"] {
            ensure_same(&here.join("file"), &here.join(copy)).context(copy)?;
        }
        ensure!(fs::read_link(there.join("made"))? == Path::new("/sub/inner"));
        let wanted = "Remote working directory: /sub\nRemote working directory: /\n\
                      absolute\nfile\nhard\nmade\nmoved\nsub\n";
        ensure!(said.ends_with(wanted), "{said}");
        let said = jailed(
            direct,
            "--at /srv/data -d sub",
            "pwd\nget /srv/data/file at",
        )?;
        ensure!(
            said.contains("Remote working directory: /srv/data/sub\n"),
            "{said}"
        );
        ensure_same(&here.join("file"), &here.join("at"))
    })
}

#[test]
fn nothing_is_outside_of_a_jail() -> Result<()> {
    Direct::each(|direct| {
        let (here, there) = (direct.here(), direct.there());
        make(&here.join("file"), 41, 1000)?;
        make(&there.join("owned"), 42, 1000)?;
        direct.give(&there.join("owned"))?;
        let outside = here.join("file").display().to_string();
        for (target, name) in [
            (outside.as_str(), "absolute"),
            ("../here/file", "relative"),
            ("..", "up"),
            ("/proc/self/root", "root"),
            ("/proc/self/cwd", "cwd"),
        ] {
            symlink(target, there.join(name))?;
        }
        for way in [
            "absolute",
            "relative",
            "up/here/file",
            "root/etc/passwd",
            "cwd/x",
            "../here/file",
            &outside,
        ] {
            let Err(why) = jailed(direct, "", &format!("get {way} stolen")) else {
                anyhow::bail!("{way} led out");
            };
            ensure!(!here.join("stolen").exists(), "{why:#}");
            ensure!(
                jailed(direct, "", &format!("put file {way}")).is_err(),
                "{way} led out"
            );
        }
        ensure!(fs::read_dir(&here)?.count() == 1);
        // Not even by name: what a path is, and who owns a file, is told as it is inside.
        let said = jailed(direct, "", "cd up\npwd\nls -l")?;
        ensure!(said.starts_with("Remote working directory: /\n"), "{said}");
        let owner = direct.user.unwrap_or_default();
        let owned = format!(" {owner:<8} {owner:<8} ");
        ensure!(said.contains(&owned) && !said.contains("root  "), "{said}");
        // Where there is a list of accounts inside, that one counts.
        fs::create_dir(there.join("etc"))?;
        let account = format!("insider:x:{owner}:{owner}::/:/bin/sh\n");
        fs::write(there.join("etc/passwd"), account)?;
        let said = jailed(direct, "", "ls -l owned")?;
        ensure!(said.contains(&format!(" insider  {owner:<8} ")), "{said}");
        Ok(())
    })
}
