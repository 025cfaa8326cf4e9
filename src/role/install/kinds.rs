//! The kinds of hosts, and the steps of each.

use crate::os::files;
use crate::text::{Text, text};

/// A kind of host: how it starts its servers.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Kind {
    /// busybox init, and others that run /etc/init.d/S*.
    Busybox,
    /// systemd.
    Systemd,
    /// VMware ESXi.
    Esxi,
}

impl Kind {
    /// Parses the value of `--for`.
    pub(super) fn of(word: &[u8]) -> Option<Self> {
        match word {
            b"busybox" => Some(Self::Busybox),
            b"systemd" => Some(Self::Systemd),
            b"esxi" => Some(Self::Esxi),
            _ => None,
        }
    }

    /// Returns the kind of this host. Workstations that run VMware's products also have /etc/vmware, and systemd.
    pub(super) fn of_host() -> Self {
        if files::exists(c"/run/systemd/system") {
            Self::Systemd
        } else if files::exists(c"/bin/esxcli") || files::exists(c"/etc/vmware") {
            Self::Esxi
        } else {
            Self::Busybox
        }
    }

    /// The steps after the executable and its links.
    pub(super) const fn steps(self) -> &'static [Step] {
        match self {
            Self::Busybox => &BUSYBOX,
            Self::Systemd => &SYSTEMD,
            Self::Esxi => &ESXI,
        }
    }

    /// Says how to start the server.
    pub(super) const fn next_step(self) -> Text {
        match self {
            Self::Busybox => {
                text!("next: edit %/exports, then /etc/init.d/S80stowaway start\n")
            }
            Self::Systemd => text!("next: edit %/exports, then systemctl start stowaway\n"),
            Self::Esxi => text!("next: edit %/exports, then @/stowaway.sh start\n"),
        }
    }
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
    /// Commands after a change.
    pub(super) installed: &'static [Text],
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
        installed: &[],
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

static BUSYBOX: [Step; 2] = [
    EXPORTS,
    Step {
        path: text!("/etc/init.d/S80stowaway"),
        holds: Holds::Script,
        text: SCRIPT,
        removing: text!("/etc/init.d/S80stowaway stop"),
        ..Step::PLAIN
    },
];

static SYSTEMD: [Step; 2] = [
    EXPORTS,
    Step {
        path: text!("/etc/systemd/system/stowaway.service"),
        holds: Holds::Text,
        text: text!(include_str!("stowaway.service")),
        installed: &[
            text!("systemctl daemon-reload"),
            text!("systemctl enable stowaway.service"),
        ],
        removing: text!("systemctl disable --now stowaway.service"),
        removed: text!("systemctl daemon-reload"),
    },
];

/// At each start, /etc/rc.local.d/local.sh repeats the steps whose files are in RAM.
static ESXI: [Step; 5] = [
    EXPORTS,
    Step {
        path: text!("@/stowaway.sh"),
        holds: Holds::Script,
        text: SCRIPT,
        removing: text!("@/stowaway.sh stop"),
        ..Step::PLAIN
    },
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
        installed: &[REFRESH],
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
