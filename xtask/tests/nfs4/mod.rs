//! NFS 4.1: the cases that the built server shares with the engine, kills, and the ports that a server opens for 4.1 alone.

mod floods;

use anyhow::{Context, Result, ensure};
use cases::nfs4::changes::open_new;
use cases::nfs4::{Peer, cases, op, opaque, read, status, with};
use std::fs::FileTimes;
use std::net::TcpListener;
use std::os::unix::fs::PermissionsExt;
use std::thread::sleep;
use std::time::{Duration, Instant, UNIX_EPOCH};
use xtask::clients::nfs::{Call, Client, first_xid, record};
use xtask::machines::server::{
    Namespace, Process, Server, ServerOptions, public_dir, root_for, users,
};
use xtask::machines::wait_for;
use xtask::setup;

use crate::inside::{image_of, small_tree};
use crate::writes::laws::fill;

/// The time within which rpcbind listens.
const RPCBIND_MAX: Duration = Duration::from_secs(10);

/// Options of a server with these versions.
fn offering(versions: &str, exported: &[&std::path::Path]) -> Result<ServerOptions> {
    Ok(ServerOptions {
        arguments: vec!["--nfs-versions".into(), versions.into()],
        ..ServerOptions::serving(exported)
    })
}

/// Sends a message and returns the reply.
fn exchange(client: &mut Client, message: &[u8]) -> Result<Vec<u8>> {
    client.send(&record(message))?;
    Ok(client.receive()?.context("closed")?.to_vec())
}

#[test]
fn cases_hold() -> Result<()> {
    for (role, user) in users()
        .into_iter()
        .map(|user| ("nfs", user))
        .chain([("serve", None)])
    {
        let directory = public_dir()?;
        // A server that is not root acts as itself for each caller.
        let owner = user.unwrap_or(1000);
        fill(
            directory.path(),
            Some(owner).filter(|_| root_for("files of another user")),
        )?;
        let top = directory.path().display().to_string();
        let mut server = Server::start(ServerOptions {
            role,
            user,
            exports: vec![format!("{top}:rw")],
            ..offering("3,4.1", &[])?
        })?;
        for (number, (name, case)) in cases().enumerate() {
            // Clients that a case leaves count for its successors, unless they are others.
            let (mut client, owner) = (server.connect()?, format!("{number}"));
            let mut exchange = |message: &[u8]| exchange(&mut client, message);
            case(&mut Peer::new(&mut exchange, &top, &owner, first_xid()))
                .with_context(|| format!("{name}; {role}, user {user:?}"))?;
        }
        ensure!(
            server.is_alive()?,
            "the server ended: {:#?}",
            server.lines()
        );
    }
    Ok(())
}

/// An empty file whose times are a verifier is opened only by its owner, and by users with the right by its mode.
#[test]
fn exclusive_open_of_a_file_needs_its_rights() -> Result<()> {
    if !root_for("a file of another user") {
        return Ok(());
    }
    let directory = public_dir()?;
    let (top, path) = (directory.path().display(), directory.path().join("file"));
    let server = Server::start(ServerOptions {
        exports: vec![format!("{top}:rw")],
        ..offering("4.1", &[])?
    })?;
    let mut client = server.connect()?;
    let mut exchange = |message: &[u8]| exchange(&mut client, message);
    let mut peer = Peer::new(&mut exchange, &top.to_string(), "open", first_xid());
    peer.begun()?;
    peer.next(&[with(op::RECLAIM_COMPLETE, &[0])])?;
    // EXCLUSIVE4_1 without attributes.
    let open = open_new("owner", 3, 0, &[3, 7, 9, 0, 0], "file");
    for (owner, mode, expect) in [
        (0, 0o600, status::ACCESS),
        (0, 0o666, status::OK),
        (1000, 0, status::OK),
    ] {
        let times = [7, 9].map(|secs| UNIX_EPOCH + Duration::from_secs(secs));
        let [accessed, modified] = times;
        let file = std::fs::File::create(&path)?;
        std::os::unix::fs::fchown(&file, Some(owner), None)?;
        file.set_permissions(PermissionsExt::from_mode(mode))?;
        file.set_times(
            FileTimes::new()
                .set_accessed(accessed)
                .set_modified(modified),
        )?;
        let way = peer.way("", std::slice::from_ref(&open));
        let opened = peer.next(&way)?.status;
        ensure!(opened == expect, "{owner}, {mode:o}: {opened}");
    }
    Ok(())
}

