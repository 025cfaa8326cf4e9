//! The first steps of the README; a router with dropbear, an ESXi host, a Linux machine with a disk.

use super::{LISTENING, PATIENCE, Recipe, ensure_exported, install_script, on_host};
use anyhow::{Context as _, Result, ensure};
use std::fs;
use std::path::Path;
use std::process::Command;
use xtask::build::Arch;
use xtask::machines::server::{Namespace, binary, root_for};
use xtask::machines::sshd::{Daemon, Implementation, SFTP_SERVER};
use xtask::machines::wait_for;
use xtask::setup::{self, run_captured};

#[test]
fn readmes_process_and_microvm_serve() -> Result<()> {
    if !root_for("the README") {
        return Ok(());
    }
    setup::install_packages(&["qemu-system-x86"])?;
    let network = Namespace::new()?;
    on_host("the README", &network, |directory| {
        // As on a host where stowaway is not installed.
        fs::remove_file("/usr/sbin/stowaway")?;
        let built = binary(Arch::X86_64)?.display().to_string();
        for (block, export, name) in [
            (Recipe::load("readme-process")?, "/srv", "hello.txt"),
            (Recipe::load("readme-microvm")?, "/ram", "."),
        ] {
            let block = block
                .with("cargo xtask build && ", "")?
                .with("target/stowaway/x86_64/stowaway", &built)?;
            let mut server = block.start(directory)?;
            server.wait_for(LISTENING)?;
            ensure_exported(export, name)?;
            server.stop()?;
        }
        Ok(())
    })
}

#[test]
fn dropbear_starts_the_installed_link() -> Result<()> {
    if !root_for("dropbear") {
        return Ok(());
    }
    let network = Namespace::new()?;
    on_host("dropbear", &network, |directory| {
        // Debian's dropbear starts another path than OpenWrt's.
        let install = Recipe::load("dropbear")?.with("/usr/libexec/sftp-server", SFTP_SERVER)?;
        // A package of OpenSSH may own the path.
        let _ = fs::remove_file(SFTP_SERVER);
        install.run(directory, "")?;
        let daemon = Daemon::start(Implementation::Dropbear, Path::new(SFTP_SERVER))?;
        fs::write(daemon.home().join("notes"), "from the router\n")?;
        let config = format!("sftp -F {} router", daemon.config().display());
        let connect = Recipe::load("dropbear-client")?.with("sftp root@192.0.2.1", &config)?;
        connect.run(directory, "get notes\n")?;
        ensure!(fs::read(directory.join("notes"))? == b"from the router\n");
        Ok(())
    })
}

/// The commands run as on a host with the system calls of ESXi 7, as far as these are known. `esxcli` is a stand-in.
#[test]
fn esxi_commands_start_server_without_missing_calls() -> Result<()> {
    if !root_for("ESXi") {
        return Ok(());
    }
    let network = Namespace::new()?;
    on_host("ESXi", &network, |directory| {
        let at = |path: &str| directory.join(path).display().to_string();
        let datastore = directory.join("datastore1/stowaway");
        fs::create_dir_all(datastore.join("files"))?;
        fs::write(datastore.join("files/vm.vmdk"), "disk")?;
        fs::create_dir_all("/etc/vmware/firewall")?;
        let calls = at("esxcli");
        install_script("/usr/bin/esxcli", &format!("echo \"$@\" >>{calls}"))?;
        fs::create_dir_all("/etc/rc.local.d")?;
        fs::write("/etc/rc.local.d/local.sh", "exit 0\n")?;
        fs::copy(
            binary(Arch::X86_64)?,
            directory.join("datastore1/stowaway.new"),
        )?;
        let lockdown = format!("'{}' lockdown esxi-7 -- ", env!("CARGO_BIN_EXE_workshop"));
        let volumes = directory.display().to_string();
        let options = datastore.join("options");
        fs::write(
            &options,
            format!(
                "PID={}\nROLE=\"serve -e {}/exports -p --log {}/log\"\n",
                at("pid"),
                datastore.display(),
                datastore.display()
            ),
        )?;
        let start = Recipe::load("esxi")?
            .with(
                "/vmfs/volumes/datastore1/stowaway.new install $D",
                &format!(
                    "{lockdown}{volumes}/datastore1/stowaway.new install $D --for esxi --force"
                ),
            )?
            .with("D=/vmfs/volumes", &format!("D={volumes}"))?
            .with("$D/stowaway.sh", &format!("{lockdown}$D/stowaway.sh"))?;
        // With -D, the command ends when the server listens.
        start.run(directory, "")?;
        let log = || fs::read_to_string(datastore.join("log"));
        let esxcli = fs::read_to_string(&calls)?;
        let expect = "system settings kernel set -s execinstalledonly -v FALSE\nnetwork firewall refresh\nsystem settings kernel list -o execinstalledonly\n";
        ensure!(esxcli == expect, "{esxcli}");
        setup::install_packages(&["python3"])?;
        // The firewall's file is well-formed XML.
        let parse = "import sys, xml.dom.minidom; xml.dom.minidom.parse(sys.argv[1])";
        let file = "/etc/vmware/firewall/stowaway.xml";
        run_captured(Command::new("python3").args(["-c", parse, file]))?;
        ensure_exported(&datastore.join("files").display().to_string(), "vm.vmdk")?;
        let pid = fs::read_to_string(directory.join("pid"))?;
        run_captured(Command::new("kill").arg(pid.trim()))?;
        let stopped = wait_for(PATIENCE, || Ok(log()?.contains("stopping").then_some(())))?;
        stopped.with_context(|| format!("log: {:?}", log()))
    })
}

#[test]
fn linux_machine_exports_its_disk() -> Result<()> {
    setup::install_packages(&["libnfs-utils"])?;
    let directory = tempfile::tempdir()?;
    let boot = Recipe::load("linux-vm")?.with("cargo xtask", env!("CARGO_BIN_EXE_workshop"))?;
    let mut machine = boot.start(directory.path())?;
    let listing = machine.wait_for("nfs-ls '")?;
    machine.wait_for(LISTENING)?;
    machine.wait_for("address 10.0.2.15/24")?;
    // As it was printed.
    let listed = run_captured(Command::new("sh").args(["-c", &listing]))?;
    ensure!(listed.contains(" hello.txt\n"), "{listed}");
    Ok(())
}
