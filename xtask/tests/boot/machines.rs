//! Machines in QEMU boot from images, two at once with 512 MiB each, beside the DHCP servers of others.

use super::serve;
use anyhow::{Context as _, Result, ensure};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;
use tempfile::TempDir;
use xtask::build::Arch;
use xtask::machines::iso::{INSTALLER, ROCK_RIDGE, unpack_package, write_image};
use xtask::machines::qemu::bare::{Bare, Options};
use xtask::machines::qemu::initramfs;
use xtask::machines::server::{Namespace, Process, binary, ip, public_dir, root_for};
use xtask::machines::{qemu, wait_for};
use xtask::setup;

/// Longest time until a machine has mounted its root or shows a screen, without KVM.
const BOOT_MAX: Duration = Duration::from_secs(240);
/// The address of the server.
pub(super) const HOST: &str = "10.0.2.2";
const OVMF: &str = "/usr/share/OVMF";

/// A DHCP server of others.
#[derive(Clone, Copy)]
pub(super) enum Foreign {
    Dnsmasq,
    Isc,
    /// Kea names the host and a loader, as in the recipes: GRUB 2.06 looks for its files on the host that the DHCP server names.
    Kea,
}

impl Foreign {
    /// The command for the interface eth0, with its files in `directory`.
    fn command(self, host: &Namespace, directory: &Path) -> Result<Command> {
        let file = |name: &str, content: &str| -> Result<PathBuf> {
            let path = directory.join(name);
            fs::write(&path, content)?;
            Ok(path)
        };
        let mut command;
        match self {
            Self::Dnsmasq => {
                command = host.command("dnsmasq");
                command.args(["--keep-in-foreground", "--conf-file=/dev/null", "--port=0"]);
                command.args(["--user=root", "--no-ping", "--pid-file", "--leasefile-ro"]);
                command.args(["--dhcp-range=10.0.2.100,10.0.2.120", "--log-facility=-"]);
            }
            Self::Isc => {
                let subnet =
                    "subnet 10.0.2.0 netmask 255.255.255.0 { range 10.0.2.100 10.0.2.120; }\n";
                command = host.command("dhcpd");
                command.args(["-4", "-f", "-d", "--no-pid", "eth0", "-cf"]);
                command.arg(file("dhcpd.conf", &format!("authoritative;\n{subnet}"))?);
                command.arg("-lf").arg(file("leases", "")?);
            }
            Self::Kea => {
                let configuration = r#"{"Dhcp4": {
                    "interfaces-config": {"interfaces": ["eth0"]},
                    "lease-database": {"type": "memfile", "persist": false},
                    "next-server": "10.0.2.2", "boot-file-name": "snponly.efi",
                    "subnet4": [{"subnet": "10.0.2.0/24", "pools": [{"pool": "10.0.2.100-10.0.2.120"}]}]
                }}"#;
                command = host.command("kea-dhcp4");
                command.arg("-c").arg(file("kea.json", configuration)?);
                command.env("KEA_PIDFILE_DIR", directory);
                command.env("KEA_LOCKFILE_DIR", directory);
            }
        }
        Ok(command)
    }
}

/// The way in which UEFI fetches a loader.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Way {
    Tftp,
    Http,
}

/// A network with a server of images, a DHCP server of others, and places for two machines.
pub(super) struct Network {
    pub(super) host: Namespace,
    _other: Namespace,
    dhcp: Process,
    pub(super) directory: TempDir,
}

impl Network {
    pub(super) fn new(foreign: Foreign) -> Result<Self> {
        setup::install_packages(&[
            "qemu-system-x86",
            "ovmf",
            "dnsmasq-base",
            "isc-dhcp-server",
            "kea-dhcp4-server",
            "iproute2",
            "xorriso",
        ])?;
        let (host, other) = Namespace::pair()?;
        for (namespace, words) in [
            (&host, "addr flush dev eth0"),
            (&host, "link add br0 type bridge"),
            (&host, "addr add 10.0.2.2/24 dev br0"),
            (&host, "link set eth0 master br0"),
            (&host, "tuntap add tap1 mode tap"),
            (&host, "tuntap add tap2 mode tap"),
            (&host, "link set tap1 master br0 up"),
            (&host, "link set tap2 master br0 up"),
            (&host, "link set br0 up"),
            (&other, "addr flush dev eth0"),
            (&other, "addr add 10.0.2.3/24 dev eth0"),
        ] {
            ip(&format!("-n {} {words}", namespace.name()))?;
        }
        let directory = public_dir()?;
        let mut command = foreign.command(&other, directory.path())?;
        Ok(Self {
            dhcp: Process::start(command.stdout(Stdio::null()))?,
            host,
            _other: other,
            directory,
        })
    }

