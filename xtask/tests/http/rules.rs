//! The rules of exports over HTTP: no request leaves an export; peers read, as the anonymous user, the exports that admit them.

use std::fs::{self, Permissions};
use std::net::Ipv4Addr;
use std::os::unix::fs::{PermissionsExt as _, chown, symlink};
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use nix::libc;
use nix::sys::signal::Signal;
use tempfile::TempDir;
use xtask::clients::http::{Client, request};
use xtask::machines::http::HttpServer;
use xtask::machines::server::{public_dir, root_for};
use xtask::machines::{lockdown, wait_for};

use crate::sftp_hostile::JailTree;

/// Forms of a path in a URL, which a server must resolve alike.
fn forms(path: &str) -> [String; 4] {
    let path = format!("/{}", path.trim_start_matches('/'));
    [
        path.replace('.', "%2e"),
        path.replace('/', "//").replacen("//", "/", 1),
        path.replace("../", "..%2f"),
        path,
    ]
}

/// The attacks of SFTP's jail, against a server with and without openat2.
#[test]
fn no_path_leaves_the_export() -> Result<()> {
    for is_old_kernel in [false, true] {
        let tree = JailTree::new(None)?;
        let start = || HttpServer::start("http", [tree.jail()]);
        let server = if is_old_kernel {
            lockdown::run_without(
                &[libc::SYS_openat2, libc::SYS_landlock_create_ruleset],
                start,
            )?
        } else {
            start()?
        };
        let mut client = Client::connect(server.address())?;
        for path in tree.ways_out().iter().flat_map(|path| forms(path)) {
            for slash in ["", "/"] {
                let target = format!("{path}{slash}");
                let reply = client.get(&target)?;
                let text = String::from_utf8_lossy(&reply.body).into_owned();
                let leaks = tree.secrets().iter().any(|word| text.contains(word));
                let status = reply.head.status;
                ensure!(
                    !leaks && [400, 404].contains(&status),
                    "{target}: {status} {text}"
                );
                if status == 400 {
                    client = Client::connect(server.address())?;
                }
            }
        }
        ensure!(
            client.get("/small")?.head.status == 200,
            "{:#?}",
            server.lines()
        );
        tree.outside_is_untouched("a GET")?;
    }
    Ok(())
}

/// A file of exports, and a server that reads it.
struct Exporting {
    dir: TempDir,
    server: HttpServer,
}

impl Exporting {
    /// Exports the directories `one` and `two`, each with a file, to these hosts.
    fn new(hosts: [&str; 2]) -> Result<Self> {
        let dir = public_dir()?;
        for name in ["one", "two"] {
            fs::create_dir(dir.path().join(name))?;
            fs::write(dir.path().join(name).join("file"), name)?;
        }
        let file = dir.path().join("exports");
        write_exports(&dir, hosts)?;
        let server = HttpServer::start("http", ["-e".as_ref(), file.as_os_str()])?;
        Ok(Self { dir, server })
    }

    /// Path of an object in a URL.
    fn path(&self, below: &str) -> String {
        format!("{}/{below}", self.dir.path().display())
    }

    /// Status and body of a GET from 127.0.0.`host`.
    fn get(&self, host: u8, path: &str) -> Result<(u16, String)> {
        let from = Ipv4Addr::new(127, 0, 0, host);
        let mut client = Client::connect_from(from, self.server.address())?;
        // No field gives a client another address.
        let fields = "X-Forwarded-For: 127.0.0.2\r\nForwarded: for=127.0.0.2\r\n";
        client.send(request("GET", path, fields).as_bytes())?;
        let reply = client.receive()?;
        Ok((
            reply.head.status,
            String::from_utf8_lossy(&reply.body).into_owned(),
        ))
    }
}

fn write_exports(dir: &TempDir, hosts: [&str; 2]) -> Result<()> {
    let here = dir.path().display();
    let [one, two] = hosts;
    fs::write(
        dir.path().join("exports"),
        format!("{here}/one {one}\n{here}/two {two}\n"),
    )?;
    Ok(())
}

