//! Multi-call binary: `argv[0]` or the first argument selects the role. One file or folder per role.

use crate::config::{self, HAS_NFS, HAS_SERVE, HAS_STACK, REGION_BYTES, REGION_FIXED_BYTES};
use crate::console::json::quote;
use crate::console::{Console, DONE, FAILED, USAGE, complain, print};
use crate::console::{refuse, refuse_value};
use crate::engine::mdns::browser::Goal;
use crate::event::{Fatal, Line, Marks, Sink as _};
use crate::mem::{index_of, nth, parts, set_region};
use crate::sys::{self, Args, BUILD_ID_BYTES};
use crate::text::{Text, text};
use core::sync::atomic::{AtomicU8, Ordering};

#[cfg(feature = "serve")]
mod addresses;
#[allow(dead_code, reason = "each role uses a part of it")]
mod args;
#[cfg(feature = "boot")]
mod boot;
#[cfg(any(bare, feature = "init"))]
mod boot_words;
#[cfg(feature = "browse")]
mod browse;
#[cfg(feature = "check")]
mod check;
#[cfg(feature = "completion")]
mod completion;
mod flags;
#[cfg(feature = "http")]
mod http;
#[cfg(feature = "init")]
mod init;
#[cfg(feature = "install")]
mod install;
mod log;
#[cfg(feature = "ls")]
mod ls_cat;
#[cfg(bare)]
mod machine;
#[cfg(feature = "mdns")]
mod mdns;
mod network;
#[cfg(feature = "nfs")]
mod nfs;
#[cfg(feature = "probe")]
mod probe;
#[cfg(feature = "publish")]
mod publish;
#[cfg(feature = "resolve")]
mod resolve;
#[cfg(feature = "serve")]
mod serve;
#[cfg(feature = "sftp-server")]
mod sftp_server;
#[cfg_attr(not(feature = "smol"), path = "no_stack.rs")]
mod stack;
#[cfg(feature = "pid-file")]
mod status;
#[cfg(all(test, all_roles))]
mod tests;

#[cfg(bare)]
pub use machine::boot;

const HELP_HEAD: Text =
    text!("usage: stowaway ROLE [OPTION]... (or by a link named ROLE). Roles:\n\n");
const HELP_END: Text = text!("\nstowaway ROLE --help prints the options of a role.\n");

/// Defines the flags of all roles. A row has the cargo feature, the name of the table, and the type of its flags.
macro_rules! any_flag {
    ($($feature:literal: $table:ident $flag:ty;)+) => {
        /// A flag of a role.
        #[derive(Clone, Copy)]
        enum AnyFlag {
            $(#[cfg(feature = $feature)] $table($flag)),+
        }
    };
}

any_flag! {
    "boot": Boot boot::Flag;
    "browse": Browse browse::Flag;
    "check": Check check::Flag;
    "completion": Completion completion::Flag;
    "http": Http http::Flag;
    // Flags of `http` that `nfs` has, too.
    "http": HttpExports http::Shared;
    "install": Install install::Flag;
    "mdns": Mdns mdns::Flag;
    "nfs": Nfs nfs::Flag;
    "probe": Probe probe::Flag;
    "publish": Publish publish::Flag;
    "resolve": Resolve resolve::Flag;
    "serve": Serve serve::Flag;
    "sftp-server": Sftp sftp_server::Flag;
    "smol": Stack stack::Flag;
    "pid-file": Status status::Flag;
}

/// Defines the roles in the order of `--help`. A row has the cargo feature, the enum value, the names on the command line, the
/// line of `--help` and the entry point.
macro_rules! roles {
    ($($feature:literal: $role:ident $($name:literal)|+ => $summary:expr, |$args:pat_param, $build_id:pat_param| $run:expr;)+) => {
        #[derive(Clone, Copy, PartialEq, Eq)]
        enum Role {
            $(#[cfg(feature = $feature)] $role),+
        }

        impl Role {
            /// The roles of the executable: its first name after a space, all names, and its line of `--help`.
            const ROWS: &[(Self, &str, &str, Text)] = &[
                $(#[cfg(feature = $feature)] (
                    Self::$role,
                    first_name!($($name)+),
                    concat!($($name, "|",)+ " "),
                    $summary,
                )),+
            ];
            const ALL: &[Self] = &column!(0, 0, [Self::ROWS[0].0; Self::ROWS.len()]);
            const FIRST_NAMES: &[&str] = &column!(1, 0, [""; Self::ROWS.len()]);
            const NAMES: &[&str] = &column!(2, 0, [""; Self::ROWS.len()]);
            const HELP: &[Text] = &const {
                let mut help = column!(3, 1, [HELP_END; 2 + Self::ROWS.len()]);
                help[0] = HELP_HEAD;
                help
            };
            const JOINED: &[u8] = &const {
                let mut names = [0; joined(Self::NAMES, &mut [])];
                joined(Self::NAMES, &mut names);
                names
            };

            /// Returns the role called `name`.
            fn of(name: &[u8]) -> Option<Self> {
                Self::ALL.get(index_of_alias(Self::JOINED, name)?).copied()
            }

            /// The role that also runs where no other does.
            const PROBE: Option<Self> = Self::with(" probe");
            /// The role of which a session ends if one of the first two standard streams is closed.
            const SFTP: Option<Self> = Self::with(" sftp-server");
            /// The roles that can serve all in one process.
            const SERVERS: [Option<Self>; 2] = [Self::with(" serve"), Self::with(" boot")];
            /// The role that always has a network stack of its own.
            const INIT: Option<Self> = Self::with(" init");

            /// Returns the role whose first name is `name`, which has a space before it, if the executable has that role.
            const fn with(name: &str) -> Option<Self> {
                let mut index = 0;
                while index < Self::ROWS.len() {
                    if is_same(Self::FIRST_NAMES[index], name) {
                        return Some(Self::ALL[index]);
                    }
                    index += 1;
                }
                None
            }

            /// Returns true if this is the role `other`.
            fn is(self, other: Option<Self>) -> bool {
                other == Some(self)
            }

            /// Returns the first name of the role that runs.
            fn name() -> &'static [u8] {
                let index = SELECTED.load(Ordering::Relaxed).into();
                nth(nth(Self::JOINED, b' ', index), b'|', 0)
            }

            fn run(self, args: Args, build_id: &[u8; BUILD_ID_BYTES]) -> Result<(), Fatal> {
                match self {
                    $(#[cfg(feature = $feature)] Self::$role => {
                        let ($args, $build_id) = (args, build_id);
                        $run
                    })+
                }
            }
        }
    };
}

