//! Typical uses of sftp, scp, rclone and lftp, through a daemon.

use super::{Remote, create_file, ensure_same, program};
use anyhow::{Context, Result, ensure};
use std::collections::BTreeSet;
use std::fs::{self, FileTimes, Permissions};
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::Path;
use std::process::Command;
use std::time::{Duration, SystemTime};
use xtask::machines::sshd::{USER, USER_ID};
use xtask::setup;

/// Creates a tree to copy: various names, an empty file and an empty directory, with their own times and modes.
fn sample(directory: &Path) -> Result<()> {
    fs::create_dir_all(directory.join("a/b c/d"))?;
    fs::create_dir(directory.join("empty"))?;
    let names = ["top", "a/nothing", "a/b c/ü", "a/b c/d/large"];
    for (number, (name, len)) in names
        .into_iter()
        .zip([10, 0, 70_000, 2_000_003])
        .enumerate()
    {
        let path = directory.join(name);
        create_file(&path, number as u64, len)?;
        let time = SystemTime::UNIX_EPOCH + Duration::from_secs(1_000_000_000 + number as u64);
        let file = fs::File::options().write(true).open(&path)?;
        file.set_times(FileTimes::new().set_accessed(time).set_modified(time))?;
        file.set_permissions(Permissions::from_mode(0o640))?;
    }
    Ok(())
}

/// Attributes that `ensure_same_trees` compares.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Compare {
    /// Names, types and contents.
    Contents,
    /// Names, types and contents, and for files their modes and mtimes.
    ContentsAndAttributes,
}

/// Checks that two trees are the same.
fn ensure_same_trees(one: &Path, other: &Path, compare: Compare) -> Result<()> {
    let list = |at: &Path| -> Result<BTreeSet<_>> {
        let entries = walkdir::WalkDir::new(at).min_depth(1).into_iter();
        entries
            .map(|entry| {
                let entry = entry?;
                let (meta, path) = (entry.metadata()?, entry.path());
                let content = if meta.is_file() {
                    fs::read(path)?
                } else {
                    Vec::new()
                };
                let attributes = (compare == Compare::ContentsAndAttributes && meta.is_file())
                    .then(|| (meta.mode(), meta.mtime()));
                let name = path.strip_prefix(at)?.to_owned();
                Ok((name, meta.is_dir(), attributes, content))
            })
            .collect()
    };
    let (one, other) = (list(one)?, list(other)?);
    let different = one.symmetric_difference(&other);
    let names: Vec<_> = different
        .map(|(name, _, attributes, content)| (name, attributes, content.len()))
        .collect();
    ensure!(names.is_empty(), "trees differ in {names:?}");
    ensure!(!one.is_empty(), "both trees are empty");
    Ok(())
}

#[test]
fn openssh_sftp_tour_succeeds() -> Result<()> {
    Remote::for_each_daemon(|remote| {
        let (client_dir, server_dir) = (remote.client_dir(), remote.server_dir());
        sample(&client_dir.join("tree"))?;
        create_file(&client_dir.join("file"), 20, 300_000)?;
        remote.create_remote("half", &fs::read(client_dir.join("file"))?[..100_000])?;
        let output = remote.batch(&format!(
                "put -f file\nput -Rp tree\nget -Rp tree back\nreput file half\ncp file copy\nput file old\n\
                 rename copy old\nln -s file soft\nln file hard\nchmod 0604 file\nchown {USER_ID} file\n\
                 mkdir new\nrmdir new\ndf -h\nls -l\nls -ln\npwd\n"
            ),
        )?;
        for copy in ["file", "half", "old", "soft", "hard"] {
            ensure_same(&client_dir.join("file"), &server_dir.join(copy)).context(copy)?;
        }
        ensure!(fs::read_link(server_dir.join("soft"))? == Path::new("file"));
        ensure!(fs::metadata(server_dir.join("file"))?.nlink() == 2);
        ensure!(fs::metadata(server_dir.join("file"))?.mode() & 0o7777 == 0o604);
        ensure_same_trees(
            &client_dir.join("tree"),
            &server_dir.join("tree"),
            Compare::ContentsAndAttributes,
        )?;
        ensure_same_trees(
            &client_dir.join("tree"),
            &client_dir.join("back"),
            Compare::ContentsAndAttributes,
        )?;
        // Names of owners come from the server, because the client's passwd has no such account.
        let owned = format!(" {USER:<8} {USER:<8} ");
        let named = output.lines().filter(|line| line.contains(&owned));
        ensure!(
            named.filter(|line| line.ends_with(" hard")).count() == 2,
            "{output}"
        );
        ensure!(
            output.contains(&format!(
                "Remote working directory: {}\n",
                server_dir.display()
            )),
            "{output}"
        );
        Ok(())
    })
}