#[test]
fn peers_see_only_their_exports() -> Result<()> {
    let world = Exporting::new(["127.0.0.2(ro)", "*(ro)"])?;
    let (file, above) = (world.path("one/file"), world.path(""));
    let ensure_for = |host: u8, is_admitted: bool| {
        let (status, body) = world.get(host, &file)?;
        let wanted = if is_admitted { 200 } else { 404 };
        ensure!(
            status == wanted && (body == "one") == is_admitted,
            "{host}: {status} {body}"
        );
        ensure!(world.get(host, &world.path("one/none"))?.0 == 404);
        let (status, listing) = world.get(host, &above)?;
        let names = (listing.contains("one/"), listing.contains("two/"));
        ensure!(
            status == 200 && names == (is_admitted, true),
            "{host}: {listing}"
        );
        ensure!(world.get(host, &world.path("two/file"))? == (200, "two".to_owned()));
        Ok(())
    };
    ensure_for(2, true)?;
    ensure_for(3, false)?;
    write_exports(&world.dir, ["127.0.0.3(ro)", "*(ro)"])?;
    world.server.signal(Signal::SIGHUP)?;
    let admitted = || Ok((world.get(3, &file)?.0 == 200).then_some(()));
    wait_for(Duration::from_secs(10), admitted)?.context("the file was not read again")?;
    ensure_for(2, false)?;
    ensure_for(3, true)
}

/// A server of root reads as the anonymous user of the export, even where NFS clients are not squashed.
#[test]
fn files_are_read_as_the_anonymous_user() -> Result<()> {
    if !root_for("files of another user") {
        return Ok(());
    }
    let world = Exporting::new(["*(ro,no_root_squash,anonuid=1234,anongid=1235)", "*(ro)"])?;
    for (name, uid, gid, mode, status) in [
        ("of-user", 1234, 0, 0o600, 200),
        ("of-group", 0, 1235, 0o640, 200),
        ("of-root", 0, 0, 0o600, 403),
        ("of-nobody", 65534, 65534, 0o600, 403),
    ] {
        let path = world.dir.path().join("one").join(name);
        fs::write(&path, name)?;
        fs::set_permissions(&path, Permissions::from_mode(mode))?;
        chown(&path, Some(uid), Some(gid))?;
        let (got, body) = world.get(1, &world.path(&format!("one/{name}")))?;
        ensure!(
            got == status && (body == name) == (status == 200),
            "{name}: {got} {body}"
        );
        // A condition does not tell whether there is a file that the user may not read.
        let mut client = Client::connect(world.server.address())?;
        let path = world.path(&format!("one/{name}"));
        client.send(request("GET", &path, "If-Match: \"x\"\r\n").as_bytes())?;
        let got = client.receive()?.head.status;
        ensure!(
            got == if status == 200 { 412 } else { 403 },
            "{name}: {got}"
        );
    }
    Ok(())
}

#[test]
fn links_are_followed_inside_the_export_only() -> Result<()> {
    let world = Exporting::new(["*(ro)", "*(ro)"])?;
    let one = world.dir.path().join("one");
    fs::create_dir(one.join("sub"))?;
    for (target, name, status) in [
        ("file", "same", 200),
        ("../file", "sub/up", 200),
        ("sub/up", "twice", 200),
        ("../one/file", "around", 404),
        ("../two/file", "other", 404),
        ("../../../../../../../../etc/passwd", "passwd", 404),
        ("/etc/passwd", "absolute", 404),
        ("loop", "loop", 404),
        ("none", "broken", 404),
    ] {
        symlink(target, one.join(name))?;
        let (got, body) = world.get(1, &world.path(&format!("one/{name}")))?;
        ensure!(
            got == status && !body.contains("root:"),
            "{name}: {got} {body}"
        );
    }
    Ok(())
}
