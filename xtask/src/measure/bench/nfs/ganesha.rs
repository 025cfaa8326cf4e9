//! The peer: nfs-ganesha with its VFS back end, as Debian ships it, and rpcbind, without which it does not start.
//!
//! Settings are the defaults except for the versions, users as numbers, no root squashing, and a limit of connections that admits the
//! idle ones.

use std::fs;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};

use crate::clients::nfs::{Call, Client};
use crate::machines::server::Process;
use crate::machines::wait_for;
use crate::measure::bench::workspace::{Export, Workspace};

/// Name in tables.
pub const NAME: &str = "nfs-ganesha";
/// The packages of ganesha and of rpcbind.
pub const PACKAGES: [&str; 3] = ["rpcbind", "nfs-ganesha", "nfs-ganesha-vfs"];
/// Longest time until ganesha or rpcbind is ready.
const START_MAX: Duration = Duration::from_secs(30);

/// A running ganesha. Killed on drop, together with its rpcbind.
pub struct Ganesha {
    daemon: Process,
    ports: [u16; 2],
    versions: &'static str,
    _rpcbind: Option<Process>,
}

impl Ganesha {
    /// Ports of NFS and MOUNT.
    const PORTS: [u16; 2] = [2049, 20048];

    /// Starts rpcbind and ganesha in the current network namespace, and waits until NFS answers. `versions` are 3, or 3 and 4.1 as
    /// stowaway names them.
    pub fn start(workspace: &Workspace, versions: &'static str) -> Result<Self> {
        let is_ready = || Path::new("/run/rpcbind.sock").exists();
        let rpcbind = start(Command::new("/usr/sbin/rpcbind").arg("-f"), is_ready)?;
        Self::serve(workspace, Self::PORTS, versions, Some(rpcbind))
    }

    /// Starts another ganesha, on the next ports.
    pub fn another(&self, workspace: &Workspace) -> Result<Self> {
        Self::serve(
            workspace,
            self.ports.map(|port| port + 1),
            self.versions,
            None,
        )
    }

    fn serve(
        workspace: &Workspace,
        ports: [u16; 2],
        versions: &'static str,
        rpcbind: Option<Process>,
    ) -> Result<Self> {
        let file = |extension| workspace.scratch_path(&format!("ganesha-{}.{extension}", ports[0]));
        let config = file("conf");
        fs::write(
            &config,
            settings(workspace, ports, versions, &file("state")),
        )
        .with_context(|| format!("cannot write {}", config.display()))?;
        let mut command = Command::new("/usr/bin/ganesha.nfsd");
        command
            .args(["-F", "-L", "STDERR", "-N", "CRIT", "-f"])
            .arg(&config)
            .arg("-p")
            .arg(file("pid"));
        let is_ready = || is_serving((Ipv4Addr::LOCALHOST, ports[0]).into());
        Ok(Self {
            daemon: start(&mut command, is_ready)?,
            ports,
            versions,
            _rpcbind: rpcbind,
        })
    }

    /// Address of NFS.
    pub fn nfs(&self) -> SocketAddr {
        (Ipv4Addr::LOCALHOST, self.ports[0]).into()
    }

    /// Address of MOUNT.
    pub fn mount(&self) -> SocketAddr {
        (Ipv4Addr::LOCALHOST, self.ports[1]).into()
    }

    /// The process id.
    pub fn pid(&self) -> u32 {
        self.daemon.pid()
    }
}

/// Returns true if a server answers a NULL call.
pub fn is_serving(nfs: SocketAddr) -> bool {
    let answered = Client::connect(nfs).and_then(|mut client| client.call(&Call::null()).map(drop));
    answered.is_ok()
}

/// The path of an export in version 4.1.
pub fn pseudo_path(export: Export) -> String {
    format!("/{}", export as usize + 1)
}

/// Content of ganesha's configuration file.
fn settings(workspace: &Workspace, [nfs, mount]: [u16; 2], versions: &str, state: &Path) -> String {
    // The minor versions have a setting of their own.
    let protocols = versions.replace("4.1", "4");
    let mut text = format!(
        "NFS_CORE_PARAM {{
             NFS_Protocols = {protocols}; NFS_Port = {nfs}; MNT_Port = {mount};
             Enable_NLM = false; Enable_RQUOTA = false;
             RPC_Max_Connections = 10000; RPC_Idle_Timeout_S = 3600;
         }}
         NFSv4 {{
             Graceless = true; RecoveryRoot = {state}; Minor_Versions = 1; Only_Numeric_Owners = true;
         }}\n",
        state = state.display(),
    );
    let exports = Export::ALL.map(|it| (workspace.path(it), it.is_writable()));
    let more = workspace.more.iter().map(|path| (path.clone(), false));
    for (id, (path, is_writable)) in (1..).zip(exports.into_iter().chain(more)) {
        text += &format!(
            "EXPORT {{
                 Export_Id = {id}; Path = {path}; Pseudo = /{id}; Protocols = {protocols}; Transports = TCP;
                 Access_Type = {access}; Squash = No_Root_Squash; SecType = sys;
                 FSAL {{ Name = VFS; }}
             }}\n",
            path = path.display(),
            access = if is_writable { "RW" } else { "RO" },
        );
    }
    text
}

/// Starts a program, and waits until it is ready.
fn start(command: &mut Command, is_ready: impl Fn() -> bool) -> Result<Process> {
    let mut process = Process::start(command.stdin(Stdio::null()).stdout(Stdio::null()))?;
    let started = wait_for(START_MAX, || {
        let is_alive = process.is_alive()?;
        Ok((!is_alive || is_ready()).then_some(is_alive))
    })?;
    ensure!(
        started == Some(true),
        "{command:?} was not ready within {START_MAX:?}; its log:\n{}",
        process.lines().join("\n")
    );
    Ok(process)
}
