//! The kinds of hosts, and the steps of each.

use crate::mem::{index_of, nth, parts};
use crate::os::files;
use crate::os::install::{PATH_BYTES_MAX, join};
use crate::text::{Text, text};

/// A kind of host: how it starts its servers.
pub(super) struct Kind {
    /// The steps after the executable and its links.
    pub(super) steps: &'static [Step],
    /// Says how to start the server.
    pub(super) next_step: Text,
    pub(super) is_esxi: bool,
}

/// The names of the kinds, as `--for` has them.
const NAMES: &[u8] = b"busybox esxi openrc systemd sysvinit";
/// Index of systemd in [`NAMES`].
const SYSTEMD: usize = 3;

/// The kinds in the order of [`NAMES`], and at last systemd in a tree from which nothing runs: an image that is being built.
pub(super) static KINDS: [Kind; 6] = [
    Kind {
        steps: &BUSYBOX_STEPS,
        next_step: text!("next: edit %/exports, then /etc/init.d/S80stowaway start\n"),
        is_esxi: false,
    },
    Kind {
        steps: &ESXI_STEPS,
        next_step: text!("next: edit %/exports, then @/stowaway.sh start\n"),
        is_esxi: true,
    },
    Kind {
        steps: &OPENRC_STEPS,
        next_step: text!("next: edit %/exports, then rc-service stowaway start\n"),
        is_esxi: false,
    },
    Kind {
        steps: &SYSTEMD_STEPS,
        next_step: SYSTEMCTL_START,
        is_esxi: false,
    },
    Kind {
        steps: &SYSVINIT_STEPS,
        next_step: text!("next: edit %/exports, then /etc/init.d/stowaway start\n"),
        is_esxi: false,
    },
    Kind {
        steps: &IMAGE_STEPS,
        next_step: SYSTEMCTL_START,
        is_esxi: false,
    },
];

const SYSTEMCTL_START: Text = text!("next: edit %/exports, then systemctl start stowaway\n");

/// Kinds, each with files of its hosts: a host is of the first kind whose files all exist. Several inits may be installed, of which
/// one runs, or none in an image that is being built. ESXi has chkconfig, too. OpenWrt's inittab names rcS, but its init is procd.
const HOSTS: Text = text!(
    "systemd /lib/systemd/systemd /run/systemd/system
openrc /sbin/openrc-run /run/openrc
sysvinit /usr/sbin/update-rc.d /run/initctl
systemd /lib/systemd/systemd
openrc /sbin/openrc-run
esxi /bin/esxcli
sysvinit /usr/sbin/update-rc.d /sbin/init
sysvinit /sbin/chkconfig /sbin/init
procd /etc/rc.common
busybox /etc/inittab"
);

impl Kind {
    /// Parses the value of `--for`.
    pub(super) fn of(word: &[u8]) -> Option<&'static Self> {
        KINDS.get(match index_of(NAMES, word)? {
            SYSTEMD if !files::exists(c"/run/systemd/system") => KINDS.len() - 1,
            index => index,
        })
    }

    /// Returns the kind of this host; `None`: no known one.
    pub(super) fn of_host() -> Option<&'static Self> {
        let (mut rows, mut path) = ([0; 512], [0; PATH_BYTES_MAX]);
        let mut rows = parts(HOSTS.decode(&mut rows), b'\n');
        let mut exists = |file: &[u8]| files::exists(join(&[file], &mut path));
        let row = rows.find(|row| parts(row, b' ').skip(1).all(&mut exists))?;
        let name = nth(row, b' ', 0);
        (name != b"busybox" || names_rcs()).then(|| Self::of(name))?
    }
}

/// Returns true if /etc/inittab has rcS, the script that runs those of /etc/init.d, in a line that is no comment.
fn names_rcs() -> bool {
    let names = |line: &[u8]| !line.starts_with(b"#") && line.windows(3).any(|part| part == b"rcS");
    let mut buffer = [0; 4096];
    files::read(c"/etc/inittab", &mut buffer).is_ok_and(|text| parts(text, b'\n').any(names))
}

/// The object that a step makes.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Holds {
    /// A copy of this executable.
    Program,
    /// A symbolic link; the text is its target.
    Link,
    /// A script.
    Script,
    /// Another file with a mark.
    Text,
    /// A file for the user to edit.
    Example,
    /// Lines in a script of the host.
    Block,
}

