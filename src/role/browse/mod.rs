//! `browse`: prints the services announced by other hosts. Flags and output as avahi-browse(1). RFC 6763 section 4.
//!
//! Names and texts from the network are escaped before they are printed.

use super::args::digits;
use super::flags::{Flags, flags};
use super::{DONE, FAILED, Fatal, complain, network, refuse, refuse_usage, refuse_value};
use crate::console::terminal::Out;
use crate::drive::endpoint::Choice;
use crate::engine::mdns::browser::{Event, EventKind, Goal, Lookup};
use crate::engine::mdns::{LinkSet, family};
use crate::mem::Ends as _;
use crate::os::exec::PROCESS_COUNT_MAX;
use crate::services::browse::exec::Runner;
use crate::services::browse::keep::Keep;
use crate::services::browse::line::{self, Form};
use crate::services::browse::{self, Finder, Interfaces, Links};
use crate::sys::Args;
use crate::text::{Text, text};
use crate::time::Instant;
use crate::wire::announce::is_kind;
use crate::wire::dns::{NAME_BYTES_MAX, Name};
use crate::wire::label::{is_local, without_dot};
use core::ffi::CStr;

/// The line of `stowaway --help`.
pub(super) const SUMMARY: Text =
    text!("  browse TYPE | -a\tprints the services announced on the networks\n");
const HELP: &[Text] = &[
    text!(include_str!("help.txt")),
    super::network::HELP,
    text!("\nTYPE is a type, such as _sftp-ssh._tcp, or a subtype: _x._sub._http._tcp\n"),
];

flags! {
    pub(super) enum Flag of Browse {
        All { short: Some(b'a'), long: text!("--all") },
        Types { long: text!("--types") },
        Database { short: Some(b'b'), long: text!("--dump-db") },
        Domains { short: Some(b'D'), long: text!("--browse-domains") },
        Resolve { short: Some(b'r'), long: text!("--resolve") },
        Terminate { short: Some(b't'), long: text!("--terminate") },
        Parsable { short: Some(b'p'), long: text!("--parsable") },
        IgnoreLocal { short: Some(b'l'), long: text!("--ignore-local") },
        NoLookup { short: Some(b'k'), long: text!("--no-db-lookup") },
        Verbose { short: Some(b'v'), long: text!("--verbose") },
        Cache { short: Some(b'c'), long: text!("--cache") },
        NoFail { short: Some(b'f'), long: text!("--no-fail") },
        Json { long: text!("--json") },
        Once { long: text!("--once") },
        Ipv4 { short: Some(b'4') },
        Ipv6 { short: Some(b'6') },
        Domain { short: Some(b'd'), long: text!("--domain"), takes: Value(text!("domain: only local is supported")) },
        Interface { long: text!("--interface"), takes: Value(text!("interface: such as eth0; 64 at most")) },
        Exec { long: text!("--exec"), takes: Value(text!("program: its path")) },
        Jobs { long: text!("--jobs"), takes: Value(text!("number: from 1 to 64")) },
        Keep { long: text!("--keep"), takes: Value(text!("file: a path")) },
        Argument { takes: Operand(text!("type: one, such as _ssh._tcp or _printer._sub._http._tcp")) },
    }
}

pub(super) const FLAGS: Flags = network::with(Flags::of(Flag::ROWS, HELP));

/// The parsed arguments.
#[derive(Default)]
#[repr(C)] // Largest field last: the others have short offsets.
struct Options {
    /// A type or subtype. Empty: `goal` is set instead.
    kind: &'static [u8],
    /// Set by `-a` and `--types`. `None`: services of the type `kind`.
    goal: Option<Goal>,
    resolves: bool,
    /// True with `-t` or `-c`: exits when all hosts should have answered.
    terminates: bool,
    /// True with `-b`: only lists the known types.
    lists_kinds: bool,
    /// True with `-D`: only lists the browsing domains, which are `local`.
    lists_domains: bool,
    /// True with `-k`: prints types, not their names.
    is_plain: bool,
    form: Form,
    /// True with `-l`: ignores services of this host.
    ignores_local: bool,
    /// True with `--once`: reports each service on one interface and in one family.
    reports_once: bool,
    /// Address families to use, bits of [`family`]; 0: both.
    families: u8,
    /// Program of `--exec`.
    program: Option<&'static CStr>,
    /// Limit of programs that run at a time; 0: one.
    job_count_max: usize,
    /// File of `--keep`.
    file: Option<&'static CStr>,
    interfaces: Interfaces,
}

