//! Clients and the sessions that they make: EXCHANGE_ID, CREATE_SESSION, DESTROY_CLIENTID, RECLAIM_COMPLETE. RFC 8881 sections
//! 18.35, 18.36, 18.50 and 18.51.

use super::locked;
use super::room::Wanted;
use super::tables::{
    Client, Open, Session, Tables, Words as _, client, head, next_number, open, session,
};
use super::turn::{Done, Turn};
use crate::config::{
    CLIENT_SESSION_COUNT_MAX, COMPOUND_OPERATION_COUNT, COMPOUND_READ_BYTES, KEPT_REPLY_BYTES,
    LEASE_SECS, RECORD_BYTES_MAX, SESSION_SLOT_COUNT_MAX,
};
use crate::mem::{FNV_START, fnv1a};
use crate::vfs::{Caller, GROUP_COUNT_MAX};
use crate::wire::Reader;
use crate::wire::nfs4::{
    Channel, OPAQUE_BYTES_MAX, SESSION_FLAGS, SP4_NONE, SP4_SSV, Status, exchange,
};

/// Smallest limits (bytes) of requests and replies with which anything can be done.
const CHANNEL_BYTES_MIN: u32 = 256;
/// The share of clients that may be unconfirmed: one in this number.
const UNCONFIRMED_SHARE: usize = 8;
/// RPCSEC_GSS, as a flavor for callbacks.
const GSS: u32 = 6;

/// The two halves of a long number.
pub(super) const fn halves(number: u64) -> [u32; 2] {
    [(number >> 32) as u32, number as u32]
}

/// Parses a client ID.
fn parse_id(args: &mut Reader<'_>) -> [u32; 2] {
    [args.u32(), args.u32()]
}

impl Turn<'_, '_, '_, '_> {
    /// The UID of the caller.
    fn user(&self) -> u32 {
        let credential = self.call.credential;
        credential.map_or(Caller::NOBODY, |credential| credential.uid)
    }

    /// A free row for an unconfirmed client.
    fn place_client(&mut self) -> Result<Client, Status> {
        let clients = self.tables.clients;
        let unconfirmed = clients
            .iter()
            .filter(|row| row.word(client::STATE) == client::UNCONFIRMED);
        if unconfirmed.count() * UNCONFIRMED_SHARE >= clients.len() {
            return self.evict(&Wanted::Clients(Some(client::UNCONFIRMED)), None);
        }
        let mut clients = clients.iter();
        match clients.find(|row| row.word(client::STATE) == client::FREE) {
            Some(row) => Ok(row),
            None => self.evict(&Wanted::Clients(None), None),
        }
    }

    /// The client of this owner, in this state.
    fn owned(&self, owner: [u32; 2], state: u32) -> Option<Client> {
        self.tables
            .clients
            .iter()
            .find(|row| row.word(client::STATE) == state && row.pair(client::OWNER) == owner)
    }

    /// Makes an unconfirmed client.
    fn add_client(&mut self, owner: [u32; 2], verifier: [u32; 2]) -> Result<Client, Status> {
        if let Some(row) = self.owned(owner, client::UNCONFIRMED) {
            self.tables.end_client(row);
        }
        let row = self.place_client()?;
        let clients = self.tables.clients;
        let index = clients.iter().position(|other| core::ptr::eq(other, row));
        let number = next_number(
            row.word(client::NUMBER),
            index.unwrap_or_default(),
            clients.len(),
        );
        self.tables.count(head::CLIENTS, 1);
        let words = [[number, client::UNCONFIRMED], owner, verifier];
        row.set_all(0, words.as_flattened());
        let words = [self.user(), self.cx.now.secs(), 1, 0, 0, self.group(), 0, 0];
        row.set_all(client::USER, &words);
        Ok(row)
    }

    /// Time since the last renewal of a client (seconds).
    pub(super) fn silence(&self, row: Client) -> u32 {
        let now = self.cx.now.secs();
        now.saturating_sub(row.word(client::RENEWED))
    }

