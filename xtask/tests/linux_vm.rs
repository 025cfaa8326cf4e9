//! The built file as /init of a Linux machine: Debian's kernel in QEMU, against real NFS clients.

use anyhow::{Context as _, Result, ensure};
use std::fs;
use std::net::SocketAddr;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;
use xtask::build::Arch;
use xtask::clients::nfs::{Client, How, Set, stable_how};
use xtask::commands::image::modules;
use xtask::machines::ext4::{self, tool};
use xtask::machines::iso::{ROCK_RIDGE, image, sample};
use xtask::machines::qemu::bare::{Bare, Options};
use xtask::machines::qemu::{self, initramfs, linux};
use xtask::machines::server;
use xtask::setup::{self, run_captured};

/// Console text that reports the DHCP lease. From then on the machine can be reached.
const LEASED: &str = "address 10.0.2.15/24";

/// QEMU's arguments for disks, which the kernel finds in this order.
fn disks(paths: &[&Path], options: &str) -> Vec<String> {
    let mut all = Vec::new();
    for (number, path) in paths.iter().enumerate() {
        let path = path.display();
        all.push("-drive".to_owned());
        all.push(format!(
            "if=none,id=disk{number},format=raw,{options}file={path}"
        ));
        all.push("-device".to_owned());
        all.push(format!("virtio-blk-pci,drive=disk{number}"));
    }
    all
}

fn boot(words: &str, archive: &[u8], more: &[String]) -> Result<Bare> {
    let more: Vec<&str> = more.iter().map(String::as_str).collect();
    let mut machine = linux::boot(words, archive, &more)?;
    machine.wait_for_line(LEASED)?;
    machine.wait_for_line("for NFS and MOUNT")?;
    Ok(machine)
}

fn server(machine: &Bare) -> SocketAddr {
    ([127, 0, 0, 1], machine.port).into()
}

/// Compares sample files in `tree` with the machine's copies in `export`, read by nfs-cat.
fn compare(machine: &Bare, export: &str, tree: &Path) -> Result<()> {
    setup::install_packages(&["libnfs-utils"])?;
    for file in ["hello.txt", "empty", "large"] {
        let url = machine.url(&format!("{export}/{file}"));
        let cat = Command::new("nfs-cat").arg(url).output()?;
        let stderr = String::from_utf8_lossy(&cat.stderr);
        ensure!(
            cat.status.success(),
            "cannot read {file}: {stderr}; console: {}",
            machine.console()
        );
        let same = cat.stdout == fs::read(tree.join(file))?;
        ensure!(same, "{export}/{file} differs from the sample");
    }
    Ok(())
}

/// Checks that the file system on a disk is clean, without repairing it.
fn expect_clean(disk: &Path) -> Result<()> {
    let header = run_captured(tool("dumpe2fs").arg("-h").arg(disk))?;
    let state = header
        .lines()
        .find(|line| line.starts_with("Filesystem state:"));
    ensure!(
        state.is_some_and(|line| line.ends_with(" clean")),
        "{header}"
    );
    ensure!(!header.contains("needs_recovery"), "{header}");
    run_captured(tool("e2fsck").arg("-fn").arg(disk))?;
    Ok(())
}

#[test]
fn initramfs_contains_only_the_built_file() -> Result<()> {
    let file = fs::read(server::binary(Arch::X86_64)?)?;
    let archive = initramfs::of_own(&file)?;
    ensure!(
        archive == initramfs::of_own(&file)?,
        "the same file gave another archive"
    );
    setup::install_packages(&["busybox-static"])?;
    let directory = tempfile::tempdir()?;
    let path = directory.path().join("initramfs.cpio");
    fs::write(&path, &archive)?;
    let unpack = format!(
        "busybox cpio -idv <'{}' 2>&1 | grep -v blocks",
        path.display()
    );
    let mut shell = Command::new("sh");
    let names = run_captured(shell.current_dir(&directory).args(["-c", &unpack]))?;
    ensure!(names == "init\n", "{names}");
    run_captured(
        Command::new("cmp")
            .arg(directory.path().join("init"))
            .arg(server::binary(Arch::X86_64)?),
    )?;
    Ok(())
}