// The message of `--jobs` names this limit.
const _: () = assert!(PROCESS_COUNT_MAX == 64);

impl Options {
    fn set(&mut self, flag: Flag, word: &'static CStr) -> Option<()> {
        let value = word.to_bytes();
        match flag {
            Flag::All => self.goal = Some(Goal::Everything),
            Flag::Types => self.goal = Some(Goal::Types),
            Flag::Database => self.lists_kinds = true,
            Flag::Domains => self.lists_domains = true,
            Flag::Resolve => self.resolves = true,
            // `-c` prints avahi-daemon's cache and exits. Without a daemon, the other hosts are queried instead.
            Flag::Terminate | Flag::Cache => self.terminates = true,
            Flag::Parsable => self.form = Form::Fields,
            Flag::IgnoreLocal => self.ignores_local = true,
            Flag::Json => self.form = Form::Json,
            Flag::Once => self.reports_once = true,
            Flag::Ipv4 => self.families |= family::IPV4,
            Flag::Ipv6 => self.families |= family::IPV6,
            Flag::Domain => return is_local(value).then_some(()),
            Flag::NoLookup => self.is_plain = true,
            Flag::Verbose | Flag::NoFail => {}
            _ if value.is_empty() => return None,
            Flag::Interface => self.interfaces.push(value).ok()?,
            Flag::Exec => (self.program, self.resolves) = (Some(word), true),
            Flag::Jobs => {
                let count = digits(value, 10)? as usize;
                self.job_count_max = (1..=PROCESS_COUNT_MAX).contains(&count).then_some(count)?;
            }
            Flag::Keep => (self.file, self.resolves) = (Some(word), true),
            Flag::Argument => {
                let value = without_dot(value);
                let is_first = self.kind.is_empty() && is_kind(type_of(value));
                self.kind = is_first.then_some(value)?;
            }
        }
        Some(())
    }
}

/// Prints events until SIGTERM or SIGINT; with `-t`, until all hosts should have answered.
pub(super) fn run(args: Args) -> Result<(), Fatal> {
    let mut options = Options::default();
    let network = network::read(&FLAGS, args, &mut |given| {
        options.set(Flag::of(given.flag)?, given.value)
    })?;
    if options.lists_domains {
        line::put_domain(&mut Out::allocate(), options.form);
        return Err(DONE);
    }
    if options.lists_kinds {
        line::put_kinds(&mut Out::allocate(), None, options.is_plain);
        return Err(DONE);
    }
    let (goal, kind) = match (options.goal, options.kind) {
        (None, b"") => {
            let what = text!("a type, or -a, is missing");
            return Err(refuse_usage(what, b"", Text::NOTHING));
        }
        (Some(goal), b"") => (goal, &b"_services._dns-sd._udp"[..]),
        (None, kind) => (Goal::Services, kind),
        (Some(_), kind) => return Err(refuse(b"-a", kind, text!("either a type or -a"))),
    };
    let mut buffer = [0; NAME_BYTES_MAX];
    if browse::in_local(kind, &mut buffer).is_none() {
        return Err(refuse_value(
            b"",
            kind,
            text!("type: one, such as _ssh._tcp or _printer._sub._http._tcp"),
        ));
    }
    let keep = options.file.map(Keep::read).transpose()?;
    let runner = |program| Runner::new(program, options.job_count_max.max(1));
    let runner = options.program.map(runner).transpose()?;
    let mut lookup = core::iter::once(Lookup {
        goal,
        name: Name::of(&buffer),
        links: LinkSet::ALL,
        resolves: options.resolves,
        families: 3,
    });
    let mut printer = Printer {
        out: Out::allocate(),
        now: Instant::default(),
        runner,
        keep,
        end: None,
        options: &options,
    };
    printer.out.is_json = options.form == Form::Json;
    printer.out.has_scopes = options.reports_once;
    let runs = printer.runner.is_some();
    browse::run(
        &network,
        &mut printer,
        Choice {
            names: &options.interfaces,
            families: options.families,
            ..Choice::default()
        },
        &mut lookup,
        runs,
        options.reports_once,
    )
}

