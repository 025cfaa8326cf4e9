//! ONC RPC version 2: call and reply headers, AUTH_SYS credentials, record marks. RFC 5531.
//!
//! GSS and DH credentials are recognised only in order to be refused.

use super::{Malformed, Reader, Writer};

/// RFC 5531 8.2: an authentication body is at most 400 bytes.
const AUTH_BYTES_MAX: u32 = 400;
/// RFC 5531 appendix A: a machine name is at most 255 bytes.
const MACHINE_BYTES_MAX: u32 = 255;
/// RFC 5531 appendix A: a caller has at most 16 supplementary groups.
const GROUPS_MAX: u32 = 16;
/// A record mark's flag of the last fragment. RFC 5531 section 11.
const LAST_FRAGMENT: u32 = 1 << 31;
/// Length of a record mark (bytes).
pub const MARK_BYTES: usize = 4;
/// Length of the header of the reply to a call that was carried out (bytes).
pub const HEAD_BYTES: usize = 24;
/// The procedure of every program that does nothing. RFC 5531 section 12.1.
pub const NULL: u32 = 0;
/// The machine name in calls of `stowaway check`.
pub const CHECK_MACHINE: &[u8] = b"stowaway-check";

/// The user and groups that the client claims.
#[doc(alias = "AUTH_SYS")]
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Credential<'a> {
    /// The UID.
    pub uid: u32,
    /// The primary GID.
    pub gid: u32,
    /// True if the machine name is [`CHECK_MACHINE`]. Any client can claim that.
    pub claims_check: bool,
    groups: &'a [u8],
}

impl Credential<'_> {
    /// The supplementary GIDs as sent.
    pub const fn group_bytes(&self) -> &[u8] {
        self.groups
    }

    /// The supplementary GIDs, at most 16.
    pub fn groups(&self) -> impl Iterator<Item = u32> {
        let (words, _) = self.groups.as_chunks();
        words.iter().map(|word| u32::from_be_bytes(*word))
    }
}

/// A call header. The arguments follow it in the reader it was parsed from.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Call<'a> {
    /// Transaction id. The reply repeats it, so that the client can match reply and call.
    pub xid: u32,
    /// The program number, for instance 100003 for NFS.
    pub program: u32,
    /// The version of the program.
    pub version: u32,
    /// The procedure within the version.
    pub procedure: u32,
    /// The caller; `None` with AUTH_NONE.
    pub credential: Option<Credential<'a>>,
}

/// The reason why a message is not a call that can be carried out.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum NotACall {
    /// The header is truncated, or the message is neither a call nor a reply.
    Malformed,
    /// The message is a reply, which is not answered.
    Reply,
    /// The call is rejected. Of its header, only the xid is valid.
    Refused(Reject),
}

impl From<Malformed> for NotACall {
    fn from(_: Malformed) -> Self {
        Self::Malformed
    }
}

/// The reason why a call was rejected. RFC 5531 9: `accept_stat`, `reject_stat` and `auth_stat` in one.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Reject {
    /// The socket does not serve this program.
    Program,
    /// The version is not supported; the lowest and highest that are.
    Version(u8, u8),
    /// No such procedure.
    Procedure,
    /// The arguments did not parse.
    Arguments,
    /// The reply does not fit, or the procedure has no status for the failure.
    System,
    /// The version of ONC RPC is not 2.
    RpcVersion,
    /// The credential is not well formed.
    #[doc(alias = "AUTH_BADCRED")]
    BadCredential,
    /// The authentication flavor is not supported.
    #[doc(alias = "AUTH_REJECTEDCRED")]
    UnknownFlavor,
    /// The verifier is not well formed.
    #[doc(alias = "AUTH_BADVERF")]
    BadVerifier,
}

impl From<Malformed> for Reject {
    fn from(_: Malformed) -> Self {
        Self::Arguments
    }
}

impl<'a> Call<'a> {
    /// Parses a header and leaves `packet` at the arguments.
    pub fn parse(&mut self, packet: &mut Reader<'a>) -> Result<(), NotACall> {
        let [xid, kind, rpc_version] = packet.words();
        self.xid = xid;
        packet.check()?;
        if kind == 1 {
            return Err(NotACall::Reply);
        }
        if kind != 0 {
            return Err(NotACall::Malformed);
        }
        let refused = |why| Err(NotACall::Refused(why));
        if rpc_version != 2 {
            return refused(Reject::RpcVersion);
        }
        let [program, version, procedure, flavor] = packet.words();
        (self.program, self.version, self.procedure) = (program, version, procedure);
        packet.check()?;
        let mut body = Reader::new(packet.opaque(AUTH_BYTES_MAX));
        self.credential = (flavor == 1).then(|| auth_sys(&mut body));
        if packet.check().is_err() || body.check().is_err() {
            return refused(Reject::BadCredential);
        }
        if flavor > 1 {
            return refused(Reject::UnknownFlavor);
        }
        let _flavor = packet.u32();
        packet.check()?;
        packet.opaque(AUTH_BYTES_MAX);
        if packet.check().is_err() {
            return refused(Reject::BadVerifier);
        }
        Ok(())
    }
}

