//! The arguments of `mdns`: names, services, hardware, and interfaces.

use super::super::args::{host_label, ttl};
use super::super::flags::{Flags, flags};
use super::super::log::LogOptions;
use super::super::{Fatal, network, refuse};
use crate::config::LINK_COUNT_MAX;
use crate::drive::platform::network::Network;
use crate::engine::mdns::{ALIAS_COUNT_MAX, family};
use crate::mem;
use crate::os::hardware::HardwareId;
use crate::services::announce::files::{self, advice};
use crate::sys::Args;
use crate::text::text;
use crate::wire::announce::{self, Draft, Service, host_labels};
use core::ffi::CStr;

/// Limit of `--service` options.
const SERVICE_COUNT_MAX: usize = 32;
/// Limit of `--vms` options.
pub(super) const DIRECTORY_COUNT_MAX: usize = 8;

flags! {
    pub(in super::super) enum Flag of Mdns {
        Identify { long: text!("--identify") },
        Workstation { long: text!("--workstation") },
        NoHost { long: text!("--no-host") },
        NoReverse { long: text!("--no-reverse") },
        Ipv4 { short: Some(b'4') },
        Ipv6 { short: Some(b'6') },
        Name { long: text!("--name"), takes: Value(text!("host name: 1 to 63 bytes without dots")) },
        Service { long: text!("--service"), takes: Value(text!("service: NAME,TYPE,PORT[,KEY=VALUE ...], 32 at most")) },
        Services { long: text!("--services"), takes: Path(text!("directory: a path; 8 at most")) },
        Vms { long: text!("--vms"), takes: Path(text!("directory: a path; 8 at most")) },
        Hwid { long: text!("--hwid"), takes: Value(text!("machine: VENDOR,PRODUCT[,SERIAL[,UUID]]")) },
        Alias { long: text!("--alias"), takes: Value(text!("host name: such as www or www.local; 8 at most")) },
        Hosts { long: text!("--hosts"), takes: Path(text!("file: a path")) },
        Ttl { long: text!("--ttl"), takes: Value(text!("number of seconds: from 1 to 86400")) },
        Deny { long: text!("--deny"), takes: Value(text!("interface: such as eth0; 64 at most")) },
        Interface { long: text!("--interface"), takes: Value(text!("interface: such as eth0; 64 at most")) },
        LogLevel { long: text!("--log-level"), takes: Value(text!("level: one of error, warn, info, debug")) },
        #[cfg(feature = "serve")] {
            LogFormat { long: text!("--log-format"), takes: Value(text!("format: one of text, json")) },
        }
    }
}

/// The table of these flags and those of the network stack.
pub(in super::super) const FLAGS: Flags = network::with(Flags::of(Flag::ROWS, super::HELP));

// The messages of the flags name these limits.
const _: () = assert!(SERVICE_COUNT_MAX == 32 && LINK_COUNT_MAX == 64 && ALIAS_COUNT_MAX == 8);

/// The parsed arguments.
#[derive(Default)]
#[repr(C)] // Largest field last: the others have short offsets.
pub(in super::super) struct Options {
    pub(in super::super) name: &'static [u8],
    pub(super) identifies: bool,
    pub(super) is_workstation: bool,
    /// True with `--no-host`: does not announce the host's addresses.
    pub(super) omits_host: bool,
    /// True with `--no-reverse`: does not announce reverse mappings (PTR records).
    pub(super) omits_reverse: bool,
    /// Address families to use, bits of [`family`]; 0: both.
    pub(super) families: u8,
    /// TTL of `--ttl` (seconds); 0: as usual.
    pub(super) service_ttl: u32,
    pub(super) hosts: Option<&'static CStr>,
    /// The level and the format of messages.
    pub(super) log: LogOptions,
    pub(super) files: files::Paths,
    pub(super) machines: heapless::Vec<&'static CStr, DIRECTORY_COUNT_MAX>,
    pub(super) interfaces: heapless::Vec<&'static [u8], LINK_COUNT_MAX>,
    pub(super) denied: heapless::Vec<&'static [u8], LINK_COUNT_MAX>,
    /// Names of `--alias`, without `.local`.
    pub(super) aliases: heapless::Vec<&'static [u8], ALIAS_COUNT_MAX>,
    /// Values of `--service`, unparsed.
    pub(super) services: heapless::Vec<&'static [u8], SERVICE_COUNT_MAX>,
    pub(super) hardware: HardwareId,
}