/// Copies a column of the roles' rows to an array, from an index on.
macro_rules! column {
    ($field:tt, $start:literal, $array:expr) => {
        const {
            let (mut column, mut index) = ($array, 0);
            while index < Self::ROWS.len() {
                column[$start + index] = Self::ROWS[index].$field;
                index += 1;
            }
            column
        }
    };
}

/// The first name of a role, after a space.
macro_rules! first_name {
    ($first:literal $($alias:literal)*) => {
        concat!(" ", $first)
    };
}

roles! {
    "nfs": Nfs "nfs" => nfs::SUMMARY, |args, build_id| nfs::run(args, build_id, false);
    "nfs": Unfsd "unfsd" => Text::NOTHING, |args, build_id| nfs::run(args, build_id, true);
    "serve": Serve "serve" => serve::SUMMARY, |args, build_id| serve::run(args, build_id);
    "sftp-server": SftpServer "sftp-server" => sftp_server::SUMMARY, |args, _| sftp_server::run(args);
    "http": Http "http" => http::SUMMARY, |args, _| http::run(args);
    "boot": Boot "boot" => boot::SUMMARY, |args, build_id| boot::run(args, build_id);
    "ls": Ls "ls" => ls_cat::SUMMARY, |args, _| ls_cat::run(args, false);
    "ls": Cat "cat" => Text::NOTHING, |args, _| ls_cat::run(args, true);
    "check": Check "check" => check::SUMMARY, |args, _| check::run(args);
    "probe": Probe "probe" => probe::SUMMARY, |args, _| probe::run(args);
    "pid-file": Status "status" => status::SUMMARY, |args, _| status::run(args);
    "install": Install "install" => install::SUMMARY, |args, _| install::run(args, c"install");
    "install": Uninstall "uninstall" => Text::NOTHING, |args, _| install::run(args, c"uninstall");
    "mdns": Mdns "mdns" => mdns::SUMMARY, |args, _| mdns::run(args);
    "browse": Browse "browse"|"avahi-browse" => browse::SUMMARY, |args, _| browse::run(args);
    "publish": Publish "publish"|"avahi-publish"|"avahi-publish-service" => publish::SUMMARY, |args, _| publish::run(args, false);
    "publish": PublishAddress "avahi-publish-address" => Text::NOTHING, |args, _| publish::run(args, true);
    "resolve": Resolve "resolve"|"avahi-resolve" => resolve::SUMMARY, |args, _| resolve::run(args, None);
    "resolve": ResolveName "avahi-resolve-host-name" => Text::NOTHING, |args, _| resolve::run(args, Some(Goal::Host));
    "resolve": ResolveAddress "avahi-resolve-address" => Text::NOTHING, |args, _| resolve::run(args, Some(Goal::Address));
    "completion": Completion "completion" => completion::SUMMARY, |args, _| completion::run(args);
    "init": Init "init" => Text::NOTHING, |args, build_id| init::run(args, build_id);
}