/// A step of `install`, undone by `uninstall`. In texts, `@` is the directory of the executable, `%` that of the exports.
pub(super) struct Step {
    pub(super) path: Text,
    pub(super) holds: Holds,
    pub(super) text: Text,
    /// The command after a change.
    pub(super) installed: Text,
    /// The command before a removal.
    pub(super) removing: Text,
    /// The command after a removal.
    pub(super) removed: Text,
}

impl Step {
    /// A step without commands.
    pub(super) const PLAIN: Self = Self {
        path: Text::NOTHING,
        holds: Holds::Link,
        text: Text::NOTHING,
        installed: Text::NOTHING,
        removing: Text::NOTHING,
        removed: Text::NOTHING,
    };
}

/// The executable, on every kind of host.
pub(super) const PROGRAM: Step = Step {
    path: text!("@/stowaway"),
    holds: Holds::Program,
    ..Step::PLAIN
};

const EXPORTS: Step = Step {
    path: text!("%/exports"),
    holds: Holds::Example,
    text: text!(include_str!("exports")),
    ..Step::PLAIN
};

const SCRIPT: Text = text!(include_str!("S80stowaway.sh"));

static BUSYBOX_STEPS: [Step; 2] = [
    EXPORTS,
    Step {
        path: text!("/etc/init.d/S80stowaway"),
        holds: Holds::Script,
        text: SCRIPT,
        removing: text!("/etc/init.d/S80stowaway stop"),
        ..Step::PLAIN
    },
];

static SYSVINIT_STEPS: [Step; 2] = [
    EXPORTS,
    Step {
        path: text!("/etc/init.d/stowaway"),
        holds: Holds::Script,
        text: SCRIPT,
        installed: text!("/etc/init.d/stowaway enable"),
        removing: text!("/etc/init.d/stowaway disable"),
        ..Step::PLAIN
    },
];

/// The script that another starts.
const OWN_SCRIPT: Step = Step {
    path: text!("@/stowaway.sh"),
    holds: Holds::Script,
    text: SCRIPT,
    removing: text!("@/stowaway.sh stop"),
    ..Step::PLAIN
};

static OPENRC_STEPS: [Step; 3] = [
    EXPORTS,
    OWN_SCRIPT,
    Step {
        path: text!("/etc/init.d/stowaway"),
        holds: Holds::Script,
        text: text!(include_str!("openrc.sh")),
        installed: text!("rc-update add stowaway default"),
        removing: text!("rc-service --ifstarted stowaway stop"),
        removed: text!("rc-update del stowaway default"),
    },
];

const UNIT: Step = Step {
    path: text!("/etc/systemd/system/stowaway.service"),
    holds: Holds::Text,
    text: text!(include_str!("stowaway.service")),
    // Reloads systemd, too, if it runs.
    installed: text!("systemctl enable stowaway.service"),
    removing: text!("systemctl disable stowaway.service"),
    removed: Text::NOTHING,
};

static SYSTEMD_STEPS: [Step; 2] = [
    EXPORTS,
    Step {
        removing: text!("systemctl disable --now stowaway.service"),
        removed: text!("systemctl daemon-reload"),
        ..UNIT
    },
];

static IMAGE_STEPS: [Step; 2] = [EXPORTS, UNIT];

/// At each start, /etc/rc.local.d/local.sh repeats the steps whose files are in RAM.
static ESXI_STEPS: [Step; 5] = [
    EXPORTS,
    OWN_SCRIPT,
    Step {
        path: text!("/sbin/stowaway"),
        holds: Holds::Link,
        text: text!("@/stowaway"),
        ..Step::PLAIN
    },
    Step {
        path: text!("/etc/vmware/firewall/stowaway.xml"),
        holds: Holds::Text,
        text: text!(include_str!("firewall.xml")),
        installed: REFRESH,
        removed: REFRESH,
        ..Step::PLAIN
    },
    Step {
        path: text!("/etc/rc.local.d/local.sh"),
        holds: Holds::Block,
        text: text!(
            "# stowaway begin: lines of stowaway install\n@/stowaway install @ --for esxi --force >/dev/null\n@/stowaway.sh start\n# stowaway end\n"
        ),
        ..Step::PLAIN
    },
];

const REFRESH: Text = text!("esxcli network firewall refresh");

/// Printed before the state of the setting.
pub(super) const EXEC_INSTALLED_ONLY: Text = text!(
    "ESXi starts only programs of VIBs while execInstalledOnly is TRUE at Runtime (8.0: by default); to start any program that root\nmay run: esxcli system settings kernel set -s execinstalledonly -v FALSE, then restart the host\n"
);
