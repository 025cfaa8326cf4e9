//! The arguments of `mdns`: what is announced, and where.

use super::super::flags::Flags;
use super::super::{Status, refuse};
use super::files::advice;
use crate::sys::start::Args;
use crate::text::{Text, text};
use crate::wire::announce::{self, Draft, Flaw};
use crate::wire::label;
use core::ffi::CStr;

/// Services on the command line.
const SERVICE_COUNT_MAX: usize = 32;
/// Interfaces on the command line.
const INTERFACE_COUNT_MAX: usize = 8;

/// In the order of [`Options::set`].
pub(in super::super) const FLAGS: Flags = Flags {
    names: b"--identify --workstation --name --service --services --vms --hwid --interface --log",
    bare_count: 2,
    wanted: WANTED,
    help: super::HELP,
    more: None,
};

// The numbers that the text below names.
const _: () = assert!(SERVICE_COUNT_MAX == 32 && INTERFACE_COUNT_MAX == 8);

/// What the others take.
const WANTED: Text = Text::row(&[
    "name a host: 1 to 63 bytes without dots",
    "name a service: NAME,TYPE,PORT[,KEY=VALUE ...], 32 at most",
    "name a directory",
    "name a directory",
    "name a machine: VENDOR,PRODUCT[,SERIAL[,UUID]]",
    "name an interface, such as eth0; 8 at most",
    "name a file",
]);

/// What the arguments ask for.
#[derive(Default)]
pub(in super::super) struct Options {
    pub(super) name: &'static [u8],
    /// As they are written; they are known to be right.
    pub(super) services: heapless::Vec<&'static [u8], SERVICE_COUNT_MAX>,
    pub(super) files: Option<&'static CStr>,
    pub(super) machines: Option<&'static CStr>,
    pub(super) hardware: &'static [u8],
    pub(super) interfaces: heapless::Vec<&'static [u8], INTERFACE_COUNT_MAX>,
    pub(super) log: Option<&'static CStr>,
    pub(super) identifies: bool,
    pub(super) is_workstation: bool,
}

impl Options {
    /// Reads the arguments. The error is what to exit with, be it that they are wrong or that they ask for help.
    pub(super) fn read(&mut self, args: Args) -> Result<(), Status> {
        FLAGS.read(args, &mut |place, value| self.set(place, value))?;
        self.check()
    }

    /// Whether the services are what they must be.
    pub(in super::super) fn check(&self) -> Result<(), Status> {
        for service in &self.services {
            check(service)?;
        }
        Ok(())
    }

    /// Takes the value of the flag at `place`; `None`: it is not what the flag takes.
    pub(in super::super) fn set(&mut self, place: usize, value: &'static CStr) -> Option<()> {
        let text = value.to_bytes();
        match place {
            0 => self.identifies = true,
            1 => self.is_workstation = true,
            _ if text.is_empty() => return None,
            2 => {
                let is_label = text.len() <= label::BYTES_MAX
                    && label::is_clean(text)
                    && !text.contains(&b'.');
                self.name = is_label.then_some(text)?;
            }
            3 => self.services.push(text).ok()?,
            4 => self.files = Some(value),
            5 => self.machines = Some(value),
            6 => {
                super::identity::Identity::parse(text)?;
                self.hardware = text;
            }
            7 => self.interfaces.push(text).ok()?,
            _ => self.log = Some(value),
        }
        Some(())
    }
}

/// Whether a service is written as it must be.
fn check(service: &[u8]) -> Result<(), Status> {
    let mut room = [0; announce::ROOM_BYTES];
    match announce::parse_line(service, &mut Draft::new(&mut room)) {
        Ok(_) => Ok(()),
        // Fewer parts than there must be.
        Err(Flaw::Form) => Err(refuse(b"--service", service, text!(SERVICE))),
        Err(flaw) => Err(refuse(b"--service", service, advice(flaw))),
    }
}

const SERVICE: &str = "name a service: NAME,TYPE,PORT[,KEY=VALUE ...], 32 at most";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn arguments_are_what_they_must_be() {
        let mut options = Options::default();
        let long = c"xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx";
        for (place, value, expect) in [
            (2, c"box", true),
            (2, c"", false),
            (2, c"a.b", false),
            (2, c"a\tb", false),
            (2, long, false),
            (6, c"Maker,Thing", true),
            (6, c"Maker", false),
            (7, c"eth0", true),
        ] {
            let taken = options.set(place, value);
            assert_eq!(taken.is_some(), expect, "{place} {value:?}");
        }
        for (service, expect) in [
            ("Files,_sftp-ssh._tcp,22", true),
            ("Files,_sftp-ssh._tcp,22,u=me,path=/srv", true),
            ("Files,sftp,22", false),
            ("Files,_sftp-ssh._tcp", false),
            ("Files,_sftp-ssh._tcp,70000", false),
            (",_sftp-ssh._tcp,22", false),
        ] {
            assert_eq!(check(service.as_bytes()).is_ok(), expect, "{service}");
        }
        let text = format!("a,_x._tcp,1,k={}", "v".repeat(254));
        assert!(check(text.as_bytes()).is_err());
    }
}
