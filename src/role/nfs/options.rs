//! The arguments of `nfs`: exports, addresses, ports and handles.

use super::super::args::{host, port};
use super::super::flags::{Flags, flags};
use super::super::{DONE, Fatal, USAGE, complain, network};
use super::background::Background;
use super::versions::Versions;
use crate::config::NFS_PORT;
use crate::drive::platform::host::loops::SharedState;
use crate::drive::platform::network::Network;
use crate::exports::{Mounting, Wanted};
use crate::os;
use crate::sys::{self, Args};
use crate::text::{Text, text};
use crate::vfs::Form;
use core::cell::Cell;
use core::ffi::CStr;
use core::net::{Ipv6Addr, SocketAddrV6};

flags! {
    pub(in super::super) enum Flag of Nfs {
        NoPortmap { short: Some(b'p') },
        Test { short: Some(b'T') },
        AnyPort { short: Some(b'u') },
        NoDatagrams { short: Some(b't') },
        SingleUser { short: Some(b's') },
        IgnoredB { short: Some(b'b') },
        IgnoredC { short: Some(b'c') },
        IgnoredR { short: Some(b'r') },
        IgnoredW { short: Some(b'w') },
        Port { short: Some(b'n'), takes: Value(text!("port: a number below 65536")) },
        MountPort { short: Some(b'm'), takes: Value(text!("port: a number below 65536")) },
        Address { short: Some(b'l'), takes: Value(text!("address: numeric or localhost, such as 192.0.2.1 or 2001:db8::1, not the name of an interface")) },
        Handles { long: text!("--handles"), takes: Value(text!("handles: one of kernel, path")) },
        KeyFile { long: text!("--key-file"), takes: Path(text!("file: a path")) },
        StateDir { long: text!("--state-dir"), takes: Path(text!("directory: a path")) },
        Trace { long: text!("--trace"), takes: Path(text!("file: a path")) },
        LogLevel { long: text!("--log-level"), takes: Value(text!("level: one of error, warn, info, debug")) },
        ClusterPath { short: Some(b'C'), takes: Value(text!("path: any")) },
        File { short: Some(b'e'), takes: Path(text!("file of exports: a path; see exports(5)")) },
        Export { long: text!("--export"), takes: Operand(text!("export: DIR[:OPTION,...] without .. and below 1024 bytes; see --help")) },
        #[cfg(feature = "serve")] {
            Foreground { short: Some(b'd') },
            Daemon { short: Some(b'D') },
            ManageGids { long: text!("--manage-gids") },
            LogFormat { long: text!("--log-format"), takes: Value(text!("format: one of text, json")) },
            Log { long: text!("--log"), takes: Value(text!("log: a path below 250 bytes, syslog, or syslog:ADDRESS[:PORT]")) },
            PidFile { short: Some(b'i'), takes: Path(text!("file: a path")) },
        }
        #[cfg(any(feature = "nfs4", test))] {
            NfsVersions { long: text!("--nfs-versions"), takes: Value(text!("versions: one of 3, 4.1, 3,4.1")) },
        }
        #[cfg(feature = "boot")] {
            Isos { long: text!("--isos"), takes: Value(text!("export: DIR[:OPTION,...] without .. and below 1024 bytes; see --help")) },
        }
    }
}

/// The table of these flags and those of the network stack.
pub(in super::super) const FLAGS: Flags = network::with(Flags {
    foreign: &[
        (text!("--port"), text!("-n")),
        (text!("--bind"), text!("-l")),
        (text!("--listen"), text!("-l")),
        (text!("--address"), text!("-l")),
        (text!("--config"), text!("-e")),
        (text!("-o"), text!("DIR:OPTION,...")),
        (text!("-v"), text!("--version")),
    ],
    ..Flags::of(Flag::ROWS, super::HELP)
});

/// The parsed arguments.
#[repr(C)] // Largest field last: the others have short offsets.
pub(in super::super) struct Options {
    /// Address and port of NFS; an IPv4 address is IPv4-mapped.
    pub(in super::super) address: SocketAddrV6,
    pub(super) mount_port: Option<u16>,
    pub(super) portmap: bool,
    pub(super) versions: Versions,
    pub(super) trace: Option<&'static CStr>,
    pub(in super::super) background: Background,
    /// True if MOUNT is not served over UDP (`-t`).
    pub(super) has_no_datagrams: bool,
    /// True if an option of unfsd was given that has no effect here.
    is_for_unfsd: bool,
    /// True under `init`: another process sets the address, and reports the commands that mount the exports.
    pub(in super::super) leaves_commands: bool,
    /// True if the exports are only checked (`-T`).
    pub(in super::super) tests: bool,
    /// Under `serve`, memory that outlives the server and is shared by all NFS processes. `None`: not under `serve`, or mmap
    /// failed.
    pub(in super::super) shared: Cell<Option<SharedState>>,
    /// The exports, and how they are opened.
    pub(in super::super) exports: Wanted,
}

impl Default for Options {
    #[inline(never)] // −233 bytes: three callers.
    fn default() -> Self {
        Self {
            exports: Wanted::default(),
            shared: Cell::default(),
            address: SocketAddrV6::new(Ipv6Addr::UNSPECIFIED, NFS_PORT, 0, 0),
            mount_port: None,
            portmap: true,
            versions: Versions::default(),
            trace: None,
            background: Background::default(),
            has_no_datagrams: false,
            is_for_unfsd: false,
            leaves_commands: false,
            tests: false,
        }
    }
}

