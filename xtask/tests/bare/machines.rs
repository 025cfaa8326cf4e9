//! Boots on the machines that people have: microVMs with and without legacy devices, q35 and pc with virtio-pci, from 6 MiB to
//! 5 GiB of memory, on several processors. Each row boots once and reads over NFS.

use super::{LEASED, compare};
use anyhow::{Context as _, Result, ensure};
use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;
use tempfile::TempDir;
use xtask::clients::nfs::{Client, How, Set, stable_how};
use xtask::machines::iso::{ROCK_RIDGE, image, sample};
use xtask::machines::qemu::bare::{Bare, Options};

/// A type of machine: QEMU's arguments, and the device of a disk.
#[derive(Clone, Copy)]
pub(super) struct Kind {
    pub(super) hardware: &'static str,
    pub(super) block: &'static str,
}

pub(super) const MICROVM: Kind = Kind {
    hardware: "-M microvm,x-option-roms=off,rtc=on -cpu max -m 64 -device virtio-net-device,netdev=net",
    block: "virtio-blk-device",
};
pub(super) const MICROVM_WITHOUT_ACPI: Kind = Kind {
    hardware: "-M microvm,acpi=off,x-option-roms=off,rtc=on -cpu max -m 64 -device virtio-net-device,netdev=net",
    ..MICROVM
};
/// qemu64 has no RDRAND, so the machine reads its entropy from virtio-rng.
pub(super) const Q35: Kind = Kind {
    hardware: "-M q35 -cpu qemu64 -m 64 -device virtio-net-pci,netdev=net,romfile= -device virtio-rng-pci",
    block: "virtio-blk-pci",
};
pub(super) const PC: Kind = Kind {
    hardware: "-M pc -cpu qemu64 -m 64 -device virtio-net-pci,netdev=net,romfile= -device virtio-rng-pci",
    ..Q35
};

/// Text of the first line that a healthy machine prints.
const FIRST: &str = "runs without an operating system";
/// Time in which a reboot loop restarts the machine at least once: q35 takes about a second.
const LOOP_TIME: Duration = Duration::from_secs(4);

pub(super) fn start(hardware: &str, boot_arguments: &str, more: &[String]) -> Result<Bare> {
    let more: Vec<_> = more.iter().map(String::as_str).collect();
    Bare::start(Options {
        boot_arguments,
        more: &more,
        hardware: Some(hardware),
        ..Options::default()
    })
}

/// Starts a machine that boots again after a reset.
fn start_rebooting(hardware: &str, boot_arguments: &str) -> Result<Bare> {
    Bare::start(Options {
        boot_arguments,
        hardware: Some(hardware),
        may_reboot: true,
        ..Options::default()
    })
}

/// As [`start`]; returns when the machine can be reached.
pub(super) fn boot(hardware: &str, boot_arguments: &str, more: &[String]) -> Result<Bare> {
    let mut machine = start(hardware, boot_arguments, more)?;
    machine.wait_for_line(LEASED)?;
    Ok(machine)
}

/// Adds a disk to QEMU's arguments. `options` are those of the device, with a leading comma.
pub(super) fn add_disk(to: &mut Vec<String>, block: &str, file: &Path, options: &str) {
    let id = format!("disk{}", to.len());
    let file = file.display();
    to.extend([
        "-drive".to_owned(),
        format!("if=none,id={id},format=raw,readonly=on,file={file}"),
        "-device".to_owned(),
        format!("{block},drive={id}{options}"),
    ]);
}

/// Makes an image that contains the file `name` with `text`. Its size is a multiple of 4,096 bytes.
pub(super) fn small_image(text: &str) -> Result<(TempDir, PathBuf)> {
    let tree = tempfile::tempdir()?;
    fs::write(tree.path().join("name"), text)?;
    let (directory, path) = image(ROCK_RIDGE[0], tree.path())?;
    let file = fs::File::options().write(true).open(&path)?;
    file.set_len(file.metadata()?.len().next_multiple_of(4096))?;
    Ok((directory, path))
}

pub(super) fn connect(machine: &Bare) -> Result<Client> {
    let connected = Client::connect(([127, 0, 0, 1], machine.port).into());
    connected.with_context(|| format!("console:\n{}", machine.console()))
}

/// Checks that `export` has the file `name` with `text`.
pub(super) fn expect_text(machine: &Bare, export: &str, text: &str) -> Result<()> {
    let read = || {
        let mut client = connect(machine)?;
        let root = client.mount(export)?;
        let file = client.lookup(&root, "name")?;
        let (bytes, _) = client.read(&file, 0, 4096)?;
        ensure!(
            bytes == text.as_bytes(),
            "{export} contains {bytes:?}, not {text}"
        );
        Ok(())
    };
    read().with_context(|| format!("{export}; console:\n{}", machine.console()))
}