/// Concatenates `texts` into `buffer`, cut at its end. Returns the length of all texts, so an empty buffer measures them.
#[expect(clippy::indexing_slicing, reason = "done by the compiler")]
const fn joined(texts: &[&str], buffer: &mut [u8]) -> usize {
    let (mut text, mut len) = (0, 0);
    while text < texts.len() {
        let bytes = texts[text].as_bytes();
        let mut index = 0;
        while index < bytes.len() {
            if len < buffer.len() {
                buffer[len] = bytes[index];
            }
            (index, len) = (index + 1, len + 1);
        }
        text += 1;
    }
    len
}

/// Returns true if two names are the same.
#[expect(clippy::indexing_slicing, reason = "done by the compiler")]
const fn is_same(one: &str, other: &str) -> bool {
    let (one, other) = (one.as_bytes(), other.as_bytes());
    let mut index = 0;
    while index < one.len() && index < other.len() && one[index] == other[index] {
        index += 1;
    }
    index == one.len() && index == other.len()
}

/// Returns the index of the entry of `names` that has `name`. Entries are separated by spaces, the names of an entry by `|`.
fn index_of_alias(names: &[u8], name: &[u8]) -> Option<usize> {
    // An empty part follows the last `|` of an entry, so an empty name must not match.
    let is_name = |one: &[u8]| one == name && !name.is_empty();
    parts(names, b' ').position(|names| parts(names, b'|').any(is_name))
}

/// The commit of the source; `unknown` unless `cargo xtask build` compiled it.
const COMMIT: &str = env!("STOWAWAY_COMMIT");
const PROCESSOR: &str = if cfg!(target_arch = "x86_64") {
    "x86_64"
} else if cfg!(target_arch = "x86") {
    "i686"
} else if cfg!(target_arch = "aarch64") {
    "aarch64"
} else {
    "armv7"
};
/// The text of `--version`, before the names of the roles.
const VERSION_HEAD: &[&str] = &[
    "stowaway ",
    env!("CARGO_PKG_VERSION"),
    "\ncommit ",
    COMMIT,
    "\nprocessor ",
    PROCESSOR,
    "\nroles",
];
/// The text of `--version`.
const VERSION: &[u8] = &const {
    const HEAD_LEN: usize = joined(VERSION_HEAD, &mut []);
    const LEN: usize = HEAD_LEN + joined(Role::FIRST_NAMES, &mut []) + 1;
    let mut version = [b'\n'; LEN];
    let (_, names) = version.split_at_mut(HEAD_LEN);
    joined(Role::FIRST_NAMES, names);
    joined(VERSION_HEAD, &mut version);
    version
};

/// Largest text of `--help` (bytes).
const HELP_BYTES_MAX: usize = 2 << 10;

/// Printed if neither the name of the program nor an argument selects a role.
const FIRST_STEPS: &[Text] = &[
    text!("stowaway: serves files over NFS and SFTP and announces them by mDNS; try\n"),
    #[cfg(feature = "nfs")]
    text!("  stowaway nfs /srv           # exports /srv, read-only\n"),
    #[cfg(feature = "check")]
    text!("  stowaway check nfs          # tests that server\n"),
    #[cfg(feature = "browse")]
    text!("  stowaway browse -at         # lists the services of the network\n"),
    text!("stowaway --help lists the roles, stowaway ROLE --help its options\n"),
];

/// Index of the selected role; see [`Role::name`].
static SELECTED: AtomicU8 = AtomicU8::new(0);

/// Runs the role that the arguments select and returns the exit status. `build_id` is written at the start of a trace file.
pub fn run(args: Args, build_id: &[u8; BUILD_ID_BYTES]) -> i32 {
    Fatal::status(start(args, build_id))
}

