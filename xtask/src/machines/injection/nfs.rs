//! The session of `nfs` and `serve`: MOUNT and every procedure of NFS, with three files whose bytes are acknowledged.

use std::fs;
use std::net::{Ipv4Addr, SocketAddr};
use std::os::unix::fs::{PermissionsExt as _, symlink};
use std::thread::sleep;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use nix::sys::signal::Signal;

use super::fault::Disturbance;
use super::process::{Program, watch_idle};
use super::session::{Change, Dirs, Notes, is_timeout};
use crate::build::Arch;
use crate::clients::nfs::{
    Auth, Call, Client, How, Set, SetTime, fattr3, mknoddata3, nfsstat3, stable_how,
};
use crate::machines::pattern;
use crate::machines::server::binary;
use crate::machines::wait_for;

/// Time limit of a request.
const REQUEST_MAX: Duration = Duration::from_secs(4);
/// Length (bytes) of the file that exists before the session: long enough for sendfile.
const LEN: usize = 200_003;
const NFS: SocketAddr = SocketAddr::new(std::net::IpAddr::V4(Ipv4Addr::LOCALHOST), 2049);
const PORTMAP: SocketAddr = SocketAddr::new(std::net::IpAddr::V4(Ipv4Addr::LOCALHOST), 111);
const NOBODY: u32 = 65534;

/// Plays the session with a server of these words: the role and options.
pub(super) fn play(words: &[&str], disturbance: Option<&Disturbance>) -> Result<Notes> {
    let dirs = Dirs::new(disturbance)?;
    let old = pattern(1, 0, LEN);
    for name in ["old", "to move", "to remove"] {
        dirs.fill(name, &old)?;
    }
    symlink("old", dirs.path("symlink"))?;
    for (name, mode) in [("full", 0o755), ("empty", 0o755), ("open", 0o777)] {
        fs::create_dir(dirs.path(name))?;
        fs::set_permissions(dirs.path(name), fs::Permissions::from_mode(mode))?;
    }
    for number in 0..5 {
        dirs.fill(&format!("full/{number}"), b"")?;
    }
    let mut command = dirs.wrapper()?;
    let exports = dirs.private.path().join("exports");
    let line = format!(
        "{} *(rw,no_root_squash,insecure)\n",
        dirs.served.path().display()
    );
    fs::write(&exports, line)?;
    let exports = exports.display().to_string();
    let key = dirs.private.path().join("key").display().to_string();
    command.push(binary(Arch::X86_64)?.display().to_string());
    command.extend(words.iter().map(|&word| word.to_owned()));
    command.extend(["-e", &exports, "-l", "127.0.0.1", "--key-file", &key].map(Into::into));
    let mut server = Program::start(&command)?;
    let mut notes = Notes::default();
    let is_listening = wait_until_listening(&mut server)?;
    if is_listening {
        let path = dirs.served.path().display().to_string();
        use_server(&mut notes, &dirs, &path);
        if server.is_alive()? {
            server.signal(Signal::SIGHUP)?;
        }
        if notes.unanswered.is_empty()
            && let Err(why) = use_again(&mut server, &path)
        {
            let is_silent = is_timeout(&why);
            let list = if is_silent {
                &mut notes.unanswered
            } else {
                &mut notes.broken
            };
            list.push(format!("a new connection: {why:#}"));
        }
        if server.is_alive()? {
            notes.spun.extend(watch_idle(server.pid()));
        }
    } else if server.is_alive()? {
        notes.unanswered.push("the server does not listen".into());
        notes.spun.extend(watch_idle(server.pid()));
    }
    server.stop(&mut notes)?;
    if notes.is_ended_early {
        // Requests that a server left unanswered because it ended.
        notes.cut.append(&mut notes.unanswered);
        notes.cut.append(&mut notes.broken);
    }
    if notes.end.is_none() {
        notes
            .unanswered
            .push(format!("after SIGTERM: {:?}", server.lines()));
    }
    notes.trace = dirs.trace();
    notes.find_losses(dirs.served.path());
    Ok(notes)
}