/// Makes a directory like /lib/modules/VERSION of an installed kernel, in `root`: that of a downloaded `kernel`, with the lists that
/// depmod makes.
fn installed_modules(kernel: &Path, root: &Path) -> Result<PathBuf> {
    setup::install_packages(&["kmod"])?;
    let name = kernel.file_name().unwrap_or_default().to_string_lossy();
    let version = name.strip_prefix("vmlinuz-").context("no version")?;
    let place = Path::new("lib/modules").join(version);
    let downloaded = kernel.ancestors().nth(2).context("no directory")?;
    let directory = root.join(&place);
    fs::create_dir_all(&directory)?;
    for entry in fs::read_dir(downloaded.join(&place))? {
        let entry = entry?;
        symlink(entry.path(), directory.join(entry.file_name()))?;
    }
    run_captured(tool("depmod").arg("-b").arg(root).arg(version))?;
    Ok(directory)
}

#[test]
fn kernel_without_virtio_needs_modules() -> Result<()> {
    let own = initramfs::of_own(&fs::read(server::binary(Arch::X86_64)?)?)?;
    let (kernel, _) = qemu::system("linux")?;
    let tree = sample(20, 50)?;
    run_captured(Command::new("chmod").args(["-R", "a+rX"]).arg(tree.path()))?;
    let ext4 = ext4::image(tree.path())?;
    let more = disks(&[ext4.path()], "");
    let more: Vec<&str> = more.iter().map(String::as_str).collect();
    let boot = |words: &str, archive: &[u8]| {
        Bare::start(Options {
            boot_arguments: words,
            file: Some(&kernel),
            linux: Some(archive),
            more: &more,
            ..Options::default()
        })
    };
    let root = tempfile::tempdir()?;
    let files = modules::in_load_order(&installed_modules(&kernel, root.path())?)?;
    let with = |modules: &[PathBuf]| {
        let mut archive = own.clone();
        initramfs::append(&mut archive, &initramfs::of_modules(modules)?);
        anyhow::Ok(archive)
    };

    let no_card = "no network interface: the kernel needs virtio_net, built in or in the initramfs";
    let mut machine = boot("export=/vda", &own)?;
    machine.wait_for_line(no_card)?;
    machine.wait_for_line("no disk /vda: the kernel needs virtio_blk, built in or in the")?;
    drop(machine);

    let module = files.iter().find(|file| file.ends_with("virtio_net.ko"));
    let module = module.context("no virtio_net")?;
    let compressed = root.path().join("virtio_net.ko.xz");
    fs::copy(module, &compressed)?;
    let mut machine = boot("", &with(&[compressed, module.clone()])?)?;
    for line in [
        "cannot load the kernel module virtio_net.ko.xz: it is compressed: unpack it",
        "cannot load the kernel module virtio_net.ko: its file, or a module that it needs, is missing",
        no_card,
        "no disk: the kernel needs virtio_blk, built in or in the initramfs",
    ] {
        machine.wait_for_line(line)?;
    }
    ensure!(machine.wait_for_end()?.success());

    let mut machine = boot("", &with(&files)?)?;
    machine.wait_for_line(LEASED)?;
    machine.wait_for_line("exporting /vda: read-only")?;
    compare(&machine, "/vda", tree.path())?;
    let console = machine.console();
    ensure!(!console.contains("cannot load"), "{console}");
    Ok(())
}

