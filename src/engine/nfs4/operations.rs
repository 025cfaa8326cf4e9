//! The operations, by their numbers. RFC 8881 section 16.2.3.

use super::attributes::{get_attributes, verify, verify_not};
use super::change::{create, link, remove, rename, set_attributes};
use super::clients::{create_session, destroy_client, exchange_id, reclaim_complete};
use super::directory::read_directory;
use super::files::{
    access, get_handle, look_up, look_up_parent, put_handle, put_root, read, read_link, restore,
    save, security, security_without_name,
};
use super::locks::{lock, test_lock, unlock};
use super::open::{close, downgrade, open};
use super::sessions::{bind_connection, destroy_session, sequence};
use super::states::{free_state, test_states};
use super::turn::{Done, Turn};
use super::write::{commit, write};
use crate::wire::nfs4::Status;

/// The place of an operation in a COMPOUND.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Rule {
    /// After SEQUENCE.
    Session,
    /// After SEQUENCE, with a current object.
    Object,
    /// After SEQUENCE, or the only one.
    First,
    /// The only one.
    Alone,
}

/// The action of an operation.
#[derive(Clone, Copy)]
pub(super) enum Run {
    /// Uses files.
    Files(fn(&mut Turn<'_, '_, '_, '_>) -> Done),
    /// Uses the tables, under their lock. It waits for nothing.
    Tables(fn(&mut Turn<'_, '_, '_, '_>) -> Done),
    /// Changes attributes or names, under the lock of changes.
    Change(fn(&mut Turn<'_, '_, '_, '_>) -> Done),
    /// Fails.
    Refuse(Status),
}

/// An operation.
pub(super) struct Row {
    pub(super) rule: Rule,
    pub(super) run: Run,
}

const fn files(run: fn(&mut Turn<'_, '_, '_, '_>) -> Done) -> Row {
    Row {
        rule: Rule::Object,
        run: Run::Files(run),
    }
}

const fn changes(run: fn(&mut Turn<'_, '_, '_, '_>) -> Done) -> Row {
    Row {
        rule: Rule::Object,
        run: Run::Change(run),
    }
}

const fn anywhere(run: fn(&mut Turn<'_, '_, '_, '_>) -> Done) -> Row {
    Row {
        rule: Rule::Session,
        run: Run::Files(run),
    }
}

const fn tables(rule: Rule, run: fn(&mut Turn<'_, '_, '_, '_>) -> Done) -> Row {
    Row {
        rule,
        run: Run::Tables(run),
    }
}

const fn opens(run: fn(&mut Turn<'_, '_, '_, '_>) -> Done) -> Row {
    tables(Rule::Object, run)
}

/// An operation that is not supported.
const NONE: Row = Row {
    rule: Rule::Session,
    run: Run::Refuse(Status::NOTSUPP),
};
/// An operation on a state that does not exist, of the current object.
const NO_STATE: Row = Row {
    rule: Rule::Object,
    run: Run::Refuse(Status::BAD_STATEID),
};

/// The number of the first row.
const FIRST: u32 = 3;

/// The operations 3 to 58.
static ROWS: [Row; 56] = [
    files(access),
    opens(close),
    files(commit),
    changes(create),
    NONE,     // DELEGPURGE
    NO_STATE, // DELEGRETURN
    files(get_attributes),
    files(get_handle),
    changes(link),
    files(lock),
    files(test_lock),
    opens(unlock),
    files(look_up),
    files(look_up_parent),
    files(verify_not),
    files(open),
    NONE, // OPENATTR
    NONE, // OPEN_CONFIRM
    opens(downgrade),
    anywhere(put_handle),
    anywhere(put_root), // PUTPUBFH
    anywhere(put_root),
    files(read),
    files(read_directory),
    files(read_link),
    changes(remove),
    changes(rename),
    NONE, // RENEW
    anywhere(restore),
    files(save),
    files(security),
    changes(set_attributes),
    NONE, // SETCLIENTID
    NONE, // SETCLIENTID_CONFIRM
    files(verify),
    files(write),
    NONE, // RELEASE_LOCKOWNER
    NONE, // BACKCHANNEL_CTL
    tables(Rule::Alone, bind_connection),
    tables(Rule::First, exchange_id),
    tables(Rule::First, create_session),
    tables(Rule::First, destroy_session),
    tables(Rule::Session, free_state),
    NONE, // GET_DIR_DELEGATION
    NONE, // GETDEVICEINFO
    NONE, // GETDEVICELIST
    NONE, // LAYOUTCOMMIT
    NONE, // LAYOUTGET
    NONE, // LAYOUTRETURN
    files(security_without_name),
    tables(Rule::Session, sequence),
    NONE, // SET_SSV
    tables(Rule::Session, test_states),
    NONE, // WANT_DELEGATION
    Row {
        rule: Rule::First,
        run: Run::Files(destroy_client),
    },
    anywhere(reclaim_complete),
];

/// The operation with this number.
pub(super) fn row(number: u32) -> Option<&'static Row> {
    ROWS.get(number.checked_sub(FIRST)? as usize)
}
