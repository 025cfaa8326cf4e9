//! Log lines that clients cause: no control characters, and a limited number of lines.

use super::sample;
use anyhow::{Result, ensure};
use xtask::clients::sftp::{Request, Sftp, SftpOptions, with_path};

#[test]
fn names_are_escaped_in_log_lines() -> Result<()> {
    let directory = sample()?;
    let options =
        SftpOptions::in_directory(directory.path()).with_arguments(&["-e", "-l", "DEBUG3"]);
    let mut client = Sftp::start(&options)?;
    let long = [b"\x1b]0;".as_slice(), &b"\x07\r\n".repeat(10_000)].concat();
    let paths: [&[u8]; 8] = [
        b"\x1b[2Jgone",
        b"two\nlines",
        b"stowaway: lie\r\nstowaway: another",
        b"\x7f\x80\x9b31m\xff",
        b"\xe2\x80\xae reversed \xe2\x80\xa8",
        b"%s%n %d",
        b"\t\x08\x0c\x0b\x07",
        &long,
    ];
    let mut count = 0;
    for path in paths {
        for request in with_path(path) {
            client.exchange(&request)?;
            count += 1;
        }
        client.exchange(&Request::HomeDirectory(path))?;
        client.exchange(&Request::SymLink(path, b"free"))?;
        client.exchange(&Request::Extended(path, b""))?;
        count += 3;
    }
    let ended = client.finish()?.1;
    // At most three lines per request: the request, its status, and a close at the session's end if its file is still open. Three
    // more lines are about the session.
    ensure!(
        ended.lines.len() <= 3 * count + 3 && ended.lines.len() > 10,
        "{} lines of {count} requests",
        ended.lines.len()
    );
    for line in &ended.lines {
        ensure!(
            line.starts_with("stowaway: ")
                && line.chars().all(|letter| (' '..='~').contains(&letter))
                && line.len() < 4096,
            "{}",
            line.escape_debug()
        );
        ensure!(!line.starts_with("stowaway: lie") && !line.starts_with("stowaway: another"));
    }
    Ok(())
}