#[test]
fn scp_copies_trees_and_expands_home_directories() -> Result<()> {
    Remote::for_each_daemon(|remote| {
        let (client_dir, server_dir) = (remote.client_dir(), remote.server_dir());
        let scp = |words: &[&str]| setup::run_captured(remote.openssh("scp").args(words));
        sample(&client_dir.join("tree"))?;
        scp(&["-r", "-p", "tree", "x:copy"])?;
        ensure_same_trees(
            &client_dir.join("tree"),
            &server_dir.join("copy"),
            Compare::ContentsAndAttributes,
        )?;
        scp(&["-r", "-p", "x:copy", "back"])?;
        ensure_same_trees(
            &client_dir.join("tree"),
            &client_dir.join("back"),
            Compare::ContentsAndAttributes,
        )?;
        scp(&["tree/top", "x:~/home"])?;
        scp(&["tree/top", &format!("x:~{USER}/named")])?;
        scp(&[&format!("x:{}/home", server_dir.display()), "absolute"])?;
        scp(&["x:copy/*", "./"])
            .err()
            .context("a directory was copied without -r")?;
        for copy in [
            server_dir.join("home"),
            server_dir.join("named"),
            client_dir.join("absolute"),
        ] {
            ensure_same(&client_dir.join("tree/top"), &copy)?;
        }
        ensure!(scp(&["x:nothing", "x"]).is_err() && !client_dir.join("x").exists());
        ensure!(scp(&["tree/top", "x:no/such/place"]).is_err());
        Ok(())
    })
}

/// A command for rclone with the daemon as `:sftp:`.
pub fn rclone(remote: &Remote) -> Result<Command> {
    setup::install_packages(&["rclone"])?;
    let mut command = program("rclone", remote.client_dir());
    command
        .args(["--retries", "1", "--low-level-retries", "1"])
        .args(["--sftp-host", "127.0.0.1", "--sftp-user", USER])
        .args(["--sftp-port", &remote.daemon.port().to_string()])
        .arg("--sftp-key-file")
        .arg(remote.daemon.key())
        .arg("--sftp-known-hosts-file")
        .arg(remote.daemon.known_hosts());
    Ok(command)
}

#[test]
fn rclone_copies_checks_and_moves() -> Result<()> {
    Remote::for_each_daemon(|remote| {
        let (client_dir, server_dir) = (remote.client_dir(), remote.server_dir());
        let run = |words: &[&str]| setup::run_captured(rclone(remote)?.args(words));
        sample(&client_dir.join("tree"))?;
        run(&["copy", "--create-empty-src-dirs", "tree", ":sftp:tree"])?;
        run(&["check", "--download", "tree", ":sftp:tree"])?;
        run(&["copy", "--create-empty-src-dirs", ":sftp:tree", "back"])?;
        for copy in [server_dir.join("tree"), client_dir.join("back")] {
            ensure_same_trees(&client_dir.join("tree"), &copy, Compare::Contents)?;
            let time = fs::metadata(copy.join("a/b c/d/large"))?.mtime();
            ensure!(time == 1_000_000_003, "{time}");
        }
        // Unchanged files are not copied again, which proves that times are set and returned.
        let output = run(&[
            "copy",
            "-v",
            "--stats-one-line",
            "tree",
            ":sftp:tree",
            "--dry-run",
        ])?;
        ensure!(output.is_empty(), "{output}");
        // Overwrites an existing file by posix-rename.
        run(&["copyto", "tree/top", ":sftp:old"])?;
        run(&["moveto", ":sftp:tree/a/b c/ü", ":sftp:old"])?;
        ensure_same(&client_dir.join("tree/a/b c/ü"), &server_dir.join("old"))?;
        ensure!(!server_dir.join("tree/a/b c/ü").exists());
        run(&["moveto", ":sftp:tree/a", ":sftp:moved"])?;
        ensure!(server_dir.join("moved/b c/d/large").exists());
        // Reads a range of a file, and queries the free space.
        let large = fs::read(client_dir.join("tree/a/b c/d/large"))?;
        let part = rclone(remote)?
            .args([
                "cat",
                "--offset",
                "1999000",
                "--count",
                "900",
                ":sftp:moved/b c/d/large",
            ])
            .output()?;
        ensure!(part.stdout == large[1_999_000..1_999_900], "cat --offset");
        let about = run(&["about", "--json", ":sftp:"])?;
        let about: serde_json::Value = serde_json::from_str(&about)?;
        let actual = nix::sys::statvfs::statvfs(&server_dir)?;
        ensure!(
            about["total"] == actual.blocks() * actual.fragment_size(),
            "{about}"
        );
        run(&["sync", "--create-empty-src-dirs", "tree", ":sftp:moved"])?;
        ensure_same_trees(
            &client_dir.join("tree"),
            &server_dir.join("moved"),
            Compare::Contents,
        )?;
        run(&["purge", ":sftp:moved"])?;
        ensure!(!server_dir.join("moved").exists());
        Ok(())
    })
}

