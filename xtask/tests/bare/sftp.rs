//! SFTP without SSH, with OpenSSH's client, and HTTP: each enabled by a boot argument.

use super::LEASED;
use anyhow::{Result, ensure};
use std::fs;
use std::net::{SocketAddr, TcpStream};
use xtask::clients::http::{Client, crowd};
use xtask::machines::iso::{ROCK_RIDGE, image, sample};
use xtask::machines::qemu::bare::Bare;

/// Console line of the SFTP listener.
const LISTENS: &str =
    "listening on 0.0.0.0:2222 for SFTP without SSH: anyone who can connect has access";

#[test]
fn sftp_serves_exports_by_their_rules() -> Result<()> {
    let tree = sample(20, 50)?;
    let (_directory, iso) = image(ROCK_RIDGE[0], tree.path())?;
    let words = "export=/initrd export=/ram:rw sftp=0.0.0.0:2222";
    let mut machine = Bare::boot(words, Some(&iso), &[])?;
    machine.wait_for_line(LISTENS)?;
    machine.wait_for_line(LEASED)?;
    let directory = tempfile::tempdir()?;
    fs::write(directory.path().join("more"), "hello\nand more\n")?;
    let (large, hello) = (tree.path().join("large"), tree.path().join("hello.txt"));
    let seen = machine.sftp(
        directory.path(),
        &format!(
            "cd initrd
            get large 1
            get a/b/../../a/b/c/d/e/f/g/h/i/j/k/bottom 2
            -put {hello} new
            -rm hello.txt
            cd /ram
            mkdir d
            put {large} d/l
            rename d/l l
            ln -s ../l d/link
            put {hello} h
            reput more h
            get d/link 3
            get h 4
            chmod 640 h
            -put {hello} /new
            -mkdir /new
            -rename /ram/l /initrd/l
            -get ../etc/passwd 5
            ls -1 /
            ls -l h
            pwd",
            large = large.display(),
            hello = hello.display(),
        ),
    )?;
    let lines: Vec<_> = seen.lines().map(str::trim_end).collect();
    let [initrd, ram, h, pwd] = lines[..] else {
        anyhow::bail!("{seen}");
    };
    ensure!([initrd, ram] == ["/initrd", "/ram"], "{seen}");
    ensure!(h.starts_with("-rw-r-----") && h.ends_with(" h"), "{seen}");
    ensure!(pwd.ends_with(": /ram"), "{seen}");
    let bottom = tree.path().join("a/b/c/d/e/f/g/h/i/j/k/bottom");
    for (name, expected) in [("1", &large), ("2", &bottom), ("3", &large)] {
        let same = fs::read(directory.path().join(name))? == fs::read(expected)?;
        ensure!(same, "the received copy of {} differs", expected.display());
    }
    ensure!(!directory.path().join("5").exists());
    ensure!(fs::read(directory.path().join("4"))? == b"hello\nand more\n");
    // NFS reads a file that was written by SFTP.
    ensure!(super::read(&machine, "/ram/l")? == fs::read(&large)?);
    Ok(())
}

#[test]
fn six_mib_are_enough_for_sftp() -> Result<()> {
    let words = "export=/ram:rw sftp=0.0.0.0:2222";
    let mut machine = Bare::boot(words, None, &["-m", "6"])?;
    machine.wait_for_line(LEASED)?;
    let directory = tempfile::tempdir()?;
    fs::write(directory.path().join("one"), "small")?;
    for name in ["first", "second"] {
        let back = format!("put one ram/{name}\nget ram/{name} back\nls -1 ram");
        let seen = machine.sftp(directory.path(), &back)?;
        ensure!(seen.contains(name), "{seen}");
        ensure!(fs::read(directory.path().join("back"))? == b"small");
    }
    let mut machine = Bare::boot(words, None, &["-m", "5"])?;
    machine.wait_for_line("too little memory; add 1 MiB: 6 MiB are enough, 2 MiB more for SFTP")?;
    ensure!(machine.wait_for_end()?.code() == Some(3));
    Ok(())
}

#[test]
fn without_sftp_argument_sftp_is_refused() -> Result<()> {
    let mut machine = Bare::boot("export=/ram:rw", None, &[])?;
    machine.wait_for_line(LEASED)?;
    let refused = machine.sftp(std::path::Path::new("/"), "ls");
    ensure!(refused.is_err(), "{refused:?}");
    ensure!(!machine.console().contains("SFTP"), "{}", machine.console());
    TcpStream::connect(("127.0.0.1", machine.port))?;
    Ok(())
}

#[test]
fn http_serves_the_files_of_an_image() -> Result<()> {
    let tree = sample(20, 50)?;
    let (_directory, iso) = image(ROCK_RIDGE[0], tree.path())?;
    // The port of SFTP is forwarded.
    let mut machine = Bare::boot("export=/initrd http=2222", Some(&iso), &[])?;
    machine.wait_for_line("listening on [::]:2222 for HTTP")?;
    machine.wait_for_line(LEASED)?;
    let server = SocketAddr::from(([127, 0, 0, 1], machine.sftp_port()?));
    let mut client = Client::connect(server)?;
    for (path, expect) in [
        ("/initrd/large", fs::read(tree.path().join("large"))?),
        (
            "/initrd/hello.txt",
            fs::read(tree.path().join("hello.txt"))?,
        ),
        ("/healthz", b"ok\n".to_vec()),
    ] {
        let reply = client.get(path)?;
        ensure!(
            reply.head.status == 200 && reply.body == expect,
            "{path}: {:?}",
            reply.head
        );
    }
    ensure!(client.get("/initrd/none")?.head.status == 404);
    Ok(())
}

#[test]
fn idle_connections_of_http_give_way_on_a_small_machine() -> Result<()> {
    // The port of SFTP is forwarded.
    let mut machine = Bare::boot("export=/ram http=2222", None, &["-m", "8"])?;
    machine.wait_for_line("listening on [::]:2222 for HTTP")?;
    machine.wait_for_line(LEASED)?;
    let server = SocketAddr::from(([127, 0, 0, 1], machine.sftp_port()?));
    crowd(server, 40)
}
