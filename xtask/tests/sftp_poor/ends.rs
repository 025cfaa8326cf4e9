//! Unusual transports, standard descriptors, resource limits and environments.

use super::play;
use anyhow::{Context, Result, ensure};
use std::fs;
use xtask::clients::sftp::{Attrs, READ_MAX, Sftp, SftpOptions, Wire};
use xtask::machines::server::public_dir;

#[test]
fn append_mode_output_works_without_splice() -> Result<()> {
    let directory = public_dir()?;
    let content: Vec<u8> = (0..400_000_u32).flat_map(u32::to_le_bytes).collect();
    fs::write(directory.path().join("file"), &content)?;
    // splice(2) refuses a target with O_APPEND that is not a pipe.
    let options = SftpOptions::in_directory(directory.path())
        .with_wire(Wire::Pty)
        .through_shell("exec \"$@\" >>/dev/stdout");
    let mut client = Sftp::start(&options)?;
    let handle = client.open_read("file")?;
    let mut offset = 1;
    for len in [32_768, READ_MAX, 100, 40_000, READ_MAX, 32_768] {
        let data = client.read(&handle, offset as u64, len)?;
        let expected = &content[offset..offset + len as usize];
        ensure!(data.as_deref() == Some(expected), "{len} bytes at {offset}");
        offset += len as usize;
    }
    client.close(&handle)?;
    Ok(())
}

#[test]
fn tight_resource_limits_are_tolerated() -> Result<()> {
    for script in [
        // Limits on descriptors, address space (KiB), stack (KiB), locked memory and core files; then an umask of 0.
        "ulimit -n 96 && exec \"$@\"",
        "ulimit -v 8000 && exec \"$@\"",
        "ulimit -s 128 && exec \"$@\"",
        "ulimit -l 0 && ulimit -c 0 && exec \"$@\"",
        "umask 0 && exec \"$@\"",
    ] {
        play(|options| Sftp::start(&options.clone().through_shell(script))).context(script)?;
    }
    Ok(())
}

#[test]
fn missing_or_misleading_environment_is_tolerated() -> Result<()> {
    // Every feature is used without an environment, then with these misleading variables.
    let misleading = [
        ("HOME", "/no/such"),
        ("USER", "\u{1b}[2J"),
        ("PATH", ""),
        ("TZ", "/proc/self/mem"),
        ("LD_PRELOAD", "x"),
    ];
    let misleading = misleading.map(|(name, value)| (name.to_owned(), value.to_owned()));
    for environment in [Vec::new(), misleading.to_vec()] {
        play(|options| {
            Sftp::start(&SftpOptions {
                environment: Some(environment.clone()),
                ..options.clone()
            })
        })?;
    }
    Ok(())
}

#[test]
fn log_lines_never_reach_an_opened_file() -> Result<()> {
    // With stderr closed, the first opened file gets descriptor 2; log lines must not be written to it.
    let directory = public_dir()?;
    let options =
        SftpOptions::in_directory(directory.path()).with_arguments(&["-e", "-l", "DEBUG3"]);
    let mut client = Sftp::start(&options.through_shell("exec \"$@\" 2>&-"))?;
    let content = b"content".repeat(100);
    for number in 0..4 {
        fs::write(directory.path().join(format!("file {number}")), &content)?;
    }
    let handles: Vec<_> = (0..4)
        .map(|number| client.open_both(format!("file {number}")))
        .collect::<Result<_>>()?;
    for handle in &handles {
        client.read(handle, 0, 100)?;
        client.fstat(handle)?;
    }
    client.stat("missing").unwrap_err();
    client.mkdir("made", Attrs::default())?;
    for handle in &handles {
        client.close(handle)?;
    }
    client.finish_quietly()?;
    for number in 0..4 {
        let now = fs::read(directory.path().join(format!("file {number}")))?;
        ensure!(now == content, "file {number}: {}", now.escape_ascii());
    }
    Ok(())
}

#[test]
fn closed_standard_descriptors_end_the_session() -> Result<()> {
    let directory = public_dir()?;
    fs::write(directory.path().join("file"), "content")?;
    for script in [
        "exec \"$@\" <&-",
        "exec \"$@\" >&-",
        "exec \"$@\" <&- >&- 2>&-",
        "exec \"$@\" </dev/null",
    ] {
        let options = SftpOptions::in_directory(directory.path()).through_shell(script);
        let mut client = Sftp::spawn(&options)?;
        // The server may end before it receives INIT.
        let _ = client.send(&xtask::clients::sftp::request::init(3));
        let ended = client.wait().context(script)?;
        ensure!(
            ended.code().is_some_and(|code| code == 0 || code == 1) && ended.lines.len() < 2,
            "{script}: {ended:?}"
        );
    }
    Ok(())
}
