//! --jail: nothing outside is accessible, and no reply reveals whether an outside object exists.

use super::{ObjectState, ensure_unchanged, refill, set_owner, snapshot};
use anyhow::{Context, Result, ensure};
use nix::libc;
use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::{chown, symlink};
use std::path::{Path, PathBuf};
use tempfile::TempDir;
use xtask::clients::sftp::{Attrs, Reply, Request, Sftp, SftpOptions, Status, open, with_path};
use xtask::machines::lockdown;
use xtask::machines::server::{public_dir, users};

/// Contents of the files outside the jail.
const SECRET: &str = "OUTSIDE";

/// A directory with `jail` (a sample, with symbolic links that point outside) and `outside` (with `secret` and `dir/inner`).
pub(crate) struct JailTree {
    pub(super) base: TempDir,
    before: BTreeMap<PathBuf, ObjectState>,
    user: Option<u32>,
}

impl JailTree {
    pub(crate) fn new(user: Option<u32>) -> Result<Self> {
        let base = public_dir()?;
        let outside = base.path().join("outside");
        fs::create_dir_all(outside.join("dir"))?;
        fs::write(outside.join("secret"), SECRET)?;
        fs::write(outside.join("dir/inner"), SECRET)?;
        // The server's user has full access outside the jail, too, so that only the jail protects these files.
        for path in ["", "dir", "secret", "dir/inner"] {
            chown(outside.join(path), user, user)?;
        }
        let before = snapshot(&outside)?;
        let tree = Self { base, before, user };
        fs::create_dir(tree.jail())?;
        tree.refill()?;
        Ok(tree)
    }

    pub(crate) fn jail(&self) -> PathBuf {
        self.base.path().join("jail")
    }

    pub(super) fn outside(&self) -> PathBuf {
        self.base.path().join("outside")
    }

    /// Restores the contents of the jail.
    fn refill(&self) -> Result<()> {
        let jail = self.jail();
        refill(&jail)?;
        let outside = self.outside();
        for (name, target) in [
            ("abs-secret", outside.join("secret")),
            ("abs-nothin", outside.join("nothin")),
            ("abs-dir", outside.clone()),
            ("up-secret", "../outside/secret".into()),
            ("up-nothin", "../outside/nothin".into()),
            ("up-dir", "../outside".into()),
            ("sub/up", "../../outside".into()),
            ("up", "..".into()),
            ("root", "/".into()),
            ("etc", "/etc".into()),
            ("passwd", "/etc/passwd".into()),
            ("proc", "/proc".into()),
            ("twice", "up-dir/dir".into()),
        ] {
            symlink(target, jail.join(name))?;
        }
        set_owner(&jail, self.user)
    }

    pub(super) fn options(&self) -> SftpOptions {
        SftpOptions {
            user: self.user,
            ..SftpOptions::jailed(&self.jail())
        }
    }

    /// Checks that nothing outside the jail was changed.
    pub(crate) fn outside_is_untouched(&self, by: &str) -> Result<()> {
        ensure_unchanged(&self.outside(), &self.before, by)?;
        let names: Vec<_> = fs::read_dir(self.base.path())?
            .map(|entry| Ok(entry?.file_name()))
            .collect::<Result<_>>()?;
        ensure!(names.len() == 2, "{by} left {names:?}");
        Ok(())
    }

    /// Paths that would resolve outside without the jail.
    pub(crate) fn ways_out(&self) -> Vec<String> {
        let outside = self.outside().display().to_string();
        let jail = self.jail().display().to_string();
        let mut all: Vec<String> = [
            "../outside/secret",
            "/../outside/secret",
            "/../../../../../../../../../../../../etc/passwd",
            "sub/../../outside/secret",
            "sub/../../outside/dir",
            "./.././outside/./secret",
            "..//outside//secret",
            "../outside",
            "../jail/small",
            "abs-secret",
            "abs-secret/",
            "abs-nothin",
            "abs-dir",
            "abs-dir/secret",
            "abs-dir/made",
            "abs-dir/dir/inner",
            "up-secret",
            "up-nothin",
            "up-dir",
            "up-dir/secret",
            "up-dir/made",
            "up-dir/../outside/secret",
            "sub/up/secret",
            "sub/up/../outside/secret",
            "twice/inner",
            "up/outside/secret",
            "up/../up/outside/secret",
            "root/../outside/secret",
            "root/etc/passwd",
            "etc/passwd",
            "passwd",
            "/etc/passwd",
            "/etc/stowaway-made",
            "proc/self/root/etc/passwd",
            "/proc/self/cwd/small",
            "/proc/self/maps",
        ]
        .map(String::from)
        .into();
        all.extend([
            format!("{outside}/secret"),
            format!("{outside}/made"),
            format!("{outside}/dir/inner"),
            format!("{jail}/small"),
            format!("{jail}/../outside/secret"),
            format!("root{outside}/secret"),
            format!("up{outside}/secret"),
        ]);
        all
    }

