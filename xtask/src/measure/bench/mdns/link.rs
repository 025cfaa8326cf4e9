//! The ground that responders stand on: mounts of our own with the services that both announce, and a link for each.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, Result};
use tempfile::TempDir;

use crate::clients::dns::Asker;
use crate::machines::mounts;
use crate::machines::server::{Namespace, ip};
use crate::setup;
use std::net::Ipv4Addr;

/// The responder's address on its link.
pub const RESPONDER: Ipv4Addr = Ipv4Addr::new(192, 0, 2, 1);
/// Its neighbour's.
const NEIGHBOUR: Ipv4Addr = Ipv4Addr::new(192, 0, 2, 2);
/// What the host is called.
pub const HOST: &str = "box";
/// The type of all its services.
pub const TYPE: &str = "_http._tcp";
/// How many it has.
pub const INSTANCE_COUNT: usize = 10;

/// Where avahi looks for services.
const AVAHI_SERVICES: &str = "/etc/avahi/services";
/// Where it leaves its number.
const AVAHI_RUN: &str = "/run/avahi-daemon";

/// Mounts that nobody else sees; they end with this process.
pub struct Ground {
    directory: TempDir,
}

impl Ground {
    /// Leaves the machine's mounts for ones of our own.
    pub fn new() -> Result<Self> {
        let ground = Self {
            directory: TempDir::new().context("cannot make a directory")?,
        };
        fs::create_dir(ground.services())?;
        for number in 0..INSTANCE_COUNT {
            let service = format!(
                "<service-group>\n<name>service {number}</name>\n<service><type>{TYPE}</type><port>80</port>\
                 <txt-record>path=/</txt-record></service>\n</service-group>\n"
            );
            fs::write(ground.services().join(format!("{number}.service")), service)?;
        }
        // No bus: it would only make it slower and larger.
        fs::write(
            ground.avahi_config(),
            format!(
                "[server]\nhost-name={HOST}\nuse-ipv4=yes\nuse-ipv6=yes\nratelimit-interval-usec=0\nenable-dbus=no\n\
                 [publish]\npublish-hinfo=no\npublish-workstation=no\n"
            ),
        )?;
        mounts::leave()?;
        for place in [AVAHI_SERVICES, AVAHI_RUN] {
            fs::create_dir_all(place).with_context(|| format!("cannot make {place}"))?;
        }
        let services = ground.services();
        setup::quietly(
            Command::new("mount")
                .arg("--bind")
                .args([&*services, Path::new(AVAHI_SERVICES)]),
        )?;
        mounts::mount("tmpfs", "mode=755", Path::new(AVAHI_RUN))?;
        Ok(ground)
    }

    /// What both announce.
    pub fn services(&self) -> PathBuf {
        self.directory.path().join("services")
    }

    /// How avahi is told all else.
    pub fn avahi_config(&self) -> PathBuf {
        self.directory.path().join("avahi.conf")
    }

    /// Somewhere.
    pub fn path(&self) -> &Path {
        self.directory.path()
    }
}

/// Two hosts with nobody else.
pub struct Link {
    pub responder: Namespace,
    neighbour: Namespace,
}

impl Link {
    /// Makes one that is up.
    pub fn new() -> Result<Self> {
        let (responder, neighbour) = Namespace::pair()?;
        let b = neighbour.name();
        ip(&format!("-n {b} route add 224.0.0.0/4 dev eth0"))?;
        Ok(Self {
            responder,
            neighbour,
        })
    }

    /// A neighbour that knows multicast DNS.
    pub fn member(&self) -> Result<Asker> {
        self.neighbour.run(|| Asker::member(NEIGHBOUR))
    }

    /// A neighbour that does not.
    pub fn stranger(&self) -> Result<Asker> {
        self.neighbour.run(|| Asker::stranger(NEIGHBOUR))
    }
}