/// Writes a file in /ram and reads it again.
pub(super) fn expect_writable_ram(machine: &Bare) -> Result<()> {
    let mut client = connect(machine)?;
    let root = client.mount("/ram")?;
    let file = client.create(&root, "file", How::Unchecked(Set::default()))?;
    client.write_all(&file, 0, stable_how::UNSTABLE, b"text", 4096)?;
    let (bytes, _) = client.read(&file, 0, 4096)?;
    ensure!(bytes == b"text", "/ram/file contains {bytes:?}");
    Ok(())
}

/// Boots each machine with a disk, and reads the disk.
fn each_serves_a_disk(rows: &[(&str, Kind)]) -> Result<()> {
    let (_directory, file) = small_image("disk")?;
    for (hardware, kind) in rows {
        let mut disk = Vec::new();
        add_disk(&mut disk, kind.block, &file, "");
        boot(hardware, "", &disk)
            .and_then(|machine| expect_text(&machine, "/vda", "disk"))
            .with_context(|| (*hardware).to_owned())?;
    }
    Ok(())
}

/// A microVM with these properties of the machine.
macro_rules! microvm {
    ($properties:literal) => {
        (
            concat!(
                "-M microvm,x-option-roms=off,",
                $properties,
                " -cpu max -m 64 -device virtio-net-device,netdev=net"
            ),
            MICROVM,
        )
    };
}

#[test]
fn machines_with_acpi_serve_a_disk() -> Result<()> {
    each_serves_a_disk(&[
        microvm!("acpi=on,pic=on,pit=on,rtc=on"),
        microvm!("acpi=on,pic=off,pit=off,rtc=off"),
        microvm!("acpi=on,pic=off,pit=on,rtc=on,ioapic2=off"),
        (
            "-M microvm,x-option-roms=off,rtc=on -cpu qemu64 -m 64 -device virtio-net-device,netdev=net",
            MICROVM,
        ),
        (
            "-M q35 -cpu max -m 64 -device virtio-net-pci,netdev=net,romfile=",
            Q35,
        ),
    ])
}

#[test]
fn microvm_without_acpi_serves_a_disk() -> Result<()> {
    each_serves_a_disk(&[
        microvm!("acpi=off,pic=on,pit=on,rtc=on"),
        microvm!("acpi=off,pic=off,pit=off,rtc=off"),
        microvm!("acpi=off,pic=off,pit=off,rtc=off,auto-kernel-cmdline=off"),
    ])
}

/// Boots a machine with a card, a disk and a random source on the PCI bus, and a module. `properties` are those of each device.
fn serves_over_pci(machine: &str, properties: &str) -> Result<()> {
    let tree = sample(1, 1)?;
    let (_directory, iso) = image(ROCK_RIDGE[0], tree.path())?;
    let hardware = format!(
        "-M {machine} -cpu qemu64 -m 64 -device virtio-net-pci,netdev=net,romfile={properties} \
         -device virtio-rng-pci{properties}"
    );
    let mut disk = Vec::new();
    add_disk(&mut disk, Q35.block, &iso, properties);
    let more: Vec<_> = disk.iter().map(String::as_str).collect();
    let mut machine = Bare::start(Options {
        boot_arguments: "export=/initrd export=/vda export=/ram:rw",
        module: Some(&iso),
        more: &more,
        hardware: Some(&hardware),
        ..Options::default()
    })?;
    machine.wait_for_line(LEASED)?;
    for export in ["/initrd", "/vda"] {
        compare(&machine, export, tree.path())?;
    }
    expect_writable_ram(&machine)
}

#[test]
fn q35_serves_over_virtio_pci() -> Result<()> {
    serves_over_pci("q35", "")
}

#[test]
fn q35_serves_over_modern_virtio_pci() -> Result<()> {
    serves_over_pci("q35", ",disable-legacy=on")
}

#[test]
fn pc_serves_over_virtio_pci() -> Result<()> {
    serves_over_pci("pc", "")
}

#[test]
fn pc_serves_over_modern_virtio_pci() -> Result<()> {
    serves_over_pci("pc", ",disable-legacy=on")
}

/// As libvirt's `<driver iommu='on'/>`: the devices offer VIRTIO_F_ACCESS_PLATFORM, and some do not work without it.
#[test]
fn devices_behind_an_iommu_are_used() -> Result<()> {
    serves_over_pci("q35", ",disable-legacy=on,iommu_platform=on")?;
    let (_directory, file) = small_image("disk")?;
    let hardware = "-M microvm,x-option-roms=off -cpu max -m 64 -global virtio-mmio.force-legacy=false \
                    -device virtio-net-device,netdev=net,iommu_platform=on";
    let mut disk = Vec::new();
    add_disk(&mut disk, MICROVM.block, &file, ",iommu_platform=on");
    let machine = boot(hardware, "", &disk)?;
    expect_text(&machine, "/vda", "disk")
}

