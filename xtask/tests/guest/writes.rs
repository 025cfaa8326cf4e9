//! The Linux client writes: what the host finds on its disk afterwards is what the client did, and so is what a client
//! finds that mounts anew.

use std::fs;
use std::os::unix::fs::{FileExt as _, MetadataExt as _};
use std::process::Command;

use anyhow::{Context as _, Result, ensure};
use cases::random::seed;
use xtask::build::Arch;
use xtask::clients::fsx::{Fsx, MOSTLY_DATA};
use xtask::machines::server::ServerOptions;
use xtask::setup;
use xtask::testing::full;

use crate::NOBODY;
use crate::ground::{Ground, HOST, Place};
use crate::tree::{self, FAR, FAR_LEN, small_count};
use crate::world::{SECOND_HOST, World};

pub fn changes_of_every_kind_with_kernel_handles(world: &mut World) -> Result<()> {
    changes_of_every_kind(&Ground::new(world, "kernel", Place::Disk)?, world)
}

pub fn changes_of_every_kind_with_path_handles(world: &mut World) -> Result<()> {
    changes_of_every_kind(&Ground::new(world, "path", Place::Disk)?, world)
}

pub fn the_i686_file_writes(world: &mut World) -> Result<()> {
    let options = ServerOptions {
        arch: Arch::I686,
        ..ServerOptions::default()
    };
    let ground = Ground::with(world, Place::Disk, options)?;
    changes_of_every_kind(&ground, world)?;
    far_writes_reach_the_disk(&ground, world)
}

/// Everything by name that a shell can do, one after the other.
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

/// Path, kind, mode, links, owner, group, length in bytes and target. How many links a directory has, and how long it is,
/// is the file system's own affair.
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

fn changes_of_every_kind(ground: &Ground, world: &mut World) -> Result<()> {
    ground.sh(world, CHANGES)?;
    let find = "find . -mindepth 1 -type d -printf '%P %y %m %U:%G\\n' -o -printf '%P %y %m %n %U:%G %s %l\\n' | sort";
    let on_host = setup::quietly(
        Command::new("sh")
            .args(["-c", find])
            .env("LC_ALL", "C")
            .current_dir(ground.export()),
    )?;
    let seen = ground.sh(world, &format!("LC_ALL=C {find}"))?;
    let trimmed = |text: &str| -> Vec<String> {
        let lines = text.lines().map(|line| line.trim().to_owned());
        lines.filter(|line| !line.is_empty()).collect()
    };
    for (place, found) in [("on the host", &on_host), ("in the guest", &seen)] {
        ensure!(
            trimmed(found) == trimmed(EXPECTED),
            "{place} there should be{EXPECTED}\nand there is\n{found}"
        );
    }

    let read = |name: &str| {
        fs::read(ground.export().join(name)).with_context(|| format!("cannot read {name}"))
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
        ensure!(read(name)? == content, "{name} has another content");
    }
    let timed = fs::metadata(ground.export().join("timed"))?;
    ensure!(
        timed.mtime() == 981_173_106,
        "timed is of {}",
        timed.mtime()
    );
    let device = fs::metadata(ground.export().join("device"))?;
    ensure!(device.rdev() == 0x103, "the device is {:x}", device.rdev());
    Ok(())
}

pub fn an_ordinary_user_writes(world: &mut World) -> Result<()> {
    let options = ServerOptions {
        user: Some(NOBODY),
        ..ServerOptions::default()
    };
    let ground = Ground::with(world, Place::Disk, options)?;
    // Whoever asks, it is this user who does it, and may not give anything away.
    let said = ground.sh(
        world,
        "echo mine >file; mkdir directory; mv file directory; ln directory/file link; cat link
        chown 1001 link 2>/dev/null || echo refused",
    )?;
    ensure!(said == "mine\nrefused\n", "{said}");
    let of = fs::metadata(ground.export().join("directory/file"))?;
    ensure!(
        (of.uid(), of.gid(), of.nlink()) == (NOBODY, NOBODY, 2),
        "the file belongs to {}:{} and has {} links",
        of.uid(),
        of.gid(),
        of.nlink()
    );
    Ok(())
}

pub fn sparse_writes_past_four_gib(world: &mut World) -> Result<()> {
    far_writes_reach_the_disk(&Ground::new(world, "kernel", Place::Disk)?, world)
}

