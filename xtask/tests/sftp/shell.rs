//! The executable as a login shell (`-c COMMAND`), and operands after the options.

use super::{Direct, Remote, create_file, ensure_same};
use anyhow::{Context, Result, ensure};
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::process::Stdio;
use xtask::build::Arch;
use xtask::machines::server::{public_dir, root_for};
use xtask::machines::sshd::{Daemon, Implementation, SFTP_SERVER};
use xtask::setup;

/// A daemon with one account, whose login shell is the executable.
fn remote(kind: Implementation, options: &str) -> Result<Remote> {
    let file = public_dir()?;
    let server = super::server(Arch::X86_64, &file.path().join("sftp-server"))?;
    Ok(Remote {
        daemon: Daemon::start_for(kind, &server, SFTP_SERVER, options)?,
        client_dir: public_dir()?,
        _file: file,
    })
}

#[test]
fn login_shell_serves_sftp_only() -> Result<()> {
    if !root_for("daemons") {
        return Ok(());
    }
    for kind in [Implementation::OpenSsh, Implementation::Dropbear] {
        remote(kind, "")?
            .run(|remote| {
                let (client_dir, server_dir) = (remote.client_dir(), remote.server_dir());
                create_file(&client_dir.join("file"), 40, 300_000)?;
                remote.batch("put file\nget file back\n")?;
                ensure_same(&client_dir.join("file"), &client_dir.join("back"))?;
                setup::run_captured(remote.openssh("scp").args(["file", "x:copy"]))?;
                ensure_same(&client_dir.join("file"), &server_dir.join("copy"))?;
                let socket = server_dir.join("socket");
                let listens = format!("{SFTP_SERVER} --listen {}", socket.display());
                for (command, is_refused) in
                    [("ls", true), ("scp -t copy", true), (&listens, false)]
                {
                    let mut ssh = remote.openssh("ssh");
                    let output = ssh.args(["x", command]).stdin(Stdio::null()).output()?;
                    let message = String::from_utf8_lossy(&output.stderr).into_owned();
                    let refusal = " (-c): this account allows only sftp and scp\n";
                    ensure!(
                        message.ends_with(refusal) == is_refused,
                        "{command}: {message}"
                    );
                    let status = if is_refused { 2 } else { 0 };
                    ensure!(
                        output.status.code() == Some(status),
                        "{command}: {output:?}"
                    );
                }
                ensure!(!socket.exists(), "the login shell created a socket");
                Ok(())
            })
            .with_context(|| format!("through {kind:?}"))?;
    }
    Ok(())
}

#[test]
fn login_shell_accepts_subsystem_options() -> Result<()> {
    if !root_for("daemons") {
        return Ok(());
    }
    remote(
        Implementation::OpenSsh,
        "-f AUTHPRIV  -u 077 -P\trmdir,mkdir",
    )?
    .run(|remote| {
        create_file(&remote.client_dir().join("file"), 41, 1000)?;
        remote.batch("put file\n")?;
        let mode = fs::metadata(remote.server_dir().join("file"))?
            .permissions()
            .mode();
        ensure!(mode & 0o777 == 0o600, "{mode:o}");
        ensure!(remote.batch("mkdir new\n").is_err(), "mkdir is not denied");
        Ok(())
    })
}

#[test]
fn operands_are_ignored() -> Result<()> {
    Direct::for_each_user(|direct| {
        create_file(&direct.client_dir().join("file"), 42, 100_000)?;
        let to = direct.server_dir().join("file");
        // `scp -s -D SERVER` runs the command `SERVER -- HOST sftp`, so the server gets two operands.
        let mut scp = direct.program("scp");
        scp.args(["-s", "-D"]).arg(direct.server());
        setup::run_captured(scp.arg("file").arg(format!("x:{}", to.display())))?;
        ensure_same(&direct.client_dir().join("file"), &to)?;
        ensure!(direct.batch_as("host sftp", "pwd\n")?.contains("there"));
        Ok(())
    })
}