    /// Returns true if a client's lease has expired. It keeps its state until another client needs that.
    pub(super) fn is_expired(&self, row: Client) -> bool {
        self.silence(row) > LEASE_SECS
    }

    /// Returns true if others may have what a client holds: its lease has expired.
    pub(super) fn may_end(&self, row: Client) -> bool {
        self.is_expired(row) && !self.is_busy(self.tables.sessions_of(row), None)
    }

    /// Ends the client of an open that conflicts with a request, if its lease has expired. Returns true if it has.
    pub(super) fn yields(&self, row: Open) -> bool {
        let tables = self.tables;
        let [instance, _] = tables.instance();
        let holder = tables.client([instance, row.word(open::CLIENT)]);
        let ends = holder.filter(|holder| self.may_end(holder));
        ends.inspect(|holder| tables.end_client(holder)).is_some()
    }

    /// Ends a client whose owner another user has, too.
    fn take_over(&self, row: Client) -> Result<(), Status> {
        if !self.is_expired(row) && self.has_state(row) {
            return Err(Status::CLID_INUSE);
        }
        // A request may outlast the lease.
        if self.is_busy(self.tables.sessions_of(row), None) {
            return Err(Status::DELAY);
        }
        self.tables.end_client(row);
        Ok(())
    }

    /// Returns true if a client has sessions or opens.
    fn has_state(&self, row: Client) -> bool {
        self.tables.sessions_of(row).next().is_some() || row.word(client::OPENS) != 0
    }
}

/// EXCHANGE_ID. The rows of RFC 8881 section 18.35.4.
pub(super) fn exchange_id(turn: &mut Turn<'_, '_, '_, '_>) -> Done {
    let args = &mut *turn.args;
    let verifier = [args.u32(), args.u32()];
    let owner = halves(fnv1a(FNV_START, args.opaque(OPAQUE_BYTES_MAX)));
    let (flags, protection) = (args.u32(), args.u32());
    args.check()?;
    // RFC 8881 section 18.35.3: "the server MUST reject the operation with NFS4ERR_INVAL".
    if flags & !exchange::ASKED != 0 {
        return Err(Status::INVAL.into());
    }
    match protection {
        // RFC 8881 section 18.35.3: the server "MUST NOT enforce state protection for the returned client ID".
        SP4_NONE => {}
        SP4_SSV => return Err(Status::ENCR_ALG_UNSUPP.into()),
        _ => return Err(Status::INVAL.into()),
    }
    if args.flag() {
        for _domain_and_name in 0..2 {
            args.opaque(OPAQUE_BYTES_MAX);
        }
        args.take(12);
    }
    args.check()?;
    let updates = flags & exchange::UPDATE_CONFIRMED != 0;
    let mut confirmed = turn.owned(owner, client::CONFIRMED);
    let mut found = None;
    if let Some(row) = confirmed {
        let is_same_user = row.word(client::USER) == turn.user();
        let is_same = row.pair(client::VERIFIER) == verifier;
        match (is_same_user, is_same) {
            (true, true) => found = Some(row),
            (true, false) if updates => return Err(Status::NOT_SAME.into()),
            (false, _) if updates => return Err(Status::PERM.into()),
            (false, _) => {
                turn.take_over(row)?;
                confirmed = None;
            }
            // The client has restarted: its state ends when the new one is confirmed.
            (true, false) => {}
        }
    }
    if confirmed.is_none() && updates {
        return Err(Status::NOENT.into());
    }
    let row = match found {
        Some(row) => row,
        None => turn.add_client(owner, verifier)?,
    };
    let [instance, number] = turn.tables.client_id(row);
    // RFC 8881 section 18.35.3: if the client ID is confirmed, "the server MUST set the EXCHGID4_FLAG_CONFIRMED_R bit".
    let state = match found {
        Some(_) => exchange::CONFIRMED,
        None => 0,
    };
    let reply = &mut *turn.reply;
    // RFC 8881 section 18.35.3: "The server MUST set one of the acceptable combinations of these bits". Without, Linux does not mount.
    let flags = state | exchange::USE_NON_PNFS;
    let sequence = row.word(client::SEQUENCE);
    reply.words(&[instance, number, sequence, flags, SP4_NONE, 0, 0]);
    let identity = turn.cx.vfs.identity().to_be_bytes();
    // The owner of the server, after its minor part; its scope; no implementation.
    for _ in 0..2 {
        reply.opaque(&identity);
    }
    reply.u32(0);
    Ok(())
}

