//! `--jail` with OpenSSH's client: paths inside work as usual.

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