/// Waits until the server accepts a connection. Returns false if it ends, or after the time limit.
fn wait_until_listening(server: &mut Program) -> Result<bool> {
    let end = Instant::now() + REQUEST_MAX;
    while Instant::now() < end && server.is_alive()? {
        if Client::connect(NFS).is_ok() {
            return Ok(true);
        }
        sleep(Duration::from_millis(5));
    }
    Ok(false)
}

fn connect(address: SocketAddr) -> Result<Client> {
    let client = Client::connect(address)?;
    client.stream().set_read_timeout(Some(REQUEST_MAX))?;
    Ok(client)
}

/// Uses the server on new connections, as a client does that lost its old one: at most three times.
fn use_again(server: &mut Program, path: &str) -> Result<()> {
    let attempt = || -> Result<()> {
        let root = connect(NFS)?.mount(path)?;
        let mut client = connect(NFS)?;
        let file = client.lookup(&root, "old")?;
        ensure!(client.attr(&file)?.size == LEN as u64, "the size is wrong");
        let (data, _) = client.read(&file, 0, 4096)?;
        ensure!(data == pattern(1, 0, 4096), "the data is wrong");
        Ok(())
    };
    /// Times (ms) to wait before an attempt: a supervisor starts a process again after a second or two.
    const PAUSES: [u64; 3] = [0, 200, 2500];
    let mut last = Ok(());
    for pause in PAUSES {
        sleep(Duration::from_millis(pause));
        last = attempt();
        let is_silent = last.as_ref().is_err_and(is_timeout);
        if last.is_ok() || is_silent || !server.is_alive()? {
            break;
        }
    }
    last
}

fn use_server(notes: &mut Notes, dirs: &Dirs, path: &str) {
    if let Err(why) = use_portmap() {
        notes.reduced.push(format!("portmap DUMP: {why:#}"));
    }
    let mount = || {
        let mut client = connect(NFS)?;
        client.call(&Call::exports())?;
        client.mount(path)
    };
    let root = notes.step("MNT", mount);
    let client = notes.step("connect", || connect(NFS));
    if let (Some(root), Some(mut client)) = (root, client) {
        read_objects(notes, &mut client, &root);
        write_files(notes, &mut client, &root);
        change_objects(notes, &mut client, &root, dirs);
        client.auth = Auth::sys(b"client", NOBODY, NOBODY, &[NOBODY]);
        let data = pattern(4, 0, 5000);
        let theirs = || {
            let open = client.lookup(&root, "open")?;
            let file = client.create(&open, "theirs", How::Guarded(Set::mode(0o600)))?;
            client.write_all(&file, 0, stable_how::FILE_SYNC, &data, 4096)
        };
        if notes.step("WRITE as another user", theirs).is_some() {
            notes.acknowledge("open/theirs", &data);
        }
    }
}

/// Calls the port mapper, which may listen a little later than NFS.
fn use_portmap() -> Result<()> {
    const LISTEN_MAX: Duration = Duration::from_millis(500);
    let client = wait_for(LISTEN_MAX, || Ok(connect(PORTMAP).ok()))?;
    let mut client = client.context("cannot connect")?;
    client.call(&Call::portmap_dump()).map(drop)
}

fn read_objects(notes: &mut Notes, client: &mut Client, root: &[u8]) {
    if let Some(file) = notes.step("LOOKUP", || client.lookup(root, "old")) {
        let is_whole = |size| size == LEN as u64;
        notes.verify("GETATTR", || client.attr(&file), |it| is_whole(it.size));
        notes.step("ACCESS", || client.access(&file, 0x3f));
        for count in [4096, LEN as u32 + 1] {
            let read = || Ok(client.read(&file, 0, count)?.0.to_vec());
            let is_right = |data: Vec<u8>| data.len() >= 4096 && data == pattern(1, 0, data.len());
            notes.verify(&format!("READ of {count}"), read, is_right);
        }
    }
    if let Some(link) = notes.step("LOOKUP of a link", || client.lookup(root, "symlink")) {
        notes.verify("READLINK", || client.read_link(&link), |to| to == b"old");
    }
    if let Some(full) = notes.step("LOOKUP of a directory", || client.lookup(root, "full")) {
        notes.verify("READDIRPLUS", || client.list(&full), |all| all.len() == 7);
        let page = || client.page(&Call::read_dir(&full, 0, [0; 8], 4096));
        notes.verify("READDIR", page, |page| page.entries.len() == 7);
    }
    for call in [
        Call::fs_stat(root),
        Call::fs_info(root),
        Call::path_conf(root),
    ] {
        let status = || match client.status(&call)? {
            nfsstat3::NFS3_OK => Ok(()),
            status => Err(anyhow::Error::msg(status)),
        };
        notes.step("FSSTAT, FSINFO or PATHCONF", status);
    }
}