    /// Words that no reply may contain: contents from outside, and the jail's real path.
    pub(crate) fn secrets(&self) -> [String; 3] {
        let base = self.base.path().display().to_string();
        [SECRET.to_owned(), "root:x:0".to_owned(), base]
    }

    /// Checks that a reply reveals neither contents from outside nor the jail's real path.
    fn reveals_nothing(&self, message: &[u8], request: &Request<'_>) -> Result<()> {
        // A word that is in the request may be in its reply: the client knew it already.
        let base = self.base.path().display().to_string();
        let asked = request.message(0);
        for word in &self.secrets() {
            // READLINK returns a link's target unchanged, so its reply may contain the jail's real path.
            let is_link = *word == base && matches!(request, Request::ReadLink(..));
            ensure!(
                is_link || contains(&asked, word) || !contains(message, word),
                "{word} is in the answer to {request:?}: {}",
                message.escape_ascii()
            );
        }
        Ok(())
    }
}

fn contains(bytes: &[u8], word: &str) -> bool {
    bytes
        .windows(word.len())
        .any(|part| part == word.as_bytes())
}

/// Sends a request; returns the reply as bytes and parsed.
fn exchange(client: &mut Sftp, request: &Request<'_>) -> Result<(Vec<u8>, Reply)> {
    let id = client.next_id();
    client.send(&request.packet(id))?;
    let message = client.receive()?.context("no answer")?;
    let (answered, reply) = Reply::parse(&message)?;
    ensure!(answered == id, "{request:?} was answered as {answered}");
    Ok((message, reply))
}

/// Runs `test` for root and for a user, each with all system calls and without openat2 and Landlock.
pub(super) fn for_each_jail(test: impl Fn(&JailTree, &mut Sftp) -> Result<()>) -> Result<()> {
    for user in users() {
        for is_old_kernel in [false, true] {
            let tree = JailTree::new(user)?;
            let options = tree.options();
            let mut client = if is_old_kernel {
                let calls = [libc::SYS_openat2, libc::SYS_landlock_create_ruleset];
                lockdown::run_without(&calls, || Sftp::start(&options))?
            } else {
                Sftp::start(&options)?
            };
            test(&tree, &mut client).with_context(|| {
                let lines = client.process.lines();
                format!("for user {user:?} on an old kernel: {is_old_kernel}; the server said {lines:#?}")
            })?;
            tree.outside_is_untouched("the test")?;
        }
    }
    Ok(())
}

#[test]
fn no_path_leaves_the_jail() -> Result<()> {
    for_each_jail(|tree, client| {
        for path in tree.ways_out() {
            let path = path.as_bytes();
            for request in with_path(path) {
                let (message, reply) = exchange(client, &request)?;
                tree.reveals_nothing(&message, &request)?;
                tree.outside_is_untouched(&format!("{request:?}"))?;
                // The links themselves are inside, but their targets are outside, so these do not find them.
                let follows = match &request {
                    Request::Open(_, flags, _) => *flags == open::READ,
                    Request::Stat(_) | Request::OpenDir(_) | Request::StatVfs(_) => true,
                    Request::SetStat(..) => true,
                    _ => false,
                };
                ensure!(
                    !follows || reply.status() == Some(Status::NO_SUCH_FILE),
                    "{request:?} was answered {reply:?}"
                );
                match reply {
                    Reply::Handle(handle) => {
                        // The object that was opened is inside the jail.
                        for request in [
                            Request::Read(&handle, 0, 1000),
                            Request::ReadDir(&handle),
                            Request::Write(&handle, 0, b"WRITTEN"),
                            Request::Close(&handle),
                        ] {
                            let (message, _) = exchange(client, &request)?;
                            tree.reveals_nothing(&message, &request)?;
                        }
                        tree.outside_is_untouched(&format!("{request:?}"))?;
                        tree.refill()?;
                    }
                    Reply::Status(Status::OK, _) => tree.refill()?,
                    _ => {}
                }
            }
        }
        Ok(())
    })
}

