//! DNS messages as they are sent by multicast: header, questions, records. RFC 1035 section 4, RFC 6762 section 18.
//!
//! The structure of a message is checked once; rdata is parsed when it is needed. Malformed rdata does not affect the other
//! records.

pub mod escape;
mod message;
mod name;
mod rdata;
mod reverse;
mod srv;
#[cfg(test)]
mod tests;
mod writer;

pub use message::{Message, Question, Record, Section};
pub use name::{Labels, Name};
pub use rdata::UncompressedRdata;
pub use reverse::{REVERSE_BYTES_MAX, reverse};
pub use srv::{Rank, choose};
pub use writer::{Head, Label, Writer};

/// The port of multicast DNS.
pub const PORT: u16 = 5353;
/// Maximum length of a name with its length bytes and the final zero (bytes). RFC 6762, appendix C.
pub const NAME_BYTES_MAX: usize = 256;
/// Maximum length of a label (bytes).
pub const LABEL_BYTES_MAX: usize = 63;
/// Length of a message's header (bytes).
pub const HEADER_BYTES: usize = 12;
/// Maximum length of a message (bytes), so that with its IPv6 and UDP headers it has 9,000. RFC 6762 section 17.
pub const MESSAGE_BYTES_MAX: usize = 9000 - 48;

/// Class IN, the only one in use besides [`CLASS_ANY`].
pub const CLASS_IN: u16 = 1;
/// A question for every class.
pub const CLASS_ANY: u16 = 255;
/// In a question's class: the QU bit (RFC 6762 section 5.4). In a record's: the cache-flush bit (section 10.2).
pub const TOP_BIT: u16 = 1 << 15;

/// Types of records.
#[allow(missing_docs)] // The RFCs define the constants, under these names.
pub mod kind {
    pub const A: u16 = 1;
    pub const NS: u16 = 2;
    pub const CNAME: u16 = 5;
    pub const SOA: u16 = 6;
    pub const PTR: u16 = 12;
    pub const HINFO: u16 = 13;
    pub const MX: u16 = 15;
    pub const TXT: u16 = 16;
    pub const RP: u16 = 17;
    pub const AFSDB: u16 = 18;
    pub const RT: u16 = 21;
    pub const PX: u16 = 26;
    pub const AAAA: u16 = 28;
    pub const SRV: u16 = 33;
    pub const KX: u16 = 36;
    pub const DNAME: u16 = 39;
    pub const OPT: u16 = 41;
    pub const NSEC: u16 = 47;
    pub const ANY: u16 = 255;
}

/// Bits of a header's second word.
pub mod flag {
    /// QR: the message is a response.
    pub const RESPONSE: u16 = 1 << 15;
    /// The opcode: always 0 in multicast DNS.
    pub const OPCODE: u16 = 0xf << 11;
    /// AA: an authoritative answer. Always set in responses.
    pub const AUTHORITATIVE: u16 = 1 << 10;
    /// TC: more known answers follow; in a unicast response, it lacks records.
    pub const TRUNCATED: u16 = 1 << 9;
    /// RD: the server is to ask others.
    pub const RECURSION: u16 = 1 << 8;
    /// The response code: not 0 in errors, which are ignored (RFC 6762 section 18.11).
    pub const RESPONSE_CODE: u16 = 0xf;
}
