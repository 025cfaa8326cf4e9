//! POSIX over NFS: pjdfstest must pass. The output of `exercise posix`, which covers what pjdfstest leaves out, must be the same in
//! the guest as on the exported file system, except for [`DIFFERENCES`].

use std::collections::BTreeSet;

use anyhow::{Context as _, Result, ensure};

use crate::fixture::{Fixture, Storage, exercise};
use crate::world::World;

/// A result that differs between NFS and the local file system because of the protocol or the Linux client.
struct Difference {
    /// The line of `exercise posix`, without the user at its start.
    line: &'static str,
    local: &'static str,
    remote: &'static str,
    why: &'static str,
}

impl Difference {
    /// Returns true if it occurs over this version.
    fn is_of(&self, version: &str) -> bool {
        match self.why {
            ALONE => version == "3",
            MODE => version == "4.1",
            _ => true,
        }
    }
}

const fn difference(
    line: &'static str,
    local: &'static str,
    remote: &'static str,
    why: &'static str,
) -> Difference {
    Difference {
        line,
        local,
        remote,
        why,
    }
}

const HELD: &str =
    "NFSv3 has no open files: the client keeps a removed file as .nfs… until it is closed";
const IDLE: &str = "the client asks for nothing where nothing would change";
const ALONE: &str = "NFSv3 has no open files: each request is judged by itself, and only the owner may do what the mode forbids";
const MODE: &str = "over NFSv4 the client asks for the mode again after a write only if a group may execute the file";
const ENTRIES: &str = "NFSv3's ACCESS has no bit for writing to a directory, only for changing its entries, which takes searching too";

#[rustfmt::skip]
const DIFFERENCES: &[Difference] = &[
    difference("files.file_without_a_name: links", "0", "1", HELD),
    difference("files.file_without_a_name: remove its directory", "ok", "ENOTEMPTY", HELD),
    difference("files.file_without_a_name: closed as well", "[file=0]", "[directory/ file=0]", HELD),
    difference("owners.access_to_directories: 200 for owner", "-w-, list EACCES, find EACCES, make EACCES, remove EACCES", "---, list EACCES, find EACCES, make EACCES, remove EACCES", ENTRIES),
    difference("owners.access_to_directories: 020 for member", "-w-, list EACCES, find EACCES, make EACCES, remove EACCES", "---, list EACCES, find EACCES, make EACCES, remove EACCES", ENTRIES),
    difference("owners.access_to_directories: 002 for other", "-w-, list EACCES, find EACCES, make EACCES, remove EACCES", "---, list EACCES, find EACCES, make EACCES, remove EACCES", ENTRIES),
    difference("owners.changing_owners: other gives 2644 to nobody in particular", "EPERM, then file 2644 links 1 owner 1001:1001 0 bytes", "ok, then file 2644 links 1 owner 1001:1001 0 bytes", IDLE),
    difference("owners.special_bits: other writes 2767", "ok, then file 0767 links 1 owner 1001:1001 7 bytes", "ok, then file 2767 links 1 owner 1001:1001 7 bytes", MODE),
    difference("owners.special_bits: other appends 2767", "ok, then file 0767 links 1 owner 1001:1001 11 bytes", "ok, then file 2767 links 1 owner 1001:1001 11 bytes", MODE),
    difference("owners.descriptors_outlive_permission: member writes after chmod", "ok", "EACCES", ALONE),
    difference("owners.descriptors_outlive_permission: member reads", "tent", "EACCES", ALONE),
    difference("owners.descriptors_outlive_permission: member left", "CONtent", "content", ALONE),
    difference("owners.descriptors_outlive_permission: other writes after chmod", "ok", "EACCES", ALONE),
    difference("owners.descriptors_outlive_permission: other reads", "tent", "EACCES", ALONE),
    difference("owners.descriptors_outlive_permission: other left", "CONtent", "content", ALONE),
];

/// pjdfstest's configuration. pjdfstest looks up users by name, so the test writes /etc/passwd and /etc/group in the guest.
const PJDFSTEST: &str = r#"
[features]
posix_fallocate = {}
rename_ctime = {}
utime_now = {}
utimensat = {}

[settings]
# Longer than the grain of a file system's clock.
naptime = 0.02
expected_failures = [
    # The link count of an open file without a name is to be 0: the client keeps it as .nfs... until it is closed.
    "unlink::open_file_not_freed",
    # The second 2^32: NFSv3's nfstime3 ends one earlier, and the client takes that.
    "utimensat::y2038",
]