/// Runs commands of lftp that must all succeed.
pub fn lftp(remote: &Remote, commands: &str) -> Result<String> {
    setup::install_packages(&["lftp", "openssh-client"])?;
    let script = format!(
        "set cmd:fail-exit yes; set net:max-retries 1; set net:timeout 20\n\
         set sftp:connect-program \"ssh -a -x -F {}\"\n\
         open -u {USER}, sftp://127.0.0.1:{}\n{commands}\n",
        remote.daemon.config().display(),
        remote.daemon.port()
    );
    setup::run_captured(program("lftp", remote.client_dir()).args(["-c", &script]))
}

#[test]
fn lftp_mirrors_and_resumes() -> Result<()> {
    const HAVE: usize = 1_234_567;
    Remote::for_each_daemon(|remote| {
        let (client_dir, server_dir) = (remote.client_dir(), remote.server_dir());
        sample(&client_dir.join("tree"))?;
        create_file(&client_dir.join("up"), 30, 4_000_001)?;
        create_file(&server_dir.join("down"), 31, 4_000_001)?;
        remote.create_remote("up", &fs::read(client_dir.join("up"))?[..HAVE])?;
        fs::write(
            client_dir.join("down"),
            &fs::read(server_dir.join("down"))?[..HAVE],
        )?;
        // Overwrites some bytes in the part that the target already has. A resumed transfer must not touch them.
        let mark_start = |path: &Path| -> Result<()> {
            use std::os::unix::fs::FileExt;
            Ok(fs::File::options()
                .write(true)
                .open(path)?
                .write_all_at(b"mark", 100)?)
        };
        mark_start(&server_dir.join("up"))?;
        mark_start(&client_dir.join("down"))?;
        lftp(
            remote,
            "mirror -R tree\nmirror tree back\nput -c up\nget -c down\nmkdir -p x/y/z\nrmdir x/y/z\n\
             mv tree moved\nchmod 0604 moved/top\nln -s moved/top soft\nput tree/top -o again\ncls -l\nrm -r x",
        )?;
        mark_start(&client_dir.join("up"))?;
        mark_start(&server_dir.join("down"))?;
        for name in ["up", "down"] {
            ensure_same(&client_dir.join(name), &server_dir.join(name)).context(name)?;
        }
        ensure_same_trees(
            &client_dir.join("tree"),
            &client_dir.join("back"),
            Compare::Contents,
        )?;
        ensure!(fs::metadata(server_dir.join("moved/top"))?.mode() & 0o7777 == 0o604);
        fs::set_permissions(server_dir.join("moved/top"), Permissions::from_mode(0o640))?;
        ensure_same_trees(
            &client_dir.join("tree"),
            &server_dir.join("moved"),
            Compare::ContentsAndAttributes,
        )?;
        ensure!(fs::read_link(server_dir.join("soft"))? == Path::new("moved/top"));
        ensure!(!server_dir.join("x").exists() && !server_dir.join("tree").exists());
        Ok(())
    })
}