#[test]
fn all_disks_are_exported_read_only() -> Result<()> {
    let tree = sample(20, 50)?;
    run_captured(Command::new("chmod").args(["-R", "a+rX"]).arg(tree.path()))?;
    let (_directory, iso) = image(ROCK_RIDGE[0], tree.path())?;
    let ext4 = ext4::image(tree.path())?;
    let before = fs::read(ext4.path())?;
    let more = disks(&[ext4.path(), &iso], "");
    let mut machine = boot("name=box what=ever", &[], &more)?;
    for line in [
        "ignored: unknown boot argument what=ever",
        "found /vda: a disk with a file system",
        // The kernel has no ISO 9660 module, so stowaway reads this disk itself.
        "found /vdb: a disk with an ISO 9660 image",
        "exporting /vda: read-only",
        "exporting /vdb: read-only",
        "announced box.local",
    ] {
        machine.wait_for_line(line)?;
    }
    // The boot argument `quiet` is for the kernel, so stowaway must not report it as unknown.
    let console = machine.console();
    ensure!(!console.contains("boot argument quiet"), "{console}");
    for export in ["/vda", "/vdb"] {
        compare(&machine, export, tree.path())?;
    }
    let mut client = Client::connect(server(&machine))?;
    let root = client.mount("/vda")?;
    let how = How::Unchecked(Set::default());
    let refused = client.create(&root, "new", how).unwrap_err();
    ensure!(format!("{refused:#}").contains("ROFS"), "{refused:#}");
    machine.monitor("sendkey ctrl-alt-delete")?;
    machine.wait_for_line("stopping")?;
    ensure!(machine.wait_for_end()?.success());
    expect_clean(ext4.path())?;
    ensure!(fs::read(ext4.path())? == before, "the disk was written to");
    Ok(())
}

#[test]
fn committed_data_survives_power_loss() -> Result<()> {
    let tree = tempfile::tempdir()?;
    let disk = ext4::image(tree.path())?;
    let more = disks(&[disk.path()], "");
    let words = "export=/vda:rw,no_root_squash";
    let bytes: Vec<u8> = (0..300_000_u32)
        .map(|index| (index.wrapping_mul(index) >> 7) as u8)
        .collect();
    let machine = boot(words, &[], &more)?;
    let mut client = Client::connect(server(&machine))?;
    let root = client.mount("/vda")?;
    let how = || How::Unchecked(Set::default());
    let stable = client.create(&root, "stable", how())?;
    client.write_all(&stable, 0, stable_how::FILE_SYNC, &bytes, 32 << 10)?;
    let committed = client.create(&root, "committed", how())?;
    client.write_all(&committed, 0, stable_how::UNSTABLE, &bytes, 32 << 10)?;
    client.commit(&committed, 0, 0)?;
    // Drop kills QEMU, so data in the guest's memory is lost.
    drop(machine);

    // The second boot sets a static address, equal to the address that DHCP assigned before.
    let words = format!("{words} ip=10.0.2.15/24 gw=10.0.2.2");
    let mut machine = boot(&words, &[], &more)?;
    let mut client = Client::connect(server(&machine))?;
    // The handles from before the power loss must still be valid.
    for (name, file) in [("stable", stable), ("committed", committed)] {
        let mut got = Vec::new();
        loop {
            let (data, is_end) = client
                .read(&file, got.len() as u64, 1 << 16)
                .context(name)?;
            got.extend_from_slice(data);
            if is_end {
                break;
            }
        }
        ensure!(got == bytes, "{name} has lost data that was committed");
    }
    client.create(&root, "later", how())?;
    machine.monitor("sendkey ctrl-alt-delete")?;
    ensure!(machine.wait_for_end()?.success());
    expect_clean(disk.path())
}