fn far_writes_reach_the_disk(ground: &Ground, world: &mut World) -> Result<()> {
    let content = tree::content(3, FAR_LEN);
    fs::write(ground.export().join("content"), &content)?;
    // At a place in a page past 4 GiB, across that border, and at the very end.
    let places = [
        FAR,
        (4 << 30) - FAR_LEN as u64 / 2 - FAR_LEN as u64,
        tree::SPARSE_LEN,
    ];
    for at in places {
        ground.sh(
            world,
            &format!("dd if=content of=sparse bs=65536 seek={at} oflag=seek_bytes conv=notrunc 2>/dev/null"),
        )?;
    }
    let file = fs::File::open(ground.export().join("sparse"))?;
    let of = file.metadata()?;
    ensure!(
        of.len() == tree::SPARSE_LEN + FAR_LEN as u64 && of.blocks() * 512 < 4 << 20,
        "sparse has {} bytes and takes {}",
        of.len(),
        of.blocks() * 512
    );
    for at in places {
        let mut seen = vec![0; FAR_LEN];
        file.read_exact_at(&mut seen, at)?;
        ensure!(seen == content, "at {at} is something else");
    }
    let sum = ground.sh(
        world,
        &format!(
            "tail -c {FAR_LEN} sparse | sha256sum; head -c 65536 sparse | tr -d '\\0' | wc -c"
        ),
    )?;
    ensure!(
        sum == format!("{}  -\n0\n", tree::hex(&content)),
        "a new client reads\n{sum}"
    );
    Ok(())
}

pub fn entries_go_while_thousands_are_read(world: &mut World) -> Result<()> {
    let ground = Ground::new(world, "kernel", Place::Memory)?;
    let count = if full() { 10_000 } else { 4_000 };
    let said = ground.sh(world, &format!("exercise crowd many --count {count}"))?;
    println!("{said}");
    ensure!(
        fs::read_dir(ground.export())?.next().is_none(),
        "something is left on the host"
    );
    Ok(())
}

pub fn of_two_clients_one_creates(world: &mut World) -> Result<()> {
    let options = ServerOptions {
        address: std::net::Ipv4Addr::UNSPECIFIED,
        ..ServerOptions::default()
    };
    let ground = Ground::with(world, Place::Memory, options)?;
    // Another address of the server, and no memory in common: another client with another connection.
    let said = world.guest.sh(&format!(
        "set -e; {}; {}; trap 'umount /mnt/1 /mnt/2' EXIT
        mkdir /mnt/1/race; exercise race /mnt/1/race /mnt/2/race",
        ground.mount(HOST, "/mnt/1"),
        ground.mount(SECOND_HOST, "/mnt/2"),
    ))?;
    println!("{said}");
    Ok(())
}

pub fn an_archive_of_a_thousand_files_is_unpacked(world: &mut World) -> Result<()> {
    let ground = Ground::new(world, "kernel", Place::Disk)?;
    let archive = ground.export().join("archive");
    let words = [
        "-c",
        "-f",
        &archive.display().to_string(),
        "SHA256SUMS",
        "small",
        "names",
        "attributes",
    ];
    world.on_host("tar", &words)?;
    ground.sh(world, "mkdir unpacked; tar -x -f archive -C unpacked")?;
    let seen = ground.sh(
        world,
        "cd unpacked; find small -type f | wc -l; sha256sum -c SHA256SUMS | grep -c ': OK$'",
    )?;
    let all = small_count();
    ensure!(
        seen == format!("{all}\n{all}\n"),
        "of {all} files there are, and are right:\n{seen}"
    );
    // On the host, tar finds nothing that differs in content, mode, owner or time.
    setup::quietly(
        Command::new("tar")
            .args(["--compare", "-f", "../archive"])
            .current_dir(ground.export().join("unpacked")),
    )?;
    Ok(())
}

pub fn fifty_thousand_operations_of_fsx(world: &mut World) -> Result<()> {
    let mut seed = seed();
    let full = full();
    // To look at the size makes the client send all that it has: then nothing would ever stay in its memory.
    let unseen = format!("nosizechecks = true\n{MOSTLY_DATA}");
    for handles in ["kernel", "path"] {
        let ground = Ground::new(world, handles, Place::Memory)?;
        let mount = ground.mount(HOST, "/mnt/1");
        // A script may take three minutes at most, also on a busy machine.
        let cached = [(&mount, 25_000, unseen.as_str())].repeat(if full { 14 } else { 1 });
        // Each write is a request of its own, at just that offset and of just that length.
        let sync = mount.replace("-o rw,", "-o rw,sync,");
        for (mount, operations, config) in cached.into_iter().chain([(&sync, 1000, MOSTLY_DATA)]) {
            let fsx = Fsx {
                operations,
                seed,
                config,
            };
            seed += 1;
            world.guest.sh(&format!(
                "set -e; {mount}; trap 'umount /mnt/1' EXIT\n{}",
                fsx.command("fsx", "/mnt/1/file")
            ))?;
            fsx.check(&fs::read(ground.export().join("file"))?)?;
        }
    }
    Ok(())
}