/// The top of an image has one handle, by both versions and each way. Users need the right to read the image.
#[test]
fn image_is_entered_by_both_versions() -> Result<()> {
    let directory = public_dir()?;
    let (top, image) = (directory.path().display(), image_of(small_tree(1)?.path())?);
    std::fs::create_dir(directory.path().join("sub"))?;
    std::fs::write(directory.path().join("sub/one.iso"), &image)?;
    let secret = directory.path().join("secret.iso");
    std::fs::write(&secret, &image)?;
    std::fs::set_permissions(&secret, PermissionsExt::from_mode(0o600))?;
    let server = Server::start(ServerOptions {
        exports: vec![format!("{top}:isos")],
        ..offering("3,4.1", &[])?
    })?;
    let mut client = server.connect()?;
    let handle = client.mount(&format!("{top}/sub/one.iso"))?;
    ensure!(client.mount(&format!("{top}/sub/one.iso.d"))? == handle);
    let below = client.mount(&format!("{top}/sub/one.iso.d/sub/deep"))?;
    ensure!(client.walk(&handle, "sub/deep")? == below);
    ensure!(client.mount(&format!("{top}/sub/two.iso.d")).is_err());
    let mut exchange = |message: &[u8]| exchange(&mut client, message);
    let mut peer = Peer::new(&mut exchange, &top.to_string(), "image", first_xid());
    peer.begun()?;
    let get_handle = vec![op::GETFH];
    let up = |count| [vec![vec![op::LOOKUPP]; count], vec![vec![op::GETFH]]].concat();
    for (path, other) in [
        ("sub/one.iso.d", peer.way("sub/one.iso.d/sub", &up(1))),
        ("sub", peer.way("sub/one.iso.d", &up(1))),
        ("", peer.way("sub/one.iso.d/sub/deep", &up(4))),
    ] {
        let way = peer.way(path, std::slice::from_ref(&get_handle));
        let (one, other) = (peer.next(&way)?, peer.next(&other)?);
        ensure!(
            one.status == 0 && one.last == other.last,
            "{path}: {other:?}"
        );
        ensure!(
            (one.last == opaque(&handle)) == (path == "sub/one.iso.d"),
            "{path}"
        );
    }
    let way = peer.way("sub/one.iso.d/name", &[read(0, 0, 100)]);
    ensure!(peer.next(&way)?.last == [&[1], &opaque(b"00001")[..]].concat());
    if root_for("the right to read an image") {
        let way = peer.way("secret.iso.d", &[]);
        ensure!(peer.next(&way)?.status == status::ACCESS);
    }
    Ok(())
}