/// The console names each unused network card and disk controller, with the reason.
#[test]
fn unused_devices_are_named() -> Result<()> {
    const CARD: &str = "network card that is not used: ";
    const DISK: &str = "disk controller that is not used: ";
    for (hardware, lines) in [
        (
            "-M q35 -device e1000,netdev=net",
            [CARD, "8086:100e: no driver for it; use virtio-net-pci"],
        ),
        (
            "-M q35 -device virtio-net-pci,vectors=0,netdev=net",
            [CARD, "1af4:1000: it lacks MSI-X"],
        ),
        (
            "-M q35 -device virtio-net-pci,disable-modern=on,netdev=net",
            [CARD, "1af4:1000: it lacks the registers of virtio 1"],
        ),
        (
            "-M q35 -device virtio-scsi-pci",
            [DISK, "1af4:1048: no driver for it; use virtio-blk-pci"],
        ),
        (
            "-M q35 -device nvme,serial=1",
            [DISK, "1b36:0010: no driver for it; use virtio-blk-pci"],
        ),
        (
            "-M microvm,pcie=on -device virtio-net-pci,netdev=net",
            [
                "devices on PCI are not used: ",
                "their registers are in memory only",
            ],
        ),
    ] {
        let mut machine = start(&format!("{hardware} -cpu qemu64 -m 64"), "export=/vda", &[])?;
        machine
            .wait_for_line(&lines.concat())
            .with_context(|| hardware.to_owned())?;
    }
    let directory = tempfile::tempdir()?;
    let module = directory.path().join("module.cpio.gz");
    fs::write(&module, b"\x1f\x8b\x08\0")?;
    let mut machine = Bare::boot("", Some(&module), &[])?;
    machine.wait_for_line("compressed: gzip: the boot module is not read; unpack it first")?;
    Ok(())
}

/// The memory in MiB that the first line of the console reports.
fn reported_mib(machine: &Bare) -> Result<u32> {
    let console = machine.console();
    let (_, rest) = console
        .split_once("an operating system, in ")
        .context(console.clone())?;
    let (mib, _) = rest.split_once(' ').context(console.clone())?;
    Ok(mib.parse()?)
}

#[test]
fn memory_from_six_mib_to_five_gib() -> Result<()> {
    let (_directory, file) = small_image("disk")?;
    for (kind, memory, mib_min) in [
        (MICROVM, "6M", 3),
        (MICROVM_WITHOUT_ACPI, "6M", 3),
        (MICROVM, "2G", 2000),
        (MICROVM, "5G", 5000),
        (Q35, "6M", 3),
        (PC, "6M", 3),
        (Q35, "16M", 10),
        (Q35, "5G", 5000),
        (PC, "5G", 5000),
    ] {
        let hardware = kind.hardware.replace("-m 64", &format!("-m {memory}"));
        let mut disk = Vec::new();
        add_disk(&mut disk, kind.block, &file, "");
        let row = || {
            let machine = boot(&hardware, "", &disk)?;
            expect_text(&machine, "/vda", "disk")?;
            // Memory that is not used is reported.
            let (mib, console) = (reported_mib(&machine)?, machine.console());
            ensure!(mib >= mib_min || console.contains("not used"), "{console}");
            Ok(())
        };
        row().with_context(|| hardware.clone())?;
    }
    Ok(())
}

#[test]
fn processor_without_long_mode_prints_a_line() -> Result<()> {
    for (kind, from) in [(MICROVM, "-cpu max"), (Q35, "-cpu qemu64")] {
        for to in ["-cpu qemu64,nx=off", "-cpu qemu32"] {
            let hardware = kind.hardware.replace(from, to);
            let row = || {
                let mut machine = start_rebooting(&hardware, "export=/ram")?;
                machine.wait_for_line("stowaway")?;
                machine.ends_within(LOOP_TIME)?;
                let console = machine.console();
                ensure!(console.lines().count() == 1, "{console}");
                Ok(())
            };
            row().with_context(|| hardware.clone())?;
        }
    }
    Ok(())
}

