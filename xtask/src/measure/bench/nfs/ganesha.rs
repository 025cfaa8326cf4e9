//! The peer: nfs-ganesha with its VFS back end, as Debian ships it, and rpcbind, without which it does not start.
//!
//! Settings are the defaults except for NFSv3 alone, no root squashing, and a limit of connections that admits the idle ones.

use std::fs::{self, File};
use std::net::{Ipv4Addr, SocketAddr};
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

use anyhow::{Context as _, Result, bail};

use crate::clients::nfs::{Call, Client};
use crate::machines::wait_for;
use crate::measure::bench::Killed;
use crate::measure::bench::workspace::{Export, Workspace};

/// Longest time until ganesha or rpcbind is ready.
const START_MAX: Duration = Duration::from_secs(30);

/// A running ganesha. Killed on drop, together with its rpcbind.
pub struct Ganesha {
    daemon: Process,
    ports: [u16; 2],
    _rpcbind: Option<Process>,
}

impl Ganesha {
    /// Ports of NFS and MOUNT.
    const PORTS: [u16; 2] = [2049, 20048];

    /// Starts rpcbind and ganesha in the current network namespace, and waits until NFS answers.
    pub fn start(workspace: &Workspace) -> Result<Self> {
        let mut rpcbind = Process::spawn(
            Command::new("/usr/sbin/rpcbind").arg("-f"),
            &workspace.scratch_path("rpcbind.log"),
        )?;
        rpcbind.wait_until(|| Path::new("/run/rpcbind.sock").exists())?;
        Self::serve(workspace, Self::PORTS, &[], Some(rpcbind))
    }

    /// Starts another ganesha, on the next ports. `through` is a command that ends by executing its arguments, such as strace.
    pub fn another(&self, workspace: &Workspace, through: &[String]) -> Result<Self> {
        Self::serve(workspace, self.ports.map(|port| port + 1), through, None)
    }

    fn serve(
        workspace: &Workspace,
        ports: [u16; 2],
        through: &[String],
        rpcbind: Option<Process>,
    ) -> Result<Self> {
        let file = |extension| workspace.scratch_path(&format!("ganesha-{}.{extension}", ports[0]));
        let config = file("conf");
        fs::write(&config, settings(workspace, ports, &file("state")))
            .with_context(|| format!("cannot write {}", config.display()))?;
        let program = "/usr/bin/ganesha.nfsd".to_owned();
        let words = [through, &[program]].concat();
        let mut command = Command::new(&words[0]);
        command
            .args(&words[1..])
            .args(["-F", "-L", "STDERR", "-N", "CRIT", "-f"])
            .arg(&config)
            .arg("-p")
            .arg(file("pid"));
        let daemon = Process::spawn(&mut command, &file("log"))?;
        let mut ganesha = Self {
            daemon,
            ports,
            _rpcbind: rpcbind,
        };
        let nfs = ganesha.nfs();
        ganesha.daemon.wait_until(|| {
            Client::connect(nfs)
                .and_then(|mut client| client.call(&Call::null()).map(drop))
                .is_ok()
        })?;
        Ok(ganesha)
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
        self.daemon.child.0.id()
    }
}

/// Content of ganesha's configuration file.
fn settings(workspace: &Workspace, [nfs, mount]: [u16; 2], state: &Path) -> String {
    let mut text = format!(
        "NFS_CORE_PARAM {{
             NFS_Protocols = 3; NFS_Port = {nfs}; MNT_Port = {mount};
             Enable_NLM = false; Enable_RQUOTA = false;
             RPC_Max_Connections = 10000; RPC_Idle_Timeout_S = 3600;
         }}
         NFSv4 {{ Graceless = true; RecoveryRoot = {state}; }}\n",
        state = state.display(),
    );
    let exports = Export::ALL.map(|it| (workspace.path(it), it.is_writable()));
    let more = workspace.more.iter().map(|path| (path.clone(), false));
    for (id, (path, is_writable)) in (1..).zip(exports.into_iter().chain(more)) {
        text += &format!(
            "EXPORT {{
                 Export_Id = {id}; Path = {path}; Pseudo = /{id}; Protocols = 3; Transports = TCP;
                 Access_Type = {access}; Squash = No_Root_Squash; SecType = sys;
                 FSAL {{ Name = VFS; }}
             }}\n",
            path = path.display(),
            access = if is_writable { "RW" } else { "RO" },
        );
    }
    text
}

/// A child process with a log file.
struct Process {
    child: Killed,
    name: String,
    log: std::path::PathBuf,
}

impl Process {
    fn spawn(command: &mut Command, log: &Path) -> Result<Self> {
        let name = command.get_program().display().to_string();
        let file = File::create(log).with_context(|| format!("cannot create {}", log.display()))?;
        command
            .stdin(Stdio::null())
            .stdout(file.try_clone()?)
            .stderr(file);
        let child = command
            .spawn()
            .with_context(|| format!("cannot start {name}"))?;
        Ok(Self {
            child: Killed(child),
            name,
            log: log.to_owned(),
        })
    }

    fn wait_until(&mut self, is_ready: impl Fn() -> bool) -> Result<()> {
        let started = wait_for(START_MAX, || {
            let ended = self.child.0.try_wait()?;
            Ok(ended.map(Err).or_else(|| is_ready().then_some(Ok(()))))
        })?;
        if started != Some(Ok(())) {
            let log = fs::read(&self.log).unwrap_or_default();
            bail!(
                "{} was not ready within {START_MAX:?} ({started:?}); its log:\n{}",
                self.name,
                String::from_utf8_lossy(&log)
            );
        }
        Ok(())
    }
}