#[test]
fn replies_reveal_no_outside_objects() -> Result<()> {
    for_each_jail(|tree, client| {
        let outside = tree.outside().display().to_string();
        let mut changed = false;
        let paths = [
            "../outside/secret".into(),
            "sub/../../outside/secret".into(),
            "abs-secret".into(),
            "abs-dir/secret".into(),
            "up-secret".into(),
            "up-dir/secret".into(),
            "sub/up/secret".into(),
            format!("{outside}/secret"),
            format!("{outside}/secret/x"),
            "up-dir/secret/x".into(),
        ];
        for path in paths {
            let missing = path.replace("secret", "nothin");
            let pairs = with_path(path.as_bytes());
            for (request, other) in pairs.iter().zip(with_path(missing.as_bytes())) {
                let mut replies = Vec::new();
                for request in [request, &other] {
                    if changed {
                        tree.refill()?;
                    }
                    let (_, reply) = exchange(client, request)?;
                    changed = matches!(reply, Reply::Handle(_) | Reply::Status(Status::OK, _));
                    replies.push(match reply {
                        // Attributes are not compared: they are those of different links inside the jail.
                        Reply::Attrs(_) => "attributes".to_owned(),
                        Reply::Handle(handle) => {
                            client.close(&handle)?;
                            "a handle".to_owned()
                        }
                        // Free space is not compared: other programs change it.
                        Reply::Extended(_) => "figures".to_owned(),
                        other => format!("{other:?}")
                            .replace(&format!("{:?}", "secret".as_bytes()), "")
                            .replace(&format!("{:?}", "nothin".as_bytes()), ""),
                    });
                }
                let same = replies[0] == replies[1]
                    || matches!(
                        request,
                        Request::RealPath(..) | Request::ExpandPath(..) | Request::ReadLink(..)
                    );
                ensure!(
                    same,
                    "{request:?} is answered {} and {other:?} {}",
                    replies[0],
                    replies[1]
                );
            }
        }
        Ok(())
    })
}

#[test]
fn returned_paths_are_relative_to_the_jail() -> Result<()> {
    for_each_jail(|tree, client| {
        for (path, expected) in [
            ("", "/"),
            (".", "/"),
            ("/", "/"),
            ("..", "/"),
            ("/..", "/"),
            ("../../..", "/"),
            ("sub", "/sub"),
            ("sub/../..", "/"),
            ("link", "/small"),
            ("up", "/"),
            ("root/small", "/small"),
            ("up/up/root/sub/inner", "/sub/inner"),
            ("missing", "/missing"),
        ] {
            let real = client.real_path(path)?;
            ensure!(
                real == expected.as_bytes(),
                "{path} was resolved to {}",
                real.escape_ascii()
            );
        }
        ensure!(client.read_file("/small")? == b"small\n");
        ensure!(client.read_file("/../small")? == b"small\n");
        ensure!(client.read_file("root/sub/inner")? == b"inner\n");
        // A link keeps its target, which is resolved inside the jail.
        for target in [
            "/sub/inner",
            "sub/inner",
            "../sub/inner",
            "/../../sub/inner",
        ] {
            client.symlink(target, "made")?;
            ensure!(client.read_link("made")? == target.as_bytes());
            ensure!(client.read_file("made")? == b"inner\n", "{target}");
            client.remove("made")?;
        }
        // A target with the jail's real path is translated to the path inside.
        symlink(tree.jail().join("sub/inner"), tree.jail().join("true"))?;
        ensure!(client.read_link("true")? == b"/sub/inner");
        ensure!(client.read_file("true")? == b"inner\n");
        // The root can be listed, and is its own parent.
        let entries = client.list("/")?;
        ensure!(entries.iter().any(|entry| entry.name == b"small"));
        ensure!(entries.iter().all(|entry| entry.name != b"outside"));
        ensure!(client.list("/..")?.len() == entries.len());
        Ok(())
    })
}

#[test]
fn at_option_changes_the_jails_path() -> Result<()> {
    for user in users() {
        let tree = JailTree::new(user)?;
        let mut client = Sftp::start(&tree.options().with_arguments(&["--at", "/srv/data"]))?;
        ensure!(client.real_path(".")? == b"/srv/data");
        ensure!(client.real_path("sub/..")? == b"/srv/data");
        ensure!(client.real_path("link")? == b"/srv/data/small");
        for path in [
            "small",
            "/srv/data/small",
            "/srv/data/sub/../small",
            "/srv/data//sub/..//small",
        ] {
            ensure!(client.read_file(path)? == b"small\n", "{path}");
        }
        for path in [
            "/small",
            "/srv/datax/small",
            "/srv/dat/small",
            "/srv/data/../../etc/passwd",
            "/srv/data/../outside/secret",
        ] {
            let path = path.as_bytes();
            for request in [
                Request::Stat(path),
                Request::Open(path, open::READ, Attrs::default()),
            ] {
                let (_, reply) = exchange(&mut client, &request)?;
                ensure!(
                    reply.status() == Some(Status::NO_SUCH_FILE),
                    "{request:?} was answered {reply:?}"
                );
            }
        }
        for path in tree.ways_out() {
            for request in with_path(path.as_bytes()) {
                let (message, _) = exchange(&mut client, &request)?;
                tree.reveals_nothing(&message, &request)?;
                tree.outside_is_untouched(&format!("{request:?}"))?;
            }
        }
    }
    Ok(())
}

