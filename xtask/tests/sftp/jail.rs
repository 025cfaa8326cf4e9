//! `--jail` with OpenSSH's client: nothing outside the jail can be reached, and paths inside work as usual.

use super::{Direct, create_file, ensure_same};
use anyhow::{Context, Result, ensure};
use std::fs;
use std::os::unix::fs::symlink;
use std::path::Path;

/// Runs commands of sftp with the server's directory as its jail.
fn jailed(direct: &Direct, options: &str, commands: &str) -> Result<String> {
    let server = direct.server();
    let jail = format!(
        "{} --jail {} {options}",
        server.display(),
        direct.server_dir().display()
    );
    direct.batch_by(jail.trim(), &[], commands)
}

#[test]
fn jailed_session_reaches_everything_inside() -> Result<()> {
    Direct::for_each_user(|direct| {
        let (client_dir, server_dir) = (direct.client_dir(), direct.server_dir());
        create_file(&client_dir.join("file"), 40, 400_000)?;
        symlink("/sub/inner", server_dir.join("absolute"))?;
        let output = jailed(
            direct,
            "",
            "put file\nmkdir sub\nput file sub/inner\nget absolute\nln -s /sub/inner made\nget made\n\
             cp file copy\nrename copy moved\nln file hard\nchmod 0600 file\ndf\ncd sub\npwd\ncd ../..\npwd\n\
             ls -1\nput file ../../deep",
        )?;
        for copy in ["file", "sub/inner", "moved", "hard", "deep"] {
            ensure_same(&client_dir.join("file"), &server_dir.join(copy)).context(copy)?;
        }
        for copy in ["absolute", "made"] {
            ensure_same(&client_dir.join("file"), &client_dir.join(copy)).context(copy)?;
        }
        ensure!(fs::read_link(server_dir.join("made"))? == Path::new("/sub/inner"));
        let wanted = "Remote working directory: /sub\nRemote working directory: /\n\
                      absolute\nfile\nhard\nmade\nmoved\nsub\n";
        ensure!(output.ends_with(wanted), "{output}");
        let output = jailed(
            direct,
            "--at /srv/data -d sub",
            "pwd\nget /srv/data/file at",
        )?;
        ensure!(
            output.contains("Remote working directory: /srv/data/sub\n"),
            "{output}"
        );
        ensure_same(&client_dir.join("file"), &client_dir.join("at"))
    })
}

#[test]
fn jailed_session_reaches_nothing_outside() -> Result<()> {
    Direct::for_each_user(|direct| {
        let (client_dir, server_dir) = (direct.client_dir(), direct.server_dir());
        create_file(&client_dir.join("file"), 41, 1000)?;
        create_file(&server_dir.join("owned"), 42, 1000)?;
        direct.set_owner(&server_dir.join("owned"))?;
        let outside = client_dir.join("file").display().to_string();
        for (target, name) in [
            (outside.as_str(), "absolute"),
            ("../here/file", "relative"),
            ("..", "up"),
            ("/proc/self/root", "root"),
            ("/proc/self/cwd", "cwd"),
        ] {
            symlink(target, server_dir.join(name))?;
        }
        for path in [
            "absolute",
            "relative",
            "up/here/file",
            "root/etc/passwd",
            "cwd/x",
            "../here/file",
            &outside,
        ] {
            let Err(error) = jailed(direct, "", &format!("get {path} stolen")) else {
                anyhow::bail!("{path} was read from outside the jail");
            };
            ensure!(!client_dir.join("stolen").exists(), "{error:#}");
            ensure!(
                jailed(direct, "", &format!("put file {path}")).is_err(),
                "{path} was written outside the jail"
            );
        }
        ensure!(fs::read_dir(&client_dir)?.count() == 1);
        // Listings reveal nothing of the outside either: paths are relative to the jail, and owners are numbers.
        let output = jailed(direct, "", "cd up\npwd\nls -l")?;
        ensure!(
            output.starts_with("Remote working directory: /\n"),
            "{output}"
        );
        let owner = direct.user.unwrap_or_default();
        let owned = format!(" {owner:<8} {owner:<8} ");
        ensure!(
            output.contains(&owned) && !output.contains("root  "),
            "{output}"
        );
        // An etc/passwd in the jail supplies the names of owners.
        fs::create_dir(server_dir.join("etc"))?;
        let account = format!("insider:x:{owner}:{owner}::/:/bin/sh\n");
        fs::write(server_dir.join("etc/passwd"), account)?;
        let output = jailed(direct, "", "ls -l owned")?;
        ensure!(
            output.contains(&format!(" insider  {owner:<8} ")),
            "{output}"
        );
        Ok(())
    })
}
