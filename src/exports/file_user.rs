//! The user of file accesses: each caller, or one user for all.
//!
//! A server of root acts as its callers by setfsuid(2). Where that call is missing or has no effect (gVisor, FreeBSD), it would
//! serve all clients as root, whatever the exports say. It becomes the anonymous user instead, before it opens an export or listens.

use crate::console::{FAILED, complain};
use crate::event::Fatal;

use super::Wanted;
use super::protocol::ClientKind;
use crate::event::Line;
use crate::sys::{self, Errno};
use crate::text::text;
use crate::vfs::host::Host;
use crate::vfs::{Export, Exports, Rules, Tree};

/// The user of file accesses.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum FileUser {
    /// Each caller, by setfsuid.
    Caller,
    /// The user of the process: not root, or root with `-s`.
    Own,
    /// UID and GID of the anonymous user, which the process has become for good.
    Anonymous((u32, u32)),
    /// Root, as every export says no_root_squash.
    Root,
}

impl FileUser {
    /// Chooses the user, and becomes the anonymous one if the host cannot switch users.
    ///
    /// # Errors
    /// Exit status 1: exports have different anonymous users, or the process cannot become theirs; that is reported.
    pub(super) fn choose(
        wanted: &Wanted,
        protocol: ClientKind,
        host: &mut Host,
        tree: &Tree,
    ) -> Result<Self, Fatal> {
        if wanted.is_single_user {
            return Ok(Self::Own);
        }
        if host.act_as_callers() {
            return Ok(Self::Caller);
        }
        if sys::user_id() != 0 {
            return Ok(Self::Own);
        }
        let user = Self::of_all(protocol, &tree.exports()).map_err(|(one, other)| {
            let mut about = Line::default();
            about.raw(one.path.to_bytes()).say(text!(" and "));
            about.raw(other.path.to_bytes());
            let why = text!(
                "this host has no setfsuid, so that all exports need the same anonuid and anongid"
            );
            complain(FAILED, text!("cannot export both"), about.bytes(), why)
        })?;
        if let Self::Anonymous(ids) = user {
            let became = host.become_anonymous(ids);
            became.map_err(|errno| cannot_become(ids, errno))?;
        }
        Ok(user)
    }

    /// The one user for all exports.
    ///
    /// # Errors
    /// Two exports with different anonymous users, or twice an export that has both.
    fn of_all<'a>(
        protocol: ClientKind,
        exports: &Exports<'a>,
    ) -> Result<Self, (Export<'a>, Export<'a>)> {
        let clients = |export: Export<'a>| {
            let clients = export.clients();
            clients.map(move |client| (export, client.rules))
        };
        let all = || exports.iter().flat_map(clients);
        let is_root = protocol.is_nfs() && all().next().is_some();
        if is_root && all().all(|(_, rules)| Self::Root.serves(&rules)) {
            return Ok(Self::Root);
        }
        let Some((one, first)) = all().next() else {
            return Ok(Self::Anonymous(Rules::DEFAULT.anonymous));
        };
        let user = Self::Anonymous(first.anonymous);
        match all().find(|(_, rules)| !user.serves(rules)) {
            Some((other, _)) => Err((one, other)),
            None => Ok(user),
        }
    }

    /// Returns true if this user may serve an export with these rules.
    pub(super) fn serves(self, rules: &Rules) -> bool {
        match self {
            Self::Caller | Self::Own => true,
            Self::Anonymous(ids) => rules.anonymous == ids,
            Self::Root => !rules.has(Rules::SQUASHES_ROOT) && !rules.has(Rules::SQUASHES_ALL),
        }
    }
}

/// Reports that the process cannot become a user. Returns exit status 1.
fn cannot_become((user, _): (u32, u32), errno: Errno) -> Fatal {
    let mut about = Line::default();
    about.number(user).say(text!(" (errno "));
    about.number(errno.raw_os_error().unsigned_abs()).byte(b')');
    let why = text!("this host has no setfsuid; start as that user, or export with no_root_squash");
    complain(FAILED, text!("cannot become user"), about.bytes(), why)
}
