//! The directories above the exports, by raw calls and over HTTP.

use std::collections::BTreeSet;
use std::fs;
#[expect(
    deprecated,
    reason = "the standard library has no other name for SipHash-2-4"
)]
use std::hash::{Hasher as _, SipHasher};
use std::net::Ipv4Addr;

use anyhow::{Result, ensure};
use xtask::clients::http::{Client as HttpClient, request};
use xtask::clients::nfs::Client;
use xtask::machines::http::HttpServer;
use xtask::machines::server::{Server, ServerOptions, public_dir};

use super::ensure_refused;

/// The handle of the directory at `path` above the exports. Without kernel handles, the key is zero.
#[expect(deprecated, reason = "see above")]
fn handle(path: &str) -> Vec<u8> {
    let mut mac = SipHasher::new();
    mac.write(path.as_bytes());
    let len = path.len() as u32;
    [
        &[3, 0][..],
        &len.to_le_bytes(),
        &mac.finish().to_le_bytes(),
        &[0; 18],
    ]
    .concat()
}

/// Each level has an inode of its own, and a handle that is valid after a restart. A client that may use one of three exports sees only
/// the way to it.
#[test]
fn raw_calls_walk_from_the_root_to_an_export() -> Result<()> {
    let dir = public_dir()?;
    let top = dir.path().display().to_string();
    let mut text = String::new();
    for (path, hosts) in [("x/a", "127.0.0.2"), ("x/b", "*"), ("y/c", "127.0.0.2")] {
        fs::create_dir_all(dir.path().join(path))?;
        fs::write(dir.path().join(path).join("file"), path)?;
        text += &format!("{top}/{path} {hosts}(ro,insecure)\n");
    }
    let exports = dir.path().join("exports");
    fs::write(&exports, text)?;
    for _ in 0..2 {
        let arguments = ["-e".into(), exports.display().to_string()];
        let server = Server::start(ServerOptions {
            role: "nfs",
            arguments: arguments
                .into_iter()
                .chain(["--handles", "path"].map(String::from))
                .collect(),
            ..ServerOptions::default()
        })?;
        for (host, names) in [(2, [&["x", "y"][..], &["a", "b"]]), (3, [&["x"], &["b"]])] {
            let at = ([127, 0, 0, 1], server.nfs_port).into();
            let mut client = Client::connect_from(Ipv4Addr::new(127, 0, 0, host), at)?;
            let (mut path, mut inodes) = (String::new(), BTreeSet::from([0]));
            let mut at = handle("");
            for name in top.split('/').skip(1).chain(["x"]) {
                ensure!(inodes.insert(client.attr(&at)?.fileid), "{path}");
                at = client.lookup(&at, name)?;
                path = format!("{path}/{name}");
                ensure!(at == handle(&path), "{path}");
            }
            for (path, names) in [&*top, &path].into_iter().zip(names) {
                let listed = client.list(&handle(path))?;
                let listed: Vec<_> = listed.iter().map(|entry| &entry.name[..]).collect();
                let names: Vec<_> = names.iter().map(|name| name.as_bytes()).collect();
                ensure!(listed == names, "{host}: {path}: {listed:?}");
            }
            let export = client.lookup(&at, "b")?;
            ensure!(export == client.mount(&format!("{path}/b"))?);
            let file = client.lookup(&export, "file")?;
            ensure!(client.read(&file, 0, 10)?.0 == b"x/b");
            if host == 3 {
                ensure_refused(client.lookup(&at, "a"), "NOENT")?;
                ensure_refused(client.attr(&handle(&format!("{top}/y"))), "STALE")?;
            }
            ensure_refused(client.mount("/"), "ACCES")?;
        }
    }
    Ok(())
}

/// All but one of the exports are missing.
#[test]
fn four_thousand_exports_are_a_tree_over_http() -> Result<()> {
    let dir = public_dir()?;
    let top = dir.path().join("4000");
    fs::create_dir(&top)?;
    fs::write(top.join("file"), "content")?;
    let mut text = format!("{} *\n", top.display());
    for number in 0..3999 {
        text += &format!("/0/{}/{number} *\n", number % 100);
    }
    let exports = dir.path().join("exports");
    fs::write(&exports, text)?;
    let server = HttpServer::start("http", ["-e".as_ref(), exports.as_os_str()])?;
    let mut client = HttpClient::connect(server.address())?;
    let mut count = |path: &str| {
        client.send(request("GET", path, "Accept: text/plain\r\n").as_bytes())?;
        let reply = client.receive()?;
        ensure!(reply.head.status == 200, "{path}: {}", reply.head.status);
        Ok(reply.body.iter().filter(|byte| **byte == b'\n').count())
    };
    ensure!((count("/")?, count("/0/")?, count("/0/7/")?) == (2, 100, 40));
    for _ in 0..100 {
        count(&format!("{}/file", top.display()))?;
    }
    Ok(())
}
