//! Writes of the Linux client. The host's files, and the files that a new mount shows, must be what the client wrote.

use std::fs;
use std::os::unix::fs::{FileExt as _, MetadataExt as _};
use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use cases::random::seed;
use xtask::build::Arch;
use xtask::clients::fsx::{Fsx, MOSTLY_DATA};
use xtask::machines::mounts;
use xtask::machines::server::ServerOptions;
use xtask::setup;
use xtask::testing::is_full_run;

use crate::NOBODY;
use crate::fixture::{Fixture, HOST, Storage};
use crate::tree::{self, FAR, FAR_LEN};
use crate::world::World;

pub fn changes_of_every_kind_reach_the_host(world: &mut World) -> Result<()> {
    for handles in ["kernel", "path"] {
        changes_of_every_kind(&Fixture::new(world, handles, Storage::Disk)?, world)
            .context(handles)?;
    }
    Ok(())
}

pub fn i686_server_is_written(world: &mut World) -> Result<()> {
    let options = ServerOptions {
        arch: Arch::I686,
        ..ServerOptions::default()
    };
    let fixture = Fixture::with_options(world, Storage::Disk, options)?;
    changes_of_every_kind(&fixture, world)?;
    far_writes_reach_the_disk(&fixture, world)
}

/// Every kind of change by name that a shell can make.
const CHANGES: &str = "
    umask 022
    echo created >created; echo appended >>created
    seq 1 100000 >shorter; truncate -s 1000 shorter
    echo short >longer; truncate -s 100000 longer
    echo old >replaced; echo new >replacing; mv replacing replaced
    echo linked >linked; ln linked linked-too; ln linked removed; rm removed
    ln -s created symlink; ln -s /nowhere dangling
    echo moded >moded; chmod 4711 moded
    echo owned >owned; chown 1001:2001 owned; chown -h 1002:2002 symlink
    echo timed >timed; touch -d '2001-02-03 04:05:06' timed
    exec 4<>open; echo before >&4; rm open; echo after >&4; test ! -e open; exec 4>&-
    mkdir -p directory/deep/deeper; echo inside >directory/deep/file; mv directory/deep directory/moved
    mkdir gone; rmdir gone
    mkfifo fifo; mknod device c 1 3
    mkdir sticky; chmod 1777 sticky
    dd if=/dev/zero of=middle bs=1k count=64 2>/dev/null
    printf middle | dd of=middle bs=1 seek=30000 conv=notrunc 2>/dev/null
";

/// Path, kind, mode, links, owner, group, size in bytes, target. Links and size of a directory are omitted, as they depend on the
/// file system.
const EXPECTED: &str = "
    created f 644 1 0:0 17
    dangling l 777 1 0:0 8 /nowhere
    device c 644 1 0:0 0
    directory d 755 0:0
    directory/moved d 755 0:0
    directory/moved/deeper d 755 0:0
    directory/moved/file f 644 1 0:0 7
    fifo p 644 1 0:0 0
    linked f 644 2 0:0 7
    linked-too f 644 2 0:0 7
    longer f 644 1 0:0 100000
    middle f 644 1 0:0 65536
    moded f 4711 1 0:0 6
    owned f 644 1 1001:2001 6
    replaced f 644 1 0:0 4
    shorter f 644 1 0:0 1000
    sticky d 1777 0:0
    symlink l 777 1 1002:2002 7 created
    timed f 644 1 0:0 6
";