/// The limits that the server grants, of those that a client asks for. `back` are those of callbacks, which are never sent.
fn grant(asked: &Channel, back: &Channel, slot_count: u32) -> Result<Channel, Status> {
    if asked.slot_count == 0 {
        return Err(Status::INVAL);
    }
    let channels = [asked, back];
    let least = channels.map(|channel| channel.request_bytes.min(channel.reply_bytes));
    if least.iter().any(|least| *least < CHANNEL_BYTES_MIN) || asked.operation_count == 0 {
        return Err(Status::TOOSMALL);
    }
    // RFC 8881 section 18.36.3: the server may decrease a value, "but MUST NOT increase it".
    Ok(Channel {
        header_padding: 0,
        request_bytes: asked.request_bytes.min(RECORD_BYTES_MAX),
        reply_bytes: asked.reply_bytes.min(COMPOUND_READ_BYTES),
        kept_bytes: asked.kept_bytes.min(KEPT_REPLY_BYTES as u32),
        operation_count: asked.operation_count.min(COMPOUND_OPERATION_COUNT),
        slot_count: asked.slot_count.min(slot_count),
    })
}

/// Skips the security of callbacks.
fn skip_callbacks(args: &mut Reader<'_>) {
    let _program = args.u32();
    for _ in 0..args.u32() {
        match args.u32() {
            0 => {}
            1 => {
                args.u32();
                args.opaque(255);
                args.take(8);
                let count = args.u32();
                if count > GROUP_COUNT_MAX as u32 {
                    args.refuse();
                }
                args.take((count as usize).saturating_mul(4));
            }
            GSS => {
                args.u32();
                args.opaque(OPAQUE_BYTES_MAX);
                args.opaque(OPAQUE_BYTES_MAX);
            }
            _ => args.refuse(),
        }
        if args.check().is_err() {
            break;
        }
    }
}

/// A free row for a session of a client.
fn place_session(turn: &mut Turn<'_, '_, '_, '_>, owner: Client) -> Result<(Session, u32), Status> {
    let tables = turn.tables;
    if tables.sessions_of(owner).count() >= CLIENT_SESSION_COUNT_MAX {
        return Err(Status::NOSPC);
    }
    let free = |tables: &Tables| {
        let mut rows = tables.sessions.iter();
        rows.position(|row| row.word(session::CLIENT) == 0)
    };
    let mut index = free(&tables);
    if index.is_none() {
        turn.evict(&Wanted::Sessions(|_| 1), Some(owner))?;
        index = free(&tables);
    }
    let index = index.ok_or(Status::DELAY)?;
    let row = tables.sessions.get(index).ok_or(Status::DELAY)?;
    let number = next_number(row.word(session::NUMBER), index, tables.sessions.len());
    Ok((row, number))
}