#[test]
fn second_network_card_does_no_harm() -> Result<()> {
    for (kind, card) in [(MICROVM, "virtio-net-device"), (Q35, "virtio-net-pci")] {
        let (_directory, file) = small_image("disk")?;
        let mut more = Vec::new();
        add_disk(&mut more, kind.block, &file, "");
        more.extend(["-netdev", "user,id=other", "-device"].map(str::to_owned));
        more.push(format!("{card},netdev=other"));
        boot(kind.hardware, "", &more)
            .and_then(|machine| expect_text(&machine, "/vda", "disk"))
            .context(kind.hardware)?;
    }
    Ok(())
}

/// Presses the power button of a machine that serves. QEMU must end with status 0.
fn power_button_ends(kind: Kind) -> Result<()> {
    let mut machine = start_rebooting(kind.hardware, "export=/ram")?;
    machine.wait_for_line(LEASED)?;
    machine.monitor("system_powerdown")?;
    let status = machine.wait_for_end()?;
    ensure!(status.success(), "{status}; {}", machine.console());
    Ok(())
}

#[test]
fn power_button_ends_microvm() -> Result<()> {
    power_button_ends(MICROVM)
}

#[test]
fn power_button_ends_q35() -> Result<()> {
    power_button_ends(Q35)
}

#[test]
fn power_button_ends_pc() -> Result<()> {
    power_button_ends(PC)
}

/// Checks that `message` is printed, and that the machine neither restarts nor prints anything after it.
fn expect_no_reboot(mut machine: Bare, message: &str) -> Result<()> {
    machine.wait_for_line(message)?;
    machine.ends_within(LOOP_TIME)?;
    let console = machine.console();
    ensure!(console.matches(FIRST).count() == 1, "{console}");
    let last = console.lines().last().unwrap_or_default();
    ensure!(last.contains(message), "{console}");
    Ok(())
}

#[test]
fn error_leaves_its_message_and_does_not_reboot() -> Result<()> {
    const NAMED: (&str, &str) = ("export=/nothing", "/nothing");
    for (kind, (words, message)) in [
        (MICROVM, NAMED),
        (MICROVM_WITHOUT_ACPI, NAMED),
        (MICROVM_WITHOUT_ACPI, ("", "nothing to export")),
        (Q35, NAMED),
        (Q35, ("", "nothing to export")),
        (PC, NAMED),
    ] {
        start_rebooting(kind.hardware, words)
            .and_then(|machine| expect_no_reboot(machine, message))
            .context(kind.hardware)?;
    }
    Ok(())
}

#[test]
fn exception_leaves_its_message_and_does_not_reboot() -> Result<()> {
    for kind in [MICROVM_WITHOUT_ACPI, Q35] {
        let row = || {
            let mut machine = Bare::start(Options {
                boot_arguments: "export=/ram",
                hardware: Some(kind.hardware),
                may_reboot: true,
                has_stub: true,
                ..Options::default()
            })?;
            machine.wait_for_line(LEASED)?;
            // xor ecx, ecx; div ecx
            machine.plant(&[0x31, 0xc9, 0xf7, 0xf1])?;
            expect_no_reboot(machine, "division by zero, by the code at ")
        };
        row().context(kind.hardware)?;
    }
    Ok(())
}

#[test]
fn healthy_boot_reports_no_failure() -> Result<()> {
    for kind in [MICROVM, MICROVM_WITHOUT_ACPI, Q35] {
        let row = || {
            let mut machine = boot(kind.hardware, "export=/ram:rw", &[])?;
            machine.wait_for_line("announced stowaway-123456.local")?;
            let console = machine.console();
            for part in ["cannot", "no ", "ignored"] {
                ensure!(!console.contains(part), "'{part}' in {console}");
            }
            Ok(())
        };
        row().context(kind.hardware)?;
    }
    Ok(())
}

#[test]
fn boot_arguments_are_read_from_fw_cfg() -> Result<()> {
    let directory = tempfile::tempdir()?;
    let path = directory.path().join("args");
    // Longer than a kernel command line (2,048 bytes), with the line feed of an editor.
    fs::write(&path, format!("{:3000}export=/ram:rw name=box\n", ""))?;
    let file = format!("name=opt/stowaway/args,file={}", path.display());
    let string = "name=opt/stowaway/args,string=export=/ram:rw name=box";
    for (kind, argument) in [
        (MICROVM, string),
        (MICROVM_WITHOUT_ACPI, string),
        (Q35, &file),
    ] {
        let row = || {
            let more = ["-fw_cfg", argument].map(str::to_owned);
            let mut machine = boot(kind.hardware, "handles=path", &more)?;
            machine.wait_for_line("announced box.local")?;
            expect_writable_ram(&machine)?;
            let console = machine.console();
            ensure!(!console.contains("ignored"), "{console}");
            Ok(())
        };
        row().context(kind.hardware)?;
    }
    Ok(())
}