#[test]
fn long_link_chains_resolve_inside_the_jail() -> Result<()> {
    for_each_jail(|tree, client| {
        let mut paths = Vec::new();
        for side in ["one", "two"] {
            let mut path = side.to_owned();
            for depth in 0..20 {
                path = format!("{path}/{depth}");
            }
            fs::create_dir_all(tree.jail().join(&path))?;
            for number in 0..12 {
                let link = tree.jail().join(format!("{side} {number}"));
                symlink(format!("{side} {}", number + 1), link)?;
            }
            symlink(format!("/{path}"), tree.jail().join(format!("{side} 12")))?;
            paths.push((format!("{side} 0/file"), format!("/{path}/file")));
        }
        for entry in walkdir::WalkDir::new(tree.jail()) {
            std::os::unix::fs::lchown(entry?.path(), tree.user, tree.user)?;
        }
        let ((one, real_one), (two, real_two)) = (&paths[0], &paths[1]);
        client.write_file(one, b"far")?;
        ensure!(client.real_path(one)? == real_one.as_bytes());
        client.hard_link(one, two)?;
        client.remove(one)?;
        client.rename(two, one)?;
        client.posix_rename(one, two)?;
        client.set_stat(two, Attrs::mode(0o600))?;
        ensure!(client.real_path(two)? == real_two.as_bytes());
        ensure!(client.read_file(real_two)? == b"far");
        Ok(())
    })
}

#[test]
fn account_names_come_from_the_jail() -> Result<()> {
    let tree = JailTree::new(None)?;
    let mut client = Sftp::start(&tree.options())?;
    let names = client.account_names(&[0, 1], &[0])?;
    ensure!(
        names.users.iter().chain(&names.groups).all(Vec::is_empty),
        "{names:?} of a jail without accounts"
    );
    fs::remove_file(tree.jail().join("etc"))?;
    fs::create_dir(tree.jail().join("etc"))?;
    // Longer than one read.
    let others = "other:x:9:9::/:\n".repeat(20_000);
    let passwd = others + "warden:x:0:0::/cell:\n";
    fs::write(tree.jail().join("etc/passwd"), passwd)?;
    fs::write(tree.jail().join("etc/group"), "guards:x:0:\n")?;
    let mut client = Sftp::start(&tree.options())?;
    let names = client.account_names(&[0, 1], &[0])?;
    ensure!(names.users == [b"warden".to_vec(), Vec::new()], "{names:?}");
    ensure!(names.groups == [b"guards".to_vec()], "{names:?}");
    let entries = client.list(".")?;
    let long = entries.iter().find(|entry| entry.name == b"small");
    let long = &long.context("no small")?.long_name;
    ensure!(
        contains(long, "warden") && contains(long, "guards"),
        "{}",
        long.escape_ascii()
    );
    // A link to an account file outside the jail is not used.
    fs::remove_dir_all(tree.jail().join("etc"))?;
    fs::create_dir(tree.jail().join("etc"))?;
    let outside = tree.outside();
    fs::write(outside.join("secret"), "spy:x:0:0::/:\n")?;
    symlink(outside.join("secret"), tree.jail().join("etc/passwd"))?;
    symlink("../../outside/secret", tree.jail().join("etc/group"))?;
    let mut client = Sftp::start(&tree.options())?;
    let names = client.account_names(&[0], &[0])?;
    ensure!(
        names.users[0].is_empty() && names.groups[0].is_empty(),
        "{names:?}"
    );
    Ok(())
}

/// A `--jail` that is not a directory ends the server before it serves anything.
#[test]
fn jail_that_is_no_directory_is_refused() -> Result<()> {
    let tree = JailTree::new(None)?;
    for place in ["jail/small", "missing", "jail/small/x"] {
        let path = tree.base.path().join(place);
        let mut client = Sftp::spawn(&SftpOptions::jailed(Path::new(&path)))?;
        ensure!(client.receive()?.is_none());
        let ended = client.wait()?;
        ensure!(
            ended.code().is_some_and(|code| code != 0 && code != 101) && ended.lines.len() == 1,
            "{place}: {ended:?}"
        );
    }
    Ok(())
}
