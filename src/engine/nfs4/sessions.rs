//! Sessions: SEQUENCE, with its slots and kept replies, BIND_CONN_TO_SESSION, DESTROY_SESSION. RFC 8881 sections 2.10.6, 18.34,
//! 18.37 and 18.46.
//!
//! A slot changes when its request is answered, not before: while the request is carried out, the slot has the connection by which it
//! came. A request whose peer is gone is carried out to its end, too, and its reply is kept. One whose server is killed, or whose
//! connection's place is needed, counts as never sent. A SEQUENCE that fails leaves the slot as it was.

use super::slots::Held;
use super::tables::{Client, Session, Slot, Words as _, client, session, slot};
use super::turn::{Done, Kept, Turn};
use crate::wire::nfs4::{FORE_CHANNEL, SESSION_ID_BYTES, Status};

impl Turn<'_, '_, '_, '_> {
    /// Parses the ID of a session.
    fn session_by_id(&mut self) -> Result<Session, Status> {
        let id = self.args.take(SESSION_ID_BYTES);
        self.args.check().map_err(|_| Status::BADXDR)?;
        self.tables.session(id).ok_or(Status::BADSESSION)
    }

    /// The client of the session.
    pub(super) fn client(&self) -> Result<Client, Status> {
        let session = self.compound.session.ok_or(Status::BADSESSION)?;
        self.tables.client_of(session).ok_or(Status::BADSESSION)
    }
}

/// The first operation of a COMPOUND: takes the slot, or finds the earlier answer.
pub(super) fn sequence(turn: &mut Turn<'_, '_, '_, '_>) -> Done {
    if turn.compound.done > 0 {
        return Err(Status::SEQUENCE_POS.into());
    }
    let id = turn.args.take(SESSION_ID_BYTES);
    let args = &mut *turn.args;
    let (sequence, number) = (args.u32(), args.u32());
    let (highest, keeps) = (args.u32(), args.flag());
    args.check()?;
    let tables = turn.tables;
    let row = tables.session(id).ok_or(Status::BADSESSION)?;
    // Everything that may refuse the request is checked before the slot is looked at. RFC 8881 section 18.46.3: after an error, "the
    // sequence ID of the slot MUST NOT change". RFC 8881 section 2.10.6.1.2: the replier "MUST NOT modify the reply cache entry for
    // the slot".
    let [_, request_bytes, reply_bytes, kept_bytes, operations] =
        core::array::from_fn(|at| row.word(session::CHANNEL + at));
    if number >= row.word(session::SLOTS) {
        return Err(Status::BADSLOT.into());
    }
    if highest < number {
        return Err(Status::BAD_HIGH_SLOT.into());
    }
    // RFC 8881 section 18.36.3: "the replier MUST return NFS4ERR_TOO_MANY_OPS".
    if turn.compound.count > operations {
        return Err(Status::TOO_MANY_OPS.into());
    }
    if turn.request_bytes() > request_bytes {
        return Err(Status::REQ_TOO_BIG.into());
    }
    let place = turn.place(row, |tables| tables.slot(row, number))?;
    if turn.is_held(place) {
        return Err(Status::DELAY.into());
    }
    let request = turn.hash();
    let kept = find_kept(place, sequence, request)?;
    if kept.is_none() && keeps {
        turn.place(row, |tables| tables.reserve_reply(place).then_some(()))?;
    }
    // RFC 8881 section 18.46.3: after an error, "the associated lease MUST NOT be renewed"; otherwise it "MUST be renewed".
    if let Some(row) = tables.client_of(row) {
        row.set(client::RENEWED, turn.cx.now.secs());
    }
    let compound = &mut *turn.compound;
    compound.session = Some(row);
    compound.kept = kept;
    compound.reply_bytes_max = match keeps {
        true => reply_bytes.min(kept_bytes),
        false => reply_bytes,
    };
    if kept.is_some() {
        compound.promised = place.word(slot::PROMISED);
    } else {
        place.set_all(slot::CONNECTION, &turn.connection.to_words());
        compound.held = Some(Held {
            slot: place,
            sequence,
            request,
            keeps,
        });
    }
    let client = row.word(session::CLIENT);
    // RFC 8881 section 18.46.3: "The sr_sessionid result MUST equal sa_sessionid. The sr_slotid result MUST equal sa_slotid. The
    // sr_sequenceid result MUST equal sa_sequenceid."
    tables.emit_session_id(row.word(session::NUMBER), client, turn.reply);
    // No status flag: never CB_PATH_DOWN, for which Linux binds its connections again.
    let [slots, target] = turn.resize(row, highest);
    turn.reply
        .words(&[sequence, number, slots - 1, target - 1, 0]);
    Ok(())
}

/// The earlier answer to a request with this sequence number and hash; `None`: the request is new.
fn find_kept(place: Slot, sequence: u32, request: u32) -> Result<Option<Kept>, Status> {
    let (last, last_request) = (place.word(slot::SEQUENCE), place.word(slot::REQUEST));
    if sequence == last.wrapping_add(1) {
        return Ok(None);
    }
    // RFC 8881 section 18.36.3: the first SEQUENCE "MUST have a sequence ID equal to 1". RFC 8881 section 18.46.3: for others, the server "MUST return
    // NFS4ERR_SEQ_MISORDERED".
    if sequence != last || last_request == 0 {
        return Err(Status::SEQ_MISORDERED);
    }
    if request != last_request {
        return Err(Status::SEQ_FALSE_RETRY);
    }
    Ok(Some(
        match (place.word(slot::REPLY), place.word(slot::FAILED)) {
            (0, 0) => Kept::Nothing,
            (0, failed) => Kept::Failed(failed >> 16, Status(failed as u16)),
            _ => Kept::Reply(place),
        },
    ))
}

/// BIND_CONN_TO_SESSION. Every connection is of the fore channel.
pub(super) fn bind_connection(turn: &mut Turn<'_, '_, '_, '_>) -> Done {
    let row = turn.session_by_id()?;
    let (direction, _rdma) = (turn.args.u32(), turn.args.flag());
    turn.args.check()?;
    if !matches!(direction, 1..=3 | 7) {
        return Err(Status::INVAL.into());
    }
    let client = row.word(session::CLIENT);
    let number = row.word(session::NUMBER);
    turn.tables.emit_session_id(number, client, turn.reply);
    turn.reply.words(&[FORE_CHANNEL, 0]);
    Ok(())
}

/// DESTROY_SESSION. In a COMPOUND of the same session it is the last operation, whose reply is not kept.
pub(super) fn destroy_session(turn: &mut Turn<'_, '_, '_, '_>) -> Done {
    let row = turn.session_by_id()?;
    let compound = &*turn.compound;
    let is_own = compound.session.is_some_and(|own| core::ptr::eq(own, row));
    // RFC 8881 section 18.37.3: "DESTROY_SESSION MUST be the final operation in the COMPOUND request".
    if is_own && compound.done + 1 < compound.count {
        return Err(Status::NOT_ONLY_OP.into());
    }
    if turn.is_busy(core::iter::once(row), compound.held.as_ref()) {
        return Err(Status::DELAY.into());
    }
    turn.tables.end_session(row);
    if is_own {
        turn.compound.held = None;
    }
    Ok(())
}