fn write_files(notes: &mut Notes, client: &mut Client, root: &[u8]) {
    let data = pattern(2, 0, 300_003);
    for (name, stable, part) in [
        ("synced", stable_how::FILE_SYNC, 32 << 10),
        ("large", stable_how::FILE_SYNC, 1 << 20),
        ("unstable", stable_how::UNSTABLE, 128 << 10),
    ] {
        let create = || client.create(root, name, How::Guarded(Set::mode(0o640)));
        let Some(file) = notes.step("CREATE", create) else {
            continue;
        };
        let write = || {
            let verifier = client.write_all(&file, 0, stable, &data, part)?;
            Ok(stable == stable_how::FILE_SYNC || client.commit(&file, 0, 0)? == verifier)
        };
        if notes.step("WRITE", write) == Some(true) {
            notes.acknowledge(name, &data);
        }
    }
}

fn change_objects(notes: &mut Notes, client: &mut Client, root: &[u8], dirs: &Dirs) {
    if let Some(file) = notes.step("LOOKUP again", || client.lookup(root, "old")) {
        let set = Set {
            mode: Some(0o600),
            gid: Some(NOBODY),
            atime: SetTime::Client(1, 2),
            mtime: SetTime::Server,
            ..Set::default()
        };
        let set = || {
            client.set_attr(&file, set)?;
            client.attr(&file)
        };
        let is_right = |attr: fattr3| attr.mode & 0o7777 == 0o600 && attr.gid == NOBODY;
        notes.verify("SETATTR", set, is_right);
        let link: Change<'_, Client> = ("LINK", &|it| it.link(&file, root, "link"), &["link"], &[]);
        notes.change(client, dirs, &[link]);
    }
    let rename = |it: &mut Client| it.rename(root, "to move", root, "moved");
    let changes: &[Change<'_, Client>] = &[
        ("RENAME", &rename, &["moved"], &["to move"]),
        (
            "REMOVE",
            &|it| it.remove(root, "to remove"),
            &[],
            &["to remove"],
        ),
        ("RMDIR", &|it| it.rmdir(root, "empty"), &[], &["empty"]),
    ];
    notes.change(client, dirs, changes);
    if let Some(dir) = notes.step("MKDIR", || client.mkdir(root, "dir", Set::mode(0o755))) {
        notes.check("MKDIR", dirs.path("dir").exists());
        let fifo = |it: &mut Client| {
            let fifo = mknoddata3::NF3FIFO(Set::mode(0o600).into());
            it.mknod(&dir, "fifo", fifo).map(drop)
        };
        let symlink = |it: &mut Client| it.symlink(&dir, "symlink", "target").map(drop);
        let changes: &[Change<'_, Client>] = &[
            ("SYMLINK", &symlink, &["dir/symlink"], &[]),
            ("MKNOD", &fifo, &["dir/fifo"], &[]),
        ];
        notes.change(client, dirs, changes);
    }
    let shrink = || {
        let set = Set {
            size: Some(10),
            ..Set::mode(0o600)
        };
        client.create(root, "exclusive", How::Exclusive(*b"verifier"))?;
        client.create(root, "exclusive", How::Unchecked(set))
    };
    let has_size = |_| fs::metadata(dirs.path("exclusive")).is_ok_and(|it| it.len() == 10);
    notes.verify("CREATE with a size", shrink, has_size);
}