fn changes_of_every_kind(fixture: &Fixture, world: &mut World) -> Result<()> {
    fixture.run_ok(world, CHANGES)?;
    let find = "find . -mindepth 1 -type d -printf '%P %y %m %U:%G\\n' -o -printf '%P %y %m %n %U:%G %s %l\\n' | sort";
    let on_host = setup::run_captured(
        Command::new("sh")
            .args(["-c", find])
            .env("LC_ALL", "C")
            .current_dir(fixture.export()),
    )?;
    let seen = fixture.run_ok(world, &format!("LC_ALL=C {find}"))?;
    let trimmed = |text: &str| -> Vec<String> {
        let lines = text.lines().map(|line| line.trim().to_owned());
        lines.filter(|line| !line.is_empty()).collect()
    };
    for (origin, found) in [("on the host", &on_host), ("in the guest", &seen)] {
        ensure!(
            trimmed(found) == trimmed(EXPECTED),
            "{origin}: expected{EXPECTED}\nbut found\n{found}"
        );
    }

    let read = |name: &str| {
        fs::read(fixture.export().join(name)).with_context(|| format!("cannot read {name}"))
    };
    let mut middle = vec![0; 65_536];
    middle[30_000..30_006].copy_from_slice(b"middle");
    let mut longer = b"short\n".to_vec();
    longer.resize(100_000, 0);
    let numbers: String = (1..1000).map(|number| format!("{number}\n")).collect();
    for (name, content) in [
        ("created", b"created\nappended\n".as_slice()),
        ("replaced", b"new\n"),
        ("linked-too", b"linked\n"),
        ("directory/moved/file", b"inside\n"),
        ("shorter", &numbers.as_bytes()[..1000]),
        ("longer", &longer),
        ("middle", &middle),
    ] {
        ensure!(read(name)? == content, "{name} has the wrong content");
    }
    let timed = fs::metadata(fixture.export().join("timed"))?;
    ensure!(
        timed.mtime() == 981_173_106,
        "the mtime of timed is {}",
        timed.mtime()
    );
    let device = fs::metadata(fixture.export().join("device"))?;
    ensure!(
        device.rdev() == 0x103,
        "the device number is {:x}",
        device.rdev()
    );
    Ok(())
}

pub fn server_of_ordinary_user_is_written(world: &mut World) -> Result<()> {
    let options = ServerOptions {
        user: Some(NOBODY),
        ..ServerOptions::default()
    };
    let fixture = Fixture::with_options(world, Storage::Disk, options)?;
    // The server runs as this user, so every file belongs to this user, and chown is refused.
    let output = fixture.run_ok(
        world,
        "echo mine >file; mkdir directory; mv file directory; ln directory/file link; cat link
        chown 1001 link 2>/dev/null || echo refused",
    )?;
    ensure!(output == "mine\nrefused\n", "{output}");
    let metadata = fs::metadata(fixture.export().join("directory/file"))?;
    ensure!(
        (metadata.uid(), metadata.gid(), metadata.nlink()) == (NOBODY, NOBODY, 2),
        "the file belongs to {}:{} and has {} links",
        metadata.uid(),
        metadata.gid(),
        metadata.nlink()
    );
    Ok(())
}

pub fn sparse_writes_past_four_gib(world: &mut World) -> Result<()> {
    far_writes_reach_the_disk(&Fixture::new(world, "kernel", Storage::Disk)?, world)
}

fn far_writes_reach_the_disk(fixture: &Fixture, world: &mut World) -> Result<()> {
    let content = tree::content(3, FAR_LEN);
    fs::write(fixture.export().join("content"), &content)?;
    // At an unaligned offset past 4 GiB, across the 4 GiB boundary, and at the end of the file.
    let offsets = [
        FAR,
        (4 << 30) - FAR_LEN as u64 / 2 - FAR_LEN as u64,
        tree::SPARSE_LEN,
    ];
    for offset in offsets {
        fixture.run_ok(
            world,
            &format!("dd if=content of=sparse bs=65536 seek={offset} oflag=seek_bytes conv=notrunc 2>/dev/null"),
        )?;
    }
    let file = fs::File::open(fixture.export().join("sparse"))?;
    let metadata = file.metadata()?;
    ensure!(
        metadata.len() == tree::SPARSE_LEN + FAR_LEN as u64 && metadata.blocks() * 512 < 4 << 20,
        "sparse has {} bytes and uses {} bytes of disk",
        metadata.len(),
        metadata.blocks() * 512
    );
    for offset in offsets {
        let mut seen = vec![0; FAR_LEN];
        file.read_exact_at(&mut seen, offset)?;
        ensure!(seen == content, "wrong content at {offset}");
    }
    let sum = fixture.run_ok(
        world,
        &format!(
            "tail -c {FAR_LEN} sparse | sha256sum; head -c 65536 sparse | tr -d '\\0' | wc -c"
        ),
    )?;
    ensure!(
        sum == format!("{}  -\n0\n", tree::hex(&content)),
        "a new mount reads\n{sum}"
    );
    Ok(())
}