/// A killed server process loses neither clients nor sessions nor kept replies.
#[test]
fn sessions_outlive_a_killed_process() -> Result<()> {
    let directory = public_dir()?;
    // With port 0, the successor would choose another one.
    let port = TcpListener::bind(("127.0.0.1", 0))?.local_addr()?.port();
    let server = Server::start(ServerOptions {
        role: "serve",
        port,
        ..offering("4.1", &[directory.path()])?
    })?;
    let mut connection = server.connect()?;
    // Sends a message again on new connections, until a successor of the killed process answers.
    let mut ask = |message: &[u8]| {
        let end = Instant::now() + Duration::from_secs(20);
        loop {
            match exchange(&mut connection, message) {
                Err(_) if Instant::now() < end => sleep(Duration::from_millis(20)),
                answered => return answered,
            }
            if let Ok(next) = server.connect() {
                connection = next;
            }
        }
    };
    let mut peer = Peer::new(
        &mut ask,
        &directory.path().display().to_string(),
        "kill",
        first_xid(),
    );
    peer.begun()?;
    let ops = [
        peer.top.clone(),
        vec![vec![op::GETFH], with(op::RECLAIM_COMPLETE, &[0])],
    ]
    .concat();
    let first = peer.next_kept(1, &ops)?;
    ensure!(first.status == status::OK, "{first:?}");
    for round in 0..3 {
        for child in server.children()? {
            nix::sys::signal::kill(
                nix::unistd::Pid::from_raw(child as i32),
                nix::sys::signal::Signal::SIGKILL,
            )?;
        }
        let again = peer.again(1, &ops)?;
        ensure!(again == first, "{round}: {again:?}, first {first:?}");
    }
    Ok(())
}

/// The local ports of a kind of sockets, and whether each listens or is bound.
fn ports(namespace: &Namespace, kind: &str) -> Result<Vec<u16>> {
    let path = format!("/proc/net/{kind}");
    let output = namespace.command("cat").arg(&path).output()?;
    let text = String::from_utf8(output.stdout)?;
    let rows = text.lines().skip(1).map(|row| {
        let words: Vec<&str> = row.split_whitespace().collect();
        let port = words[1].rsplit(':').next().context("no port")?;
        Ok((u16::from_str_radix(port, 16)?, words[3].to_owned()))
    });
    let rows: Vec<(u16, String)> = rows.collect::<Result<_>>()?;
    // TCP_LISTEN, and TCP_CLOSE of UDP.
    let open = rows
        .into_iter()
        .filter(|(_, state)| matches!(&state[..], "0A" | "07"));
    Ok(open.map(|(port, _)| port).collect())
}

#[test]
fn version_4_alone_has_one_port() -> Result<()> {
    if !root_for("a network namespace") {
        return Ok(());
    }
    setup::install_packages(&["iproute2", "nfs-common", "rpcbind"])?;
    let (namespace, directory) = (Namespace::new()?, public_dir()?);
    let started = || -> Result<Server> {
        Server::start(ServerOptions {
            role: "serve",
            port: 2049,
            portmap: true,
            wrapper: namespace.enter(),
            ..offering("4.1", &[directory.path()])?
        })
    };
    let server = started()?;
    ensure!(
        ports(&namespace, "tcp")? == [2049],
        "{:?}",
        ports(&namespace, "tcp")?
    );
    for kind in ["tcp6", "udp", "udp6"] {
        let open = ports(&namespace, kind)?;
        ensure!(open.iter().all(|port| *port == 5353), "{kind}: {open:?}");
    }
    namespace.run(|| {
        let mut client = server.connect()?;
        let mount = Call::mount(directory.path().as_os_str().as_encoded_bytes());
        let refused = client.answer(&mount);
        ensure!(refused.is_err(), "MOUNT was answered");
        let null = client.answer(&Call::get_attr(b"handle"));
        ensure!(null.is_err(), "version 3 was answered");
        Ok(())
    })?;
    drop(server);
    // Beside rpcbind nothing is registered.
    let mut command = namespace.command("rpcbind");
    let _rpcbind = Process::start(command.args(["-f", "-w"]))?;
    let listens = || Ok(ports(&namespace, "tcp")?.contains(&111).then_some(()));
    wait_for(RPCBIND_MAX, listens)?.context("rpcbind does not listen")?;
    let _server = started()?;
    let listed = namespace
        .command("rpcinfo")
        .args(["-p", "127.0.0.1"])
        .output()?;
    let listed = String::from_utf8(listed.stdout)?;
    ensure!(
        listed.contains("100000") && !listed.contains("100003") && !listed.contains("100005"),
        "{listed}"
    );
    Ok(())
}