    /// Starts machine 1 or 2, with the MAC address 52:54:00:00:00:21 or :22. `rom` is an option of its network card.
    pub(super) fn start(&self, number: u8, rom: &str, arguments: &[String]) -> Result<Machine> {
        let console = self.directory.path().join(format!("console{number}"));
        let mut command = self.host.command("qemu-system-x86_64");
        command
            .args(["-machine", "pc,accel=tcg", "-cpu", "max", "-m", "512"])
            .args(["-nodefaults", "-no-user-config", "-display", "none"])
            .arg("-netdev")
            .arg(format!("{},id=net", qemu::tap(&format!("tap{number}"))))
            .args(["-boot", "n", "-device"])
            .arg(format!(
                "virtio-net-pci,netdev=net,mac={}{rom}",
                mac(number)
            ))
            .args(["-device", "virtio-rng-pci"])
            .arg("-serial")
            .arg(format!("file:{}", console.display()))
            .args(arguments)
            .stdin(Stdio::null())
            .stdout(Stdio::null());
        let process = Process::start(&mut command)?;
        Ok(Machine { process, console })
    }

    /// QEMU's arguments for a machine with UEFI, whose variables are new.
    fn uefi(&self, number: u8, way: Way) -> Result<Vec<String>> {
        let variables = self.directory.path().join(format!("variables{number}"));
        fs::copy(Path::new(OVMF).join("OVMF_VARS_4M.fd"), &variables)?;
        let flash = |words: &str| ["-drive".to_owned(), format!("if=pflash,format=raw,{words}")];
        let mut arguments = [
            flash(&format!("unit=0,readonly=on,file={OVMF}/OVMF_CODE_4M.fd")),
            flash(&format!("unit=1,file={}", variables.display())),
        ]
        .concat();
        if way == Way::Http {
            // PXE comes before HTTP.
            for option in ["IPv4PXESupport", "IPv6PXESupport"] {
                let option = format!("name=opt/org.tianocore/{option},string=n");
                arguments.extend(["-fw_cfg".to_owned(), option]);
            }
        }
        Ok(arguments)
    }
}

fn mac(number: u8) -> String {
    format!("52:54:00:00:00:2{number}")
}

/// A running machine.
pub(super) struct Machine {
    process: Process,
    console: PathBuf,
}

impl Machine {
    fn console(&self) -> String {
        let bytes = fs::read(&self.console).unwrap_or_default();
        String::from_utf8_lossy(&bytes).into_owned()
    }
}

/// The steps of a machine: lines of the server's log, in this order, each with the machine's name or address and some words.
pub(super) type Steps = Vec<(String, String)>;

/// Waits until the log of the server has all steps, and the console of the machine shows `screen`.
pub(super) fn wait_for_steps(
    network: &Network,
    server: &Process,
    machine: &Machine,
    steps: &Steps,
    screen: &str,
) -> Result<()> {
    let has_all = || {
        let lines = server.lines();
        let mut lines = lines.iter();
        let mut has = |(name, step): &(String, String)| {
            lines.any(|line| line.contains(name) && line.contains(step))
        };
        steps.iter().all(&mut has) && machine.console().contains(screen)
    };
    let found = wait_for(BOOT_MAX, || Ok(has_all().then_some(())))?;
    let console: Vec<char> = machine.console().chars().collect();
    let end: String = console[console.len().saturating_sub(4000)..]
        .iter()
        .collect();
    found.with_context(|| {
        format!(
            "not all of {steps:#?} and {screen:?}\nserver: {}\nDHCP: {:#?}\nQEMU: {:#?}\n{end}",
            server.lines().join("\n"),
            network.dhcp.lines(),
            machine.process.lines()
        )
    })
}

/// Steps of machine 1 or 2.
fn steps(number: u8, words: &[&str]) -> Steps {
    let step = |words: &&str| (mac(number), (*words).to_owned());
    words.iter().map(step).collect()
}

/// The step in which the initramfs of [`write_live_image`] mounts the image.
fn mounted(number: u8, image: &Path) -> (String, String) {
    let address = format!("10.0.2.3{}", number + 2);
    (address, format!("mounted {}", image.display()))
}

/// Writes an image of casper's layout with a kernel whose initramfs mounts the image.
fn write_live_image(path: &Path) -> Result<()> {
    let (kernel, initramfs) = qemu::system("diskless")?;
    let tree = tempfile::tempdir()?;
    let folder = tree.path().join("casper");
    fs::create_dir(&folder)?;
    fs::copy(kernel, folder.join("vmlinuz-linux"))?;
    fs::write(folder.join("initrd-linux.img"), initramfs)?;
    // Two other pairs do not boot; their RAM disks come first by name.
    for other in ["linux-lts", "linux-zen"] {
        fs::write(folder.join(format!("vmlinuz-{other}")), "")?;
        fs::write(folder.join(format!("initrd-{other}.img")), "")?;
    }
    write_image(ROCK_RIDGE[0], tree.path(), path)
}

