//! The environment of the responders: a mount namespace with the service files that both announce, and a network link for each.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, Result};
use tempfile::TempDir;

use crate::clients::dns::Querier;
use crate::machines::mounts;
use crate::machines::server::{Namespace, ip};
use crate::setup;
use std::net::Ipv4Addr;

/// Address of the querier.
const NEIGHBOUR: Ipv4Addr = Ipv4Addr::new(192, 0, 2, 2);
/// Host name of the responder, without `.local`.
pub const HOST: &str = "box";
/// Service type of all instances.
pub const TYPE: &str = "_http._tcp";
/// Number of service instances.
pub const INSTANCE_COUNT: usize = 10;

/// Directory from which avahi reads service files.
const AVAHI_SERVICES: &str = "/etc/avahi/services";
/// Directory to which avahi writes its PID file.
const AVAHI_RUN: &str = "/run/avahi-daemon";

/// A mount namespace of this process, and the files that responders read.
pub struct Workspace {
    directory: TempDir,
}

impl Workspace {
    /// Enters a new mount namespace, writes avahi's configuration and the service files, and mounts these where avahi reads them.
    pub fn new() -> Result<Self> {
        let workspace = Self {
            directory: TempDir::new().context("cannot create a temporary directory")?,
        };
        fs::create_dir(workspace.services())?;
        for number in 0..INSTANCE_COUNT {
            let service = format!(
                "<service-group>\n<name>service {number}</name>\n<service><type>{TYPE}</type><port>80</port>\
                 <txt-record>path=/</txt-record></service>\n</service-group>\n"
            );
            fs::write(
                workspace.services().join(format!("{number}.service")),
                service,
            )?;
        }
        // Without D-Bus, avahi is faster and smaller.
        fs::write(
            workspace.avahi_config(),
            format!(
                "[server]\nhost-name={HOST}\nuse-ipv4=yes\nuse-ipv6=yes\nratelimit-interval-usec=0\nenable-dbus=no\n\
                 [publish]\npublish-hinfo=no\npublish-workstation=no\n"
            ),
        )?;
        mounts::enter_private_namespace()?;
        for directory in [AVAHI_SERVICES, AVAHI_RUN] {
            fs::create_dir_all(directory).with_context(|| format!("cannot create {directory}"))?;
        }
        let services = workspace.services();
        setup::run_captured(
            Command::new("mount")
                .arg("--bind")
                .args([&*services, Path::new(AVAHI_SERVICES)]),
        )?;
        mounts::mount("tmpfs", "mode=755", Path::new(AVAHI_RUN))?;
        Ok(workspace)
    }

    /// Directory of the service files that both responders announce.
    pub fn services(&self) -> PathBuf {
        self.directory.path().join("services")
    }

    /// Path of avahi's configuration file.
    pub fn avahi_config(&self) -> PathBuf {
        self.directory.path().join("avahi.conf")
    }

    /// Working directory of the responders.
    pub fn path(&self) -> &Path {
        self.directory.path()
    }
}

/// A link with two hosts: a responder and a querier.
pub struct Link {
    pub responder: Namespace,
    neighbour: Namespace,
}

impl Link {
    /// Creates the two network namespaces and the link between them, and sets the link up.
    pub fn new() -> Result<Self> {
        let (responder, neighbour) = Namespace::pair()?;
        let b = neighbour.name();
        ip(&format!("-n {b} route add 224.0.0.0/4 dev eth0"))?;
        Ok(Self {
            responder,
            neighbour,
        })
    }

    /// A querier at port 5353 that has joined the multicast group.
    pub fn mdns_querier(&self) -> Result<Querier> {
        self.neighbour.run(|| Querier::with_mdns_port(NEIGHBOUR))
    }

    /// A one-shot querier (RFC 6762 section 5.1) at another port, which responders answer by unicast.
    pub fn one_shot_querier(&self) -> Result<Querier> {
        self.neighbour.run(|| Querier::one_shot(NEIGHBOUR))
    }
}