pub fn thirty_thousand_operations_of_fsx(world: &mut World) -> Result<()> {
    let rounds = if is_full_run() { 35 } else { 1 };
    for (handles, version) in [("kernel", "3"), ("path", "3"), ("kernel", "4.1")] {
        let make = match version {
            "3" => Fixture::with_role,
            _ => Fixture::over_4_1,
        };
        let fixture = make(world, "nfs", handles, "1", Storage::Memory)?;
        operations_of_fsx(&fixture, world, seed(), rounds, 10_000)
            .with_context(|| format!("{handles} handles, version {version}"))?;
    }
    Ok(())
}

/// Runs fsx: `rounds` times with the client's cache, then with synchronous writes.
fn operations_of_fsx(
    fixture: &Fixture,
    world: &mut World,
    seed: u64,
    rounds: usize,
    operations: u64,
) -> Result<()> {
    // fsx's size checks would make the client flush all its data, so that nothing would remain in its cache.
    let unseen = format!("nosizechecks = true\n{MOSTLY_DATA}");
    let mount = fixture.mount(HOST, "/mnt/1");
    // A script may take at most three minutes, also on a busy host.
    let cached = [(&mount, operations, unseen.as_str())].repeat(rounds);
    // With `sync`, each write is sent as a WRITE with exactly its offset and length.
    let sync = mount.replace("-o rw,", "-o rw,sync,");
    let synced = [(&sync, operations / 25, MOSTLY_DATA)];
    let runs = cached.into_iter().chain(synced);
    for (seed, (mount, operations, config)) in (seed..).zip(runs) {
        let fsx = Fsx {
            operations,
            seed,
            config,
        };
        world.guest.run_ok(&format!(
            "set -e; {mount}; trap 'umount /mnt/1' EXIT\n{}",
            fsx.command("fsx", "/mnt/1/file")
        ))?;
        fsx.check(&fs::read(fixture.export().join("file"))?)?;
    }
    Ok(())
}

/// Files that the changes replace or append to, and the file of fsx.
const LOWER: &[&str] = &[
    "created",
    "shorter",
    "longer",
    "replaced",
    "replacing",
    "linked",
    "moded",
    "owned",
    "timed",
    "open",
    "middle",
    "file",
];

/// A live system's overlay: the lower layer is a squashfs, the upper one a tmpfs.
pub fn live_system_is_written(world: &mut World) -> Result<()> {
    setup::install_packages(&["squashfs-tools"])?;
    overlay_is_written(world, |top| {
        let (lower, image) = (top.join("lower"), top.join("image"));
        let mut pack = Command::new("mksquashfs");
        setup::run_captured(pack.args([&lower, &image]).arg("-quiet"))?;
        mounts::mount_file(&image, &lower)?;
        fs::create_dir(top.join("upper"))?;
        mounts::mount("tmpfs", "mode=755", &top.join("upper"))
    })
}

/// A container's files: both layers are on one disk.
pub fn container_is_written(world: &mut World) -> Result<()> {
    overlay_is_written(world, |_| Ok(()))
}

fn overlay_is_written(
    world: &mut World,
    separate: impl FnOnce(&Path) -> Result<()> + Send,
) -> Result<()> {
    let least = Duration::from_secs(if is_full_run() { 60 } else { 0 });
    mounts::on_image(&["mkfs.ext4", "-q"], 64, |top| {
        for name in LOWER {
            tree::create(&top.join("lower/export").join(name), b"of the lower layer")?;
        }
        separate(top)?;
        mounts::mount_overlay(top)?;
        let options = ServerOptions {
            arguments: ["--handles", "path"].map(Into::into).to_vec(),
            ..ServerOptions::default()
        };
        let fixture = Fixture::existing(world, &top.join("mounted"), options)?;
        let (start, mut seed) = (Instant::now(), seed());
        loop {
            operations_of_fsx(&fixture, world, seed, 1, 2500)?;
            if start.elapsed() >= least {
                break;
            }
            seed += 2;
        }
        fs::remove_file(fixture.export().join("file"))?;
        changes_of_every_kind(&fixture, world)
    })
}