/// Reports that no query was sent. Returns exit status 1.
#[cold]
fn no_interface() -> Fatal {
    complain(FAILED, text!("no interface is up"), b"", Text::NOTHING)
}

/// Returns the type of a subtype: the last two labels.
fn type_of(kind: &[u8]) -> &[u8] {
    let dots = || kind.iter().enumerate().filter(|(_, byte)| **byte == b'.');
    match dots().rev().nth(1) {
        Some((index, _)) => kind.tail(index + 1),
        None => kind,
    }
}

/// Handles events: prints them, stores them (`--keep`) and runs the program (`--exec`).
#[repr(C)] // Largest field last: the others have short offsets.
struct Printer<'a> {
    out: Out,
    now: Instant,
    options: &'a Options,
    /// Exit status once the role is to end, as soon as no program runs.
    end: Option<Fatal>,
    keep: Option<Keep>,
    runner: Option<Runner>,
}

impl Finder for Printer<'_> {
    fn is_ready(&mut self, now: Instant) -> Result<bool, Fatal> {
        self.now = now;
        if let Some(keep) = &mut self.keep {
            keep.save_if_due(now);
        }
        let (mut is_ready, mut is_idle) = (true, true);
        if let Some(runner) = &mut self.runner {
            is_ready = runner.is_ready(now, &self.out);
            is_idle = runner.is_idle();
        }
        match self.end {
            Some(status) if is_idle => Err(status),
            end => Ok(is_ready && end.is_none()),
        }
    }

    fn handle_event(&mut self, links: &Links, event: &Event<'_>) -> bool {
        let (options, out) = (self.options, &mut self.out);
        if event.kind == EventKind::AllForNow {
            if let Some(keep) = &self.keep {
                keep.print_lost(options.form, out, links, type_of(options.kind));
            }
            if options.terminates {
                let has_searched = links.have_been_up();
                self.end = Some(if has_searched { DONE } else { no_interface() });
            }
            return true;
        }
        let is_ignored = options.ignores_local && event.is_own;
        let is_wanted = event.kind != EventKind::Type || options.goal == Some(Goal::Types);
        if is_ignored || !is_wanted {
            return true;
        }
        if event.kind == EventKind::Unresolved {
            line::report_unresolved(out, event);
        }
        let interface = links.name(event.link);
        let looks_up = !options.is_plain;
        if options
            .form
            .write(out, interface, event, looks_up)
            .is_some()
        {
            out.print_line();
        }
        if let Some(keep) = &mut self.keep {
            keep.update(options.form, out, links, event);
        }
        if let Some(runner) = &mut self.runner {
            runner.add(out, links, event);
        }
        true
    }

    fn is_confined(&self) -> bool {
        self.keep.is_none() && self.runner.is_none()
    }

    fn poll_at(&self) -> Instant {
        let keep = self.keep.as_ref().map(Keep::poll_at);
        let runner = self.runner.as_ref().map(Runner::poll_at);
        let keep = keep.unwrap_or(Instant::NEVER);
        keep.min(runner.unwrap_or(Instant::NEVER))
    }

    fn finish(&mut self) {
        if let Some(keep) = &mut self.keep {
            keep.save(self.now);
        }
    }
}