/// Two machines at once boot the kernels of the images that are assigned to them, whose initramfs mounts the image. One has iPXE in its
/// card, the other one gets a loader by UEFI's HTTP boot.
#[test]
fn two_machines_boot_beside_dnsmasq() -> Result<()> {
    if !root_for("a network namespace") {
        return Ok(());
    }
    let directory: TempDir = public_dir()?;
    let root = directory.path();
    let network = Network::new(Foreign::Dnsmasq)?;
    let image = root.join("live.iso");
    write_live_image(&image)?;
    let loaders = unpack_package("ipxe")?.join("usr/lib/ipxe");
    fs::copy(loaders.join("snponly.efi"), root.join("snponly.efi"))?;
    let other = root.join("other.iso");
    fs::copy(&image, &other)?;
    let lines = "52-54-00-00-00-21 live.iso quiet\noops\n52:54:00:00:00:22 other.iso\n* local\n";
    fs::write(root.join("assign"), lines)?;
    let server = serve(&network.host, root, &[])?;
    let url = format!("runs iPXE and is offered http://{HOST}/boot.ipxe");
    let machines = [
        network.start(1, "", &[])?,
        network.start(2, ",romfile=", &network.uefi(2, Way::Http)?)?,
    ];
    let firsts: [&[&str]; 2] = [&[], &["is offered http", "/snponly.efi"]];
    for ((number, machine), image) in (1..).zip(&machines).zip([&image, &other]) {
        let first = firsts[usize::from(number) - 1];
        let kernel = format!("fetches by HTTP {}/casper/vmlinuz-linux", image.display());
        let words = [first, &[&*url, "fetches by HTTP /boot.ipxe", &*kernel]].concat();
        let mut steps = steps(number, &words);
        steps.push(mounted(number, image));
        wait_for_steps(&network, &server, machine, &steps, "")?;
    }
    let file = binary(Arch::X86_64)?.display().to_string();
    let mut command = network.host.command(&file);
    let printed = command.args(["status", "--json"]).output()?.stdout;
    let printed = String::from_utf8(printed)?;
    for number in [1, 2] {
        let step = format!("{{\"mac\":\"{}\",\"step\":\"http\",", mac(number));
        ensure!(printed.contains(&step), "no {step} in {printed}");
    }
    Ok(())
}

/// A bare machine with 64 MiB of memory, whose disk is the image, boots a machine with BIOS. Its kernel mounts the disk.
#[test]
fn bare_machine_boots_another() -> Result<()> {
    if !root_for("a network namespace") {
        return Ok(());
    }
    let network = Network::new(Foreign::Dnsmasq)?;
    let image = network.directory.path().join("live.iso");
    write_live_image(&image)?;
    let drive = format!(
        "if=none,id=disk,file={},format=raw,readonly=on",
        image.display()
    );
    let mut server = network.host.run(|| {
        Bare::start(Options {
            boot_arguments: "boot=vda",
            network: Some(&qemu::tap("tap1")),
            more: &["-drive", &drive, "-device", "virtio-blk-device,drive=disk"],
            ..Options::default()
        })
    })?;
    server.wait_for_line("machines boot at eth0: http://10.0.2.1")?;
    let _machine = network.start(2, "", &[])?;
    for step in [
        "52:54:00:00:00:22 runs iPXE and is offered http://10.0.2.1",
        "fetches by HTTP /vda/casper/initrd-linux.img",
        "mounted /vda",
    ] {
        server.wait_for_line(step)?;
    }
    Ok(())
}