impl Options {
    /// Parses the arguments and returns the network that they select.
    ///
    /// # Errors
    /// The exit status: wrong arguments (reported), or help was printed.
    pub(in super::super) fn read(&mut self, args: Args) -> Result<Network, Fatal> {
        self.exports.list.reserve(args.remaining_count());
        let network = network::read(&FLAGS, args, &mut |given| {
            self.set(Flag::of(given.flag)?, given.value)
        })?;
        self.exports.check()?;
        if self.is_for_unfsd {
            let why = text!("-b, -C, -c, -r and -w of unfsd are accepted for its scripts");
            complain(DONE, text!("options without effect"), b"", why);
        }
        Ok(network)
    }

    /// Fails if a person at a terminal names a directory that does not exist, unless the server leaves the terminal.
    ///
    /// # Errors
    /// Exit status 1; the directory is reported.
    pub(in super::super) fn check_directories(&self) -> Result<(), Fatal> {
        match self.background.detaches() || !os::is_attended() {
            true => Ok(()),
            false => self.exports.check_directories(),
        }
    }

    /// The address and the ports by which clients mount the exports.
    pub(in super::super) fn mounting(&self) -> Mounting {
        Mounting {
            nfs_at: self.address,
            mount_port: self
                .versions
                .has_3()
                .then(|| self.mount_port.unwrap_or(self.address.port())),
            has_4: self.versions.has_4(),
            has_portmap: self.portmap,
        }
    }

    /// Calls `access` with the shared state, if any, and returns the result.
    pub(in super::super) fn with_shared<T>(
        &self,
        access: impl FnOnce(&mut SharedState) -> T,
    ) -> Option<T> {
        let mut shared = self.shared.take();
        let result = shared.as_mut().map(access);
        self.shared.set(shared);
        result
    }

    /// Sets the option of a flag. Returns `None` if the value is wrong.
    pub(in super::super) fn set(&mut self, flag: Flag, value: &'static CStr) -> Option<()> {
        let text = value.to_bytes();
        match flag {
            Flag::NoPortmap => self.portmap = false,
            Flag::Test => self.tests = true,
            Flag::AnyPort => {
                self.address.set_port(0);
                self.mount_port = None;
            }
            Flag::NoDatagrams => self.has_no_datagrams = true,
            Flag::SingleUser => self.exports.is_single_user = true,
            Flag::IgnoredB
            | Flag::IgnoredC
            | Flag::IgnoredR
            | Flag::IgnoredW
            | Flag::ClusterPath => self.is_for_unfsd = true,
            Flag::Foreground => self.background.detaches = false,
            Flag::Daemon => self.background.detaches = true,
            Flag::ManageGids => self.exports.manages_groups = true,
            _ if text.is_empty() => return None,
            Flag::Port => self.address.set_port(port(text)?),
            Flag::MountPort => self.mount_port = Some(port(text)?),
            Flag::Address => {
                let inside = text
                    .strip_prefix(b"[")
                    .and_then(|text| text.strip_suffix(b"]"));
                self.address.set_ip(host(inside.unwrap_or(text))?);
            }
            Flag::Handles => {
                self.exports.form = Some(match text {
                    b"path" => Form::Path,
                    b"kernel" => Form::Kernel,
                    _ => return None,
                })
            }
            Flag::KeyFile => self.exports.key_file = Some(value),
            Flag::StateDir => self.exports.state_dir = Some(value),
            Flag::Trace => self.trace = Some(value),
            Flag::NfsVersions => self.versions.set(text)?,
            Flag::LogLevel => self.background.log_options.set_level(text)?,
            Flag::LogFormat => self.background.log_options.set_format(text)?,
            Flag::Log => self.background.log = Some(super::background::log(value)?),
            Flag::PidFile => self.background.pid_file = Some(value),
            Flag::Export => {
                if port(text).is_some() {
                    refuse_port(value, text!("a port is no directory; write -n"));
                }
                self.exports.add(text)?;
            }
            Flag::Isos => self.exports.add_images(text)?,
            Flag::File => self.exports.file = Some(value),
        }
        Some(())
    }
}

/// Ends the program with exit status 2 if there is no directory `operand`, which can be a port: other servers take the port as an
/// operand. `advice` ends with the flag that is meant.
pub(in super::super) fn refuse_port(operand: &CStr, advice: Text) {
    if !os::files::exists(operand) {
        sys::exit(complain(USAGE, advice, operand.to_bytes(), Text::NOTHING) as i32)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::exports::ExportArgument;
    use crate::vfs::Rules;

    #[test]
    fn isos_flag_enters_images() {
        let mut options = Options::default();
        options.set(Flag::Isos, c"/srv:fsid=7").unwrap();
        options.set(Flag::Export, c"/srv/x").unwrap();
        let rules = |wanted: &ExportArgument| -> Rules { wanted.rules };
        let all = options.exports.list.iter();
        let parsed: Vec<_> = all
            .map(|wanted| (rules(wanted).has(Rules::ISOS), rules(wanted).fsid))
            .collect();
        assert_eq!(parsed, [(true, Some(7)), (false, None)]);
        assert!(options.set(Flag::Isos, c"").is_none());
    }
}