fn start(mut args: Args, build_id: &[u8; BUILD_ID_BYTES]) -> Result<(), Fatal> {
    let name = args.next().unwrap_or_default().to_bytes();
    // sshd and login(1) start a login shell with "-" before its name in argv[0].
    let name = name.strip_prefix(b"-").unwrap_or(name);
    let mut word = parts(name, b'/').last().unwrap_or_default();
    let mut role = Role::of(word);
    let link = word;
    if role.is_none() {
        let remaining = args.clone();
        let mut next = || args.next().unwrap_or_default().to_bytes();
        word = next();
        role = Role::of(word);
        // `help ROLE`: the role reads the word `help`, too. Executables without NFS are small, and most have one role.
        if HAS_NFS
            && word == b"help"
            && let Some(named) = Role::of(next())
        {
            (role, args) = (Some(named), remaining);
        }
    }
    let (region_bytes, fixed_bytes) = memory(role, &args);
    set_region(sys::region(region_bytes), region_bytes, fixed_bytes);
    match role {
        Some(role) => {
            SELECTED.store(role as u8, Ordering::Relaxed);
            // Linux before 2.6.16, for which there is no fallback.
            let first_stream = if role.is(Role::SFTP) { 2 } else { 0 };
            if !sys::hold_streams(first_stream) && !role.is(Role::PROBE) {
                let why = text!("the kernel has no openat; use Linux 2.6.16 or later");
                return Err(complain(FAILED, text!("cannot start"), word, why));
            }
            role.run(args, build_id)
        }
        None if flags::is_words(word) => {
            for names in parts(Role::JOINED, b' ') {
                flags::print_word(nth(names, b'|', 0));
            }
            Err(DONE)
        }
        None => {
            answer_help(
                if HAS_NFS && word == b"-v" {
                    b"-V"
                } else {
                    word
                },
                Role::HELP,
            )?;
            if matches!(word, [] | [b'-', ..]) && !link.starts_with(b"stowaway") {
                // Run through a link, or as a copy, that has another name.
                word = link;
            }
            if word.is_empty() {
                for part in FIRST_STEPS {
                    sys::console(part.decode(&mut [0; HELP_BYTES_MAX]));
                }
                return Err(USAGE);
            }
            Err(refuse_role(word))
        }
    }
}

/// Reports that there is no role `word`, with the role that is perhaps meant. Returns [`USAGE`].
fn refuse_role(word: &[u8]) -> Fatal {
    let what = text!("there is no role");
    if HAS_NFS {
        let is_path = word.contains(&b'/');
        let near = if is_path {
            Some(word)
        } else {
            flags::nearest_role(Role::JOINED, word)
        };
        if let Some(near) = near {
            let mut line = Line::default();
            line.prefix().say(what).details(word, Text::NOTHING);
            line.say(text!("; did you mean "));
            if is_path {
                line.text("stowaway nfs ");
            }
            line.escaped(near)
                .say(text!("? See stowaway "))
                .text("--help");
            Console.write_line(line.end_line(), Marks::ERROR);
            return USAGE;
        }
    }
    complain(USAGE, what, word, text!("see stowaway --help"))
}

/// Returns the memory for a role (bytes), and the part of it that stays the same if tables are shortened for lack of memory.
fn memory(role: Option<Role>, args: &Args) -> (usize, usize) {
    let (mut bytes, mut fixed) = (REGION_BYTES, REGION_FIXED_BYTES);
    if HAS_NFS {
        bytes += config::EXPORTS_BYTES;
    }
    let has = |flag| args.clone().any(|argument| argument == flag);
    if HAS_SERVE && has(c"--manage-gids") {
        bytes += config::GROUPS_BYTES;
    }
    let is_one_of = |roles: &[Option<Role>]| role.is_some() && roles.contains(&role);
    let uses_stack = may_use_stack(args);
    // All tasks run in one loop, whose process needs the memory of all of them.
    if HAS_SERVE && is_one_of(&Role::SERVERS) && (uses_stack || has(c"--one-process")) {
        bytes *= 3;
    }
    if uses_stack || HAS_STACK && is_one_of(&[Role::INIT]) {
        bytes += config::STACK_HEAP_BYTES + config::STACK_FIXED_BYTES;
        fixed += config::STACK_FIXED_BYTES;
    }
    (bytes, fixed)
}

/// Returns true if an argument starts with `--net`: the built-in stack then needs more memory.
fn may_use_stack(args: &Args) -> bool {
    HAS_STACK
        && args
            .clone()
            .any(|argument| argument.to_bytes().starts_with(b"--net"))
}

/// If `word` asks for help or the version, prints that and returns `Err(DONE)`; any other word is `Ok`.
fn answer_help(word: &[u8], help: &[Text]) -> Result<(), Fatal> {
    if index_of(b"--version -V", word).is_some() {
        print(VERSION);
        return Err(DONE);
    }
    if index_of(b"-h --help help", word).is_none() {
        return Ok(());
    }
    for part in help.iter().filter(|part| **part != Text::NOTHING) {
        print(part.decode(&mut [0; HELP_BYTES_MAX]));
    }
    Err(DONE)
}

/// Reports wrong arguments of the role that runs on standard error: `what` about which word, with the option `near` that is perhaps
/// meant. Returns [`USAGE`].
fn refuse_usage(what: Text, about: &[u8], near: Text) -> Fatal {
    let (mut line, name) = (Line::default(), Role::name());
    line.prefix().raw(name).text(": ").say(what);
    line.details(about, Text::NOTHING);
    if near == Text::NOTHING {
        line.say(text!("; see stowaway "));
    } else {
        line.say(text!("; did you mean ")).say(near);
        line.say(text!("? See stowaway "));
    }
    line.raw(name).say(text!(" --help"));
    Console.write_line(line.end_line(), Marks::ERROR);
    USAGE
}