impl Options {
    /// Allocates the default options. The memory is never freed.
    pub(in super::super) fn none() -> &'static mut Self {
        mem::leak(Self::default())
    }

    /// Parses the arguments and returns the network that they select.
    ///
    /// # Errors
    /// The exit status: wrong arguments (reported), or help was printed.
    pub(super) fn read(&mut self, args: Args) -> Result<Network, Fatal> {
        let network = network::read(&FLAGS, args, &mut |given| {
            self.set(Flag::of(given.flag)?, given.value)
        })?;
        Ok(network.named(self.name))
    }

    /// Parses the values of `--service` and reports the first wrong one.
    pub(in super::super) fn check(&self) -> Result<(), Fatal> {
        let mut buffer = [0; announce::ROOM_BYTES];
        let mut draft = Draft::new(&mut buffer);
        for service in &self.services {
            read_service(service, &mut draft, &mut |_| {})?;
        }
        Ok(())
    }

    /// Sets the option of a flag. Returns `None` if the value is wrong.
    pub(in super::super) fn set(&mut self, flag: Flag, value: &'static CStr) -> Option<()> {
        let text = value.to_bytes();
        match flag {
            Flag::Identify => self.identifies = true,
            Flag::Workstation => self.is_workstation = true,
            Flag::NoHost => self.omits_host = true,
            Flag::NoReverse => self.omits_reverse = true,
            Flag::Ipv4 => self.families |= family::IPV4,
            Flag::Ipv6 => self.families |= family::IPV6,
            _ if text.is_empty() => return None,
            Flag::LogLevel => self.log.set_level(text)?,
            Flag::LogFormat => self.log.set_format(text)?,
            Flag::Name => self.name = host_label(text)?,
            Flag::Service => self.services.push(text).ok()?,
            Flag::Services => files::push(&mut self.files, value)?,
            Flag::Vms => self.machines.push(value).ok()?,
            Flag::Hwid => return self.hardware.parse(text),
            Flag::Alias => self.aliases.push(host_labels(text)?).ok()?,
            Flag::Hosts => self.hosts = Some(value),
            Flag::Ttl => self.service_ttl = ttl(text)?,
            Flag::Deny => self.denied.push(text).ok()?,
            Flag::Interface => self.interfaces.push(text).ok()?,
        }
        Some(())
    }
}

/// Parses a value of `--service` and passes the service to `each`. Reports a wrong value.
pub(super) fn read_service(
    service: &[u8],
    draft: &mut Draft<'_>,
    each: &mut dyn FnMut(&Service<'_>),
) -> Result<(), Fatal> {
    announce::parse_line(service, draft, each)
        .map_err(|flaw| refuse(b"--service", service, advice(flaw)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::role::USAGE;

    fn check(service: &str) -> Result<(), Fatal> {
        let mut buffer = [0; announce::ROOM_BYTES];
        read_service(
            service.as_bytes(),
            &mut Draft::new(&mut buffer),
            &mut |_| {},
        )
    }

    #[test]
    fn wrong_values_are_rejected() {
        let mut options = Options::default();
        let long = c"xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx";
        for (flag, value, expect) in [
            (Flag::Name, c"box", true),
            (Flag::Name, c"", false),
            (Flag::Name, c"a.b", false),
            (Flag::Name, c"a\tb", false),
            (Flag::Name, long, false),
            (Flag::Hwid, c"Maker,Thing", true),
            (Flag::Hwid, c"Maker", false),
            (Flag::Interface, c"eth0", true),
        ] {
            let result = options.set(flag, value);
            assert_eq!(result.is_some(), expect, "{flag:?} {value:?}");
        }
        for (service, expect) in [
            ("Files,_sftp-ssh._tcp,22", true),
            ("Files,_sftp-ssh._tcp,22,u=me,path=/srv", true),
            ("Files,sftp,22", false),
            ("Files,_sftp-ssh._tcp", false),
            ("Files,_sftp-ssh._tcp,70000", false),
            (",_sftp-ssh._tcp,22", false),
        ] {
            assert_eq!(
                check(service),
                if expect { Ok(()) } else { Err(USAGE) },
                "{service}"
            );
        }
        for (name, value, expect) in [
            (63, 253, Ok(())),
            (64, 253, Err(USAGE)),
            (63, 254, Err(USAGE)),
        ] {
            let (name, value) = ("n".repeat(name), "v".repeat(value));
            assert_eq!(check(&format!("{name},_x._tcp,1,k={value}")), expect);
        }
    }
}