/// CREATE_SESSION. Its sequence number and its last reply are the client's.
pub(super) fn create_session(turn: &mut Turn<'_, '_, '_, '_>) -> Done {
    let args = &mut *turn.args;
    let (id, sequence, flags) = (parse_id(args), args.u32(), args.u32());
    let [fore, back] = [Channel::parse(args), Channel::parse(args)];
    skip_callbacks(args);
    args.check()?;
    let tables = turn.tables;
    let row = tables.client(id).ok_or(Status::STALE_CLIENTID)?;
    let expected = row.word(client::SEQUENCE);
    let (mut number, mut slot_count) = (row.word(client::SESSION), 0);
    // RFC 8881 section 18.36.4: "the server MUST maintain the CREATE_SESSION reply cache".
    let is_again = sequence == expected.wrapping_sub(1) && number != 0;
    if sequence != expected && !is_again {
        return Err(Status::SEQ_MISORDERED.into());
    }
    if is_again {
        let kept = tables
            .sessions_of(row)
            .find(|kept| kept.word(session::NUMBER) == number);
        slot_count = kept.map_or(SESSION_SLOT_COUNT_MAX as u32, |kept| {
            kept.word(session::CHANNEL + 5)
        });
    }
    if flags & !SESSION_FLAGS != 0 {
        return Err(Status::INVAL.into());
    }
    if !is_again {
        slot_count = tables.slot_count_left();
    }
    // Before anything ends: a request that fails confirms no client.
    let granted = grant(&fore, &back, slot_count)?;
    if row.word(client::STATE) == client::UNCONFIRMED {
        if turn.is_expired(row) {
            tables.end_client(row);
            return Err(Status::STALE_CLIENTID.into());
        }
        if row.word(client::USER) != turn.user() {
            return Err(Status::CLID_INUSE.into());
        }
        // The earlier state of a client that restarted ends.
        if let Some(before) = turn.owned(row.pair(client::OWNER), client::CONFIRMED) {
            if turn.is_busy(tables.sessions_of(before), None) {
                return Err(Status::DELAY.into());
            }
            tables.end_client(before);
        }
    }
    if !is_again {
        let (place, new) = place_session(turn, row)?;
        number = new;
        place.set(session::NUMBER, number);
        place.set_all(session::CHANNEL, &granted.words());
        place.set(session::SLOTS, granted.slot_count);
        place.set(session::CLIENT, row.word(client::NUMBER));
        row.set(client::STATE, client::CONFIRMED);
        row.set(client::SESSION, number);
        row.set(client::SEQUENCE, sequence.wrapping_add(1));
        row.set(client::RENEWED, turn.cx.now.secs());
    }
    let reply = &mut *turn.reply;
    tables.emit_session_id(number, row.word(client::NUMBER), reply);
    // Neither PERSIST nor CONN_BACK_CHAN. RFC 8881 section 18.36.3: csr_sequence "MUST be equal to csa_sequence".
    reply.words(&[sequence, 0]);
    granted.emit(reply);
    // RFC 8881 section 18.36.3: "the server MUST NOT change the value the client offers".
    back.emit(reply);
    Ok(())
}

/// DESTROY_CLIENTID.
pub(super) fn destroy_client(turn: &mut Turn<'_, '_, '_, '_>) -> Done {
    let id = parse_id(turn.args);
    turn.args.check()?;
    locked(turn.lock, || {
        let row = turn.tables.client(id).ok_or(Status::STALE_CLIENTID)?;
        // RFC 8881 section 18.50.3: "the server MUST return NFS4ERR_CLIENTID_BUSY".
        if turn.has_state(row) {
            return Err(Status::CLIENTID_BUSY);
        }
        turn.tables.end_client(row);
        Ok(())
    })?;
    // The client has no opens.
    turn.begin_flush();
    Ok(())
}

/// RECLAIM_COMPLETE. After that of one file system the client may open files, too, since ESXi may send no other. Until then it
/// reclaims others: ESXi sends it first.
pub(super) fn reclaim_complete(turn: &mut Turn<'_, '_, '_, '_>) -> Done {
    let is_of_one = turn.args.flag();
    turn.args.check()?;
    let row = turn.client()?;
    let before = row.word(client::RECLAIMED);
    if is_of_one {
        turn.object()?;
        row.set(client::RECLAIMED, before.max(client::RECLAIMED_ONE));
        return Ok(());
    }
    if before == client::RECLAIMED_ALL {
        return Err(Status::COMPLETE_ALREADY.into());
    }
    turn.record_client(row)?;
    row.set(client::RECLAIMED, client::RECLAIMED_ALL);
    Ok(())
}