#[test]
fn sftp_argument_enables_sftp() -> Result<()> {
    let tree = sample(20, 50)?;
    run_captured(Command::new("chmod").args(["-R", "a+rX"]).arg(tree.path()))?;
    let ext4 = ext4::image(tree.path())?;
    let more = disks(&[ext4.path()], "");
    let words = "export=/vda export=/ram:rw sftp=0.0.0.0:2222";
    let mut machine = boot(words, &[], &more)?;
    machine.wait_for_line("for SFTP without SSH: anyone who can connect has access")?;
    let directory = tempfile::tempdir()?;
    let large = tree.path().join("large");
    let seen = machine.sftp(
        directory.path(),
        &format!(
            "put {large} ram/l
            -put {large} vda/new
            -put {large} new
            -get /init 1
            -get ../init 2
            get vda/large 3
            get ram/l 4
            ls -1 /",
            large = large.display(),
        ),
    )?;
    let mut names: Vec<_> = seen.lines().map(str::trim_end).collect();
    names.sort_unstable();
    ensure!(names == ["/ram", "/vda"], "{seen}");
    for (name, is_there) in [("1", false), ("2", false), ("3", true), ("4", true)] {
        let got = fs::read(directory.path().join(name)).ok();
        let expected = is_there.then(|| fs::read(&large)).transpose()?;
        ensure!(got == expected, "{name}: {seen}");
    }
    compare(&machine, "/vda", tree.path())?;
    machine.monitor("sendkey ctrl-alt-delete")?;
    ensure!(machine.wait_for_end()?.success());
    expect_clean(ext4.path())
}

/// The script /init. It starts a background shell and then execs stowaway. When stowaway listens, the shell creates a thousand
/// orphans, waits until stowaway has reaped all of them, and sends SIGTERM to process 1.
const ORPHANS: &str = r#"
#!/bin/busybox sh
/bin/busybox mkdir -p /dev
/bin/busybox mknod /dev/null c 1 3
(
    until /bin/busybox grep -q :0801 /proc/net/tcp6; do /bin/busybox usleep 100000; done
    i=0
    while [ $i -lt 1000 ]; do
        (/bin/busybox true & )
        i=$((i + 1))
    done
    # Processes that have ended and were not reaped have no memory.
    until ! /bin/busybox grep -q '^State:.Z' /proc/[0-9]*/status; do /bin/busybox usleep 100000; done 2>/dev/null
    echo "made $i orphans"
    /bin/busybox kill -TERM 1
) >/dev/console 2>&1 &
exec /sbin/init "$@"
"#;

#[test]
fn thousand_orphans_are_reaped_and_sigterm_powers_off() -> Result<()> {
    setup::install_packages(&["busybox-static"])?;
    let files = [
        ("/bin/busybox".into(), "/bin/busybox".into()),
        (server::binary(Arch::X86_64)?, "/sbin/init".into()),
    ];
    let archive = initramfs::archive(&files, &[], ORPHANS)?;
    let tree = tempfile::tempdir()?;
    let disk = ext4::image(tree.path())?;
    let more = disks(&[disk.path()], "");
    let more: Vec<&str> = more.iter().map(String::as_str).collect();
    let mut machine = linux::boot("export=/vda:rw", &archive, &more)?;
    machine.wait_for_line("made 1000 orphans")?;
    machine.wait_for_line("stopping")?;
    ensure!(machine.wait_for_end()?.success());
    expect_clean(disk.path())
}

#[test]
fn power_button_unmounts_and_powers_off() -> Result<()> {
    let tree = tempfile::tempdir()?;
    let disk = ext4::image(tree.path())?;
    let more = disks(&[disk.path()], "");
    let mut machine = boot("export=/vda:rw", &[], &more)?;
    // Other keys do not stop the machine, whose keyboard is an input device, too.
    for key in ["a", "esc", "ret"] {
        machine.monitor(&format!("sendkey {key}"))?;
    }
    ensure!(!machine.ends_within(Duration::from_secs(2))?);
    ensure!(!machine.console().contains("stopping"));
    machine.monitor("system_powerdown")?;
    machine.wait_for_line("stopping")?;
    ensure!(machine.wait_for_end()?.success());
    expect_clean(disk.path())
}