/// Writes a record mark, which the caller patches, and the header of a call to version 3 of a program. Calls as root, like
/// mount(8), from the machine `name`.
pub fn emit_call(record: &mut Writer<'_>, xid: u32, program: u32, procedure: u32, name: &[u8]) {
    record.words(&[0, xid, 0, 2, program, 3, procedure]);
    // AUTH_SYS: stamp 0, the name, UID 0, GID 0 and no groups; then an empty AUTH_NONE verifier.
    record.words(&[1, 20 + name.len().next_multiple_of(4) as u32, 0]);
    record.opaque(name);
    record.put(&[0; 20]);
}

/// Parses an AUTH_SYS body.
fn auth_sys<'a>(body: &mut Reader<'a>) -> Credential<'a> {
    let _stamp = body.u32();
    let claims_check = body.opaque(MACHINE_BYTES_MAX) == CHECK_MACHINE;
    let [uid, gid, count] = body.words();
    if count > GROUPS_MAX {
        body.refuse();
    }
    let groups = body.take((count as usize).saturating_mul(4));
    Credential {
        uid,
        gid,
        claims_check,
        groups,
    }
}

/// Writes the header of the reply to a call that was carried out: the [`HEAD_BYTES`] before the results.
pub fn emit_head(reply: &mut Writer<'_>, xid: u32) {
    // REPLY, MSG_ACCEPTED, an AUTH_NONE verifier of length 0, SUCCESS.
    reply.words(&[xid, 1, 0, 0, 0, 0]);
}

/// Writes the reply to a rejected call.
pub fn emit_rejection(reply: &mut Writer<'_>, xid: u32, why: Reject) {
    // REPLY; then MSG_ACCEPTED with an AUTH_NONE verifier of length 0, or MSG_DENIED.
    reply.words(&[xid, 1]);
    let (accepted, stat) = match why {
        Reject::Program => (true, 1),
        Reject::Version(..) => (true, 2),
        Reject::Procedure => (true, 3),
        Reject::Arguments => (true, 4),
        Reject::System => (true, 5),
        Reject::RpcVersion => return reply.words(&[1, 0, 2, 2]),
        Reject::BadCredential => (false, 1),
        Reject::UnknownFlavor => (false, 2),
        Reject::BadVerifier => (false, 3),
    };
    if !accepted {
        return reply.words(&[1, 1, stat]);
    }
    reply.words(&[0, 0, 0, stat]);
    if let Reject::Version(low, high) = why {
        reply.words(&[low.into(), high.into()]);
    }
}

/// Parses the header of the reply to a call and leaves `packet` at the results. A rejection, too, marks `packet` as malformed.
pub fn parse_reply(packet: &mut Reader<'_>, xid: u32) {
    let replies = packet.u32() == xid;
    let accepts = packet.u32() == 1 && packet.u32() == 0;
    let _flavor = packet.u32();
    packet.opaque(AUTH_BYTES_MAX);
    if packet.u32() != 0 || !replies || !accepts {
        packet.refuse();
    }
}

/// The mark before each fragment of a record on a byte stream.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct RecordMark {
    /// Length of the fragment (bytes).
    pub len: u32,
    /// True for the last fragment of the record.
    pub last: bool,
}

impl RecordMark {
    /// Parses a mark. Returns `None` and consumes nothing if it has not all arrived.
    pub fn parse(stream: &mut Reader<'_>) -> Option<Self> {
        if stream.rest().len() < MARK_BYTES {
            return None;
        }
        let word = stream.u32();
        Some(Self {
            len: word & !LAST_FRAGMENT,
            last: Self::is_last(word),
        })
    }

    /// Returns true if the first bit of a word is set: that of the mark of a last fragment.
    pub const fn is_last(word: u32) -> bool {
        word & LAST_FRAGMENT != 0
    }