[dummy_auth]
entries = [["nobody", "nogroup"], ["tests", "tests"]]
"#;
/// pjdfstest's last line if only the expected failures occur. 13 of the skipped tests would remount the export read-only, which
/// `writing_is_refused_by_client_and_server` covers. Another skipped test needs LINK_MAX, which Linux does not report over NFS.
const PJDFSTEST_SAYS: &str =
    "Summary: 0 failed, 14 skipped, 382 passed, 2 expected failures, 398 total";
/// The test that succeeds over version 4.1, whose times have 64 bits.
const TIME_TEST: &str = "\"utimensat::y2038\",";
const PJDFSTEST_SAYS_4_1: &str =
    "Summary: 0 failed, 14 skipped, 383 passed, 1 expected failures, 398 total";

pub fn pjdfstest_passes(world: &mut World) -> Result<()> {
    ["kernel", "path"].into_iter().try_for_each(|handles| {
        let fixture = Fixture::new(world, handles, Storage::Memory)?;
        pjdfstest(world, &fixture).context(handles)
    })
}

pub fn pjdfstest_passes_over_4_1(world: &mut World) -> Result<()> {
    let fixture = Fixture::over_4_1(world, "nfs", "kernel", "1", Storage::Memory)?;
    pjdfstest(world, &fixture)
}

fn pjdfstest(world: &mut World, fixture: &Fixture) -> Result<()> {
    let (configuration, says) = match fixture.version() {
        "3" => (PJDFSTEST.to_owned(), PJDFSTEST_SAYS),
        _ => (PJDFSTEST.replace(TIME_TEST, ""), PJDFSTEST_SAYS_4_1),
    };
    let script = format!(
        "printf 'root:x:0:0::/:\nnobody:x:65534:65534::/:\ntests:x:1001:1001::/:\n' >/etc/passwd
        printf 'root:x:0:\nnogroup:x:65534:\ntests:x:1001:\n' >/etc/group
        cat >/run/pjdfstest.toml <<'END'
{configuration}
END
        pjdfstest -c /run/pjdfstest.toml -p /mnt/1 -s /tmp 2>&1 || :
        rm /etc/passwd /etc/group"
    );
    let output = fixture.run_ok(world, &script)?;
    ensure!(output.contains(says), "pjdfstest says:\n{output}");
    Ok(())
}

pub fn posix_results_match_local(world: &mut World) -> Result<()> {
    ["kernel", "path"].into_iter().try_for_each(|handles| {
        let fixture = Fixture::new(world, handles, Storage::Disk)?;
        compare(world, &fixture).context(handles)
    })
}

pub fn posix_results_match_local_over_4_1(world: &mut World) -> Result<()> {
    let fixture = Fixture::over_4_1(world, "nfs", "kernel", "1", Storage::Disk)?;
    compare(world, &fixture)
}

fn compare(world: &mut World, fixture: &Fixture) -> Result<()> {
    let local = exercise(&["posix", "."], &fixture.create_sibling("local")?)?;
    let remote = fixture.run_ok(world, "mkdir posix; exercise posix posix")?;
    ensure!(
        local.lines().count() > 600 && !local.contains(": stopped: "),
        "exercise posix failed on the local file system:\n{local}"
    );
    let (local, remote): (Vec<&str>, Vec<&str>) =
        (local.lines().collect(), remote.lines().collect());
    ensure!(
        local.len() == remote.len(),
        "{} lines and {}",
        local.len(),
        remote.len()
    );

    let mut unexplained = Vec::new();
    let mut seen = BTreeSet::new();
    for (local, remote) in local.into_iter().zip(remote).filter(|(l, r)| l != r) {
        match DIFFERENCES.iter().position(|difference| {
            difference.is_of(fixture.version()) && difference.explains(local, remote)
        }) {
            Some(index) => drop(seen.insert(index)),
            None => unexplained.push(format!("local:  {local}\nremote: {remote}")),
        }
    }
    ensure!(
        unexplained.is_empty(),
        "{} lines differ:\n{}",
        unexplained.len(),
        unexplained.join("\n")
    );
    // A difference that no longer occurs must be removed from the list.
    for (index, difference) in DIFFERENCES.iter().enumerate() {
        ensure!(
            seen.contains(&index) || !difference.is_of(fixture.version()),
            "'{}' does not differ, although {}",
            difference.line,
            difference.why
        );
    }
    Ok(())
}

impl Difference {
    fn explains(&self, local: &str, remote: &str) -> bool {
        let tail = |result| format!(" {}: {result}", self.line);
        local.ends_with(&tail(self.local)) && remote.ends_with(&tail(self.remote))
    }
}
