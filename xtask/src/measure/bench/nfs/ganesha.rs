//! The peer: nfs-ganesha with its VFS back end, as Debian ships it, and the rpcbind that it insists on.
//!
//! Its settings are the defaults, but for NFSv3 alone, no root squashing, and enough for the idle connections.

use std::fs::{self, File};
use std::net::{Ipv4Addr, SocketAddr, SocketAddrV4};
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

use anyhow::{Context as _, Result, bail};

use crate::clients::nfs::{Call, Client};
use crate::machines::wait_for;
use crate::measure::bench::Killed;
use crate::measure::bench::ground::{Export, Ground};

/// How long either may take to start.
const START_MAX: Duration = Duration::from_secs(30);

/// A running ganesha. Dropping it ends it and its rpcbind.
pub struct Ganesha {
    daemon: Process,
    _rpcbind: Process,
}

impl Ganesha {
    /// Where NFS listens.
    pub const NFS: SocketAddr = SocketAddr::V4(SocketAddrV4::new(Ipv4Addr::LOCALHOST, 2049));
    /// Where MOUNT listens.
    pub const MOUNT: SocketAddr = SocketAddr::V4(SocketAddrV4::new(Ipv4Addr::LOCALHOST, 20048));

    /// Starts both in our own network and waits until NFS answers.
    pub fn start(ground: &Ground) -> Result<Self> {
        let mut rpcbind = Process::spawn(
            Command::new("/usr/sbin/rpcbind").arg("-f"),
            &ground.beside("rpcbind.log"),
        )?;
        rpcbind.wait_until(|| Path::new("/run/rpcbind.sock").exists())?;

        let config = ground.beside("ganesha.conf");
        fs::write(&config, settings(ground))
            .with_context(|| format!("cannot write {}", config.display()))?;
        let mut command = Command::new("/usr/bin/ganesha.nfsd");
        command
            .args(["-F", "-L", "STDERR", "-N", "CRIT", "-f"])
            .arg(&config)
            .arg("-p")
            .arg(ground.beside("ganesha.pid"));
        let mut daemon = Process::spawn(&mut command, &ground.beside("ganesha.log"))?;
        daemon.wait_until(|| {
            Client::connect(Self::NFS)
                .and_then(|mut client| client.call(&Call::null()).map(drop))
                .is_ok()
        })?;
        Ok(Self {
            daemon,
            _rpcbind: rpcbind,
        })
    }

    /// The process id.
    pub fn pid(&self) -> u32 {
        self.daemon.child.0.id()
    }
}

fn settings(ground: &Ground) -> String {
    let mut text = format!(
        "NFS_CORE_PARAM {{
             NFS_Protocols = 3; NFS_Port = {nfs}; MNT_Port = {mount};
             Enable_NLM = false; Enable_RQUOTA = false;
             RPC_Max_Connections = 10000; RPC_Idle_Timeout_S = 3600;
         }}
         NFSv4 {{ Graceless = true; RecoveryRoot = {state}; }}\n",
        nfs = Ganesha::NFS.port(),
        mount = Ganesha::MOUNT.port(),
        state = ground.beside("ganesha.state").display(),
    );
    for (id, export) in (1..).zip(Export::ALL) {
        text += &format!(
            "EXPORT {{
                 Export_Id = {id}; Path = {path}; Pseudo = /{name}; Protocols = 3; Transports = TCP;
                 Access_Type = {access}; Squash = No_Root_Squash; SecType = sys;
                 FSAL {{ Name = VFS; }}
             }}\n",
            path = ground.path(export).display(),
            name = export.name(),
            access = if export.is_writable() { "RW" } else { "RO" },
        );
    }
    text
}

/// A program that runs beside us.
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
            let said = fs::read(&self.log).unwrap_or_default();
            bail!(
                "{} was not ready within {START_MAX:?} ({started:?}); it said:\n{}",
                self.name,
                String::from_utf8_lossy(&said)
            );
        }
        Ok(())
    }
}