    /// The mark of a record that is one fragment of `len` bytes.
    pub const fn whole(len: u32) -> u32 {
        len | LAST_FRAGMENT
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn words(words: &[u32]) -> Vec<u8> {
        words.iter().flat_map(|word| word.to_be_bytes()).collect()
    }

    fn check(packet: &[u8], expect: Result<u32, NotACall>) {
        let mut call = Call::default();
        let parsed = call.parse(&mut Reader::new(packet));
        assert_eq!(parsed.map(|()| call.procedure), expect);
        if matches!(expect, Ok(_) | Err(NotACall::Refused(_))) {
            assert_eq!(call.xid, 7);
        }
        if expect.is_ok() {
            for end in 0..packet.len() {
                let mut head = Reader::new(&packet[..end]);
                assert!(Call::default().parse(&mut head).is_err());
            }
        }
    }

    fn auth_sys(groups: u32, carried: u32) -> Vec<u8> {
        let body = words(
            &[
                &[9, 1, 0x6100_0000, 1000, 100, groups][..],
                &vec![5; carried as usize],
            ]
            .concat(),
        );
        let mut packet = words(&[7, 0, 2, 100_003, 3, 1, 1, body.len() as u32]);
        packet.extend(body);
        packet.extend(words(&[0, 0]));
        packet
    }

    #[test]
    fn auth_none_and_auth_sys_are_accepted() {
        check(&words(&[7, 0, 2, 100_003, 3, 4, 0, 0, 0, 0]), Ok(4));
        check(&auth_sys(0, 0), Ok(1));
        check(&auth_sys(16, 16), Ok(1));
    }

    #[test]
    fn seventeen_groups_and_short_bodies_are_bad_credentials() {
        check(
            &auth_sys(17, 17),
            Err(NotACall::Refused(Reject::BadCredential)),
        );
        check(
            &auth_sys(3, 2),
            Err(NotACall::Refused(Reject::BadCredential)),
        );
        check(
            &words(&[7, 0, 2, 100_003, 3, 1, 1, 4, 0, 0, 0]),
            Err(NotACall::Refused(Reject::BadCredential)),
        );
        check(
            &words(&[7, 0, 2, 100_003, 3, 1, 0, 401]),
            Err(NotACall::Refused(Reject::BadCredential)),
        );
    }

    #[test]
    fn other_flavors_and_versions_are_refused() {
        for flavor in [2, 3, 6, 390_003, u32::MAX] {
            check(
                &words(&[7, 0, 2, 1, 1, 1, flavor, 0, 0, 0]),
                Err(NotACall::Refused(Reject::UnknownFlavor)),
            );
        }
        check(
            &words(&[7, 0, 3]),
            Err(NotACall::Refused(Reject::RpcVersion)),
        );
        check(
            &words(&[7, 0, 2, 1, 1, 1, 0, 0, 0, 401]),
            Err(NotACall::Refused(Reject::BadVerifier)),
        );
    }

    #[test]
    fn replies_and_unknown_types_are_not_calls() {
        check(&words(&[7, 1, 0]), Err(NotACall::Reply));
        check(&words(&[7, 2, 2]), Err(NotACall::Malformed));
        check(&[0; 3], Err(NotACall::Malformed));
    }

    #[test]
    fn calls_round_trip() {
        for (name, claims_check) in [(&b""[..], false), (CHECK_MACHINE, true)] {
            let mut buffer = [0; 100];
            let mut record = Writer::new(&mut buffer);
            emit_call(&mut record, 7, 100_005, 5, name);
            let mut read = Call::default();
            let mut packet = Reader::new(record.since(MARK_BYTES));
            assert_eq!(read.parse(&mut packet), Ok(()));
            let expect = Call {
                xid: 7,
                program: 100_005,
                version: 3,
                procedure: 5,
                credential: Some(Credential {
                    uid: 0,
                    gid: 0,
                    claims_check,
                    groups: &[],
                }),
            };
            assert_eq!((read, packet.rest()), (expect, &[][..]));
        }
    }

    #[test]
    fn reply_must_match_call_and_report_success() {
        let parsed = |packet: &[u8]| {
            let mut packet = Reader::new(packet);
            parse_reply(&mut packet, 7);
            packet.check().map(|()| packet.rest().to_vec())
        };
        for outcome in [
            Ok(()),
            Err(Reject::Program),
            Err(Reject::Version(1, 3)),
            Err(Reject::Procedure),
            Err(Reject::Arguments),
            Err(Reject::System),
            Err(Reject::RpcVersion),
            Err(Reject::BadCredential),
        ] {
            let mut buffer = [0; 64];
            let mut packet = Writer::new(&mut buffer);
            match outcome {
                Ok(()) => emit_head(&mut packet, 7),
                Err(why) => emit_rejection(&mut packet, 7, why),
            }
            packet.u32(9);
            let packet = packet.since(0);
            let results = outcome.map(|()| vec![0, 0, 0, 9]).map_err(|_| Malformed);
            assert_eq!(parsed(packet), results, "{outcome:?}");
            assert_eq!(parsed(&packet[..20]), Err(Malformed));
        }
        assert_eq!(parsed(&words(&[8, 1, 0, 0, 0, 0])), Err(Malformed));
        assert_eq!(parsed(&words(&[7, 0, 0, 0, 0, 0])), Err(Malformed));
        // A verifier of another flavor is skipped.
        assert_eq!(parsed(&words(&[7, 1, 0, 6, 4, 9, 0])), Ok(vec![]));
    }

    #[test]
    fn marks_carry_length_and_last_flag() {
        let parsed = RecordMark::parse(&mut Reader::new(&RecordMark::whole(40).to_be_bytes()));
        assert_eq!(
            parsed,
            Some(RecordMark {
                len: 40,
                last: true
            })
        );
        let parsed = RecordMark::parse(&mut Reader::new(&[0x7f, 0xff, 0xff, 0xff]));
        assert_eq!(
            parsed,
            Some(RecordMark {
                len: 0x7fff_ffff,
                last: false
            })
        );
    }
}