/// Beside ISC's server, with an IP stack of its own: the firmware of UEFI gets snponly.efi, whose menu starts Debian's installer, to its
/// first screen. At the same time, undionly.kpxe gets the installer's files with BIOS.
#[test]
fn debian_installer_boots_beside_isc_dhcpd() -> Result<()> {
    if !root_for("a network namespace") {
        return Ok(());
    }
    let directory: TempDir = public_dir()?;
    let root = directory.path();
    let network = Network::new(Foreign::Isc)?;
    let image = root.join("debian.iso");
    write_installer(&image)?;
    let ipxe = unpack_package("ipxe")?;
    for name in ["snponly.efi", "undionly.kpxe"] {
        fs::copy(ipxe.join("usr/lib/ipxe").join(name), root.join(name))?;
    }
    ip(&format!("-n {} addr flush dev br0", network.host.name()))?;
    let own = ["--net", "packet:br0", "--ip", "10.0.2.2/24"];
    let arguments = [&["--default", "debian.iso"], &own[..]].concat();
    let server = serve(&network.host, root, &arguments)?;
    // The ROM of QEMU's card is iPXE, which gets the menu at once. This one runs undionly.kpxe first.
    let script = network.directory.path().join("script");
    fs::write(
        &script,
        format!("#!ipxe\ndhcp\nchain tftp://{HOST}/undionly.kpxe\n"),
    )?;
    let kernel = ipxe.join("boot/ipxe.lkrn").display().to_string();
    let bios = ["-kernel", &kernel, "-initrd", &script.display().to_string()];
    // With less, the first screen is about low memory.
    let memory = ["-m", "1024"].map(str::to_owned);
    let uefi = [network.uefi(2, Way::Tftp)?, memory.into()].concat();
    let machines = [
        network.start(1, ",romfile=", &bios.map(str::to_owned))?,
        network.start(2, ",romfile=", &uefi)?,
    ];
    let menu = "is offered http://10.0.2.2/boot.ipxe";
    let ram_disk = format!("fetches by HTTP {}/install.amd/initrd.gz", image.display());
    let [bios, uefi] = machines;
    let words = ["/undionly.kpxe", menu, &ram_disk];
    wait_for_steps(&network, &server, &bios, &steps(1, &words), "")?;
    drop(bios);
    let words = ["/snponly.efi", menu, &ram_disk];
    wait_for_steps(
        &network,
        &server,
        &uefi,
        &steps(2, &words),
        "Select a language",
    )
}

/// Writes an image with Debian's installer, which also copies its screen to the serial port.
fn write_installer(path: &Path) -> Result<()> {
    let home = unpack_package(INSTALLER)?
        .join("usr/lib/debian-installer/images/12/amd64/text/debian-installer/amd64");
    let screen = "#!/bin/sh\nwhile sleep 2; do cat /dev/vcs1; done >/dev/ttyS0 2>/dev/null &\n";
    let place = "/lib/debian-installer-startup.d/S11screen";
    let mut ram_disk = fs::read(home.join("initrd.gz"))?;
    let added = initramfs::of_program(place, screen.as_bytes())?;
    initramfs::append(&mut ram_disk, &added);
    let tree = tempfile::tempdir()?;
    let folder = tree.path().join("install.amd");
    fs::create_dir(&folder)?;
    fs::copy(home.join("linux"), folder.join("vmlinuz"))?;
    fs::write(folder.join("initrd.gz"), ram_disk)?;
    write_image(ROCK_RIDGE[0], tree.path(), path)
}

/// Beside Kea: shim and GRUB, as Debian signs them, boot the kernel of an image by TFTP. By HTTP boot, shim finds GRUB, too.
#[test]
fn shim_and_grub_boot_beside_kea() -> Result<()> {
    if !root_for("a network namespace") {
        return Ok(());
    }
    setup::install_packages(&["shim-signed", "grub-efi-amd64-signed"])?;
    let directory: TempDir = public_dir()?;
    let root = directory.path();
    let network = Network::new(Foreign::Kea)?;
    let image = root.join("live.iso");
    write_live_image(&image)?;
    fs::copy("/usr/lib/shim/shimx64.efi.signed", root.join("shimx64.efi"))?;
    let grub = "/usr/lib/grub/x86_64-efi-signed/grubnetx64.efi.signed";
    fs::copy(grub, root.join("grubx64.efi"))?;
    let folder = image.join("casper");
    let commands = format!(
        "linux {folder}/vmlinuz-linux nfsroot={HOST}:{image}\ninitrd {folder}/initrd-linux.img\nboot\n",
        folder = folder.display(),
        image = image.display(),
    );
    fs::create_dir(root.join("grub"))?;
    fs::write(root.join("grub/grub.cfg"), commands)?;
    let server = serve(&network.host, root, &[])?;
    let machines = [
        network.start(1, ",romfile=", &network.uefi(1, Way::Tftp)?)?,
        network.start(2, ",romfile=", &network.uefi(2, Way::Http)?)?,
    ];
    let step = |way: &str, name: &str| format!("{way} {}", root.join(name).display());
    let by_http = ["shimx64.efi", "grubx64.efi"].map(|name| step("fetches by HTTP", name));
    let by_http = steps(2, &by_http.each_ref().map(String::as_str));
    let names = [
        "shimx64.efi",
        "grubx64.efi",
        "grub/grub.cfg",
        "live.iso/casper/initrd",
    ];
    let by_tftp = names.map(|name| step("got by TFTP", name));
    let mut by_tftp = steps(1, &by_tftp.each_ref().map(String::as_str));
    by_tftp.push(mounted(1, &image));
    let [first, second] = &machines;
    wait_for_steps(&network, &server, second, &by_http, "Welcome to GRUB!")?;
    wait_for_steps(&network, &server, first, &by_tftp, "")
}
