//! Questions and answers of DNS, unicast and multicast. An answer counts only if its question is the one that was sent.

use crate::config::{NAME_ADDRESS_COUNT_MAX, NAME_ANSWER_BYTES_MAX, NAMED_PEER_BYTES};
use crate::wire::dns::{self, CLASS_IN, Head, Message, Name, Record, Section, Writer, flag, kind};
use core::net::{Ipv4Addr, Ipv6Addr};

/// Aliases (CNAME) that are followed.
const ALIAS_COUNT_MAX: usize = 8;
/// Response codes. RFC 1035 section 4.1.1.
const FORMAT_ERROR: u16 = 1;
const NAME_ERROR: u16 = 3;
const NOT_IMPLEMENTED: u16 = 4;

/// A question: a name in wire format, and the type of records.
#[derive(Clone, Copy, Debug)]
pub(super) struct Question {
    pub(super) name: [u8; dns::NAME_BYTES_MAX],
    pub(super) kind: u16,
}

/// Up to 16 addresses.
pub(super) type List = heapless::Vec<Ipv6Addr, NAME_ADDRESS_COUNT_MAX>;

/// The content of an answer.
#[derive(Debug)]
pub(super) enum Answer {
    /// Addresses of the name; IPv4 addresses are mapped into IPv6.
    Addresses(List),
    /// Names of the address, each with a NUL. Names that no host has are left out.
    Names(heapless::Vec<u8, NAMED_PEER_BYTES>),
    /// The name exists, but has no such records.
    NoData,
    /// The name does not exist.
    NoName,
    /// The answer is too long for UDP.
    Truncated,
    /// The server does not know EDNS.
    Plain,
    /// The server cannot answer.
    Failed,
}

impl Question {
    /// A question for the addresses of a name in text form. `None`: not a name of DNS.
    pub(super) fn of(text: &[u8], kind: u16) -> Option<Self> {
        let mut name = [0; dns::NAME_BYTES_MAX];
        let len = dns::escape::parse(text, &mut name)?;
        // The root, and names that are one byte longer than unicast DNS allows.
        (2..dns::NAME_BYTES_MAX)
            .contains(&len)
            .then_some(Self { name, kind })
    }

    /// A question for the names of an address.
    pub(super) fn about(address: Ipv6Addr) -> Self {
        let mut name = [0; dns::NAME_BYTES_MAX];
        let mut reversed = [0; dns::REVERSE_BYTES_MAX];
        dns::reverse(address.to_canonical(), &mut reversed);
        crate::mem::copy_into(&mut name, &reversed);
        let kind = kind::PTR;
        Self { name, kind }
    }

    /// Writes the message. With `has_edns`, allows answers of [`NAME_ANSWER_BYTES_MAX`] (RFC 6891). Returns its length.
    pub(super) fn write(
        &self,
        id: u16,
        is_multicast: bool,
        has_edns: bool,
        out: &mut [u8],
    ) -> usize {
        let flags = if is_multicast { 0 } else { flag::RECURSION };
        let mut writer = Writer::new(out, id, flags);
        let mut labels = Name::of(&self.name).unnumbered();
        writer.question(&mut labels, self.kind, CLASS_IN);
        if has_edns && !is_multicast {
            let head = Head {
                kind: kind::OPT,
                class: NAME_ANSWER_BYTES_MAX,
                ttl: 0,
            };
            let mut root = core::iter::empty();
            writer.record(Section::Additional, &mut root, head, &mut |_| {});
        }
        writer.finish()
    }

    /// Parses an answer. `None`: it does not answer this question.
    pub(super) fn parse(&self, message: &Message<'_>) -> Option<Answer> {
        let flags = message.flags();
        let name = Name::of(&self.name);
        let mut questions = message.questions();
        let asked = questions.next()?;
        let is_it = asked.name.is(name) && asked.kind == self.kind && asked.class == CLASS_IN;
        if !is_it
            || questions.next().is_some()
            || flags & (flag::RESPONSE | flag::OPCODE) != flag::RESPONSE
        {
            return None;
        }
        if flags & flag::TRUNCATED != 0 {
            return Some(Answer::Truncated);
        }
        Some(match flags & flag::RESPONSE_CODE {
            0 => self.read(message),
            NAME_ERROR => Answer::NoName,
            FORMAT_ERROR | NOT_IMPLEMENTED => Answer::Plain,
            _ => Answer::Failed,
        })
    }

    /// Reads the answers of this question, also those to which aliases lead.
    fn read<'a>(&'a self, message: &Message<'a>) -> Answer {
        let mut name: Name<'a> = Name::of(&self.name);
        let (mut list, mut names) = (List::new(), heapless::Vec::new());
        for _ in 0..ALIAS_COUNT_MAX {
            let mut alias = None;
            for record in message.records() {
                if record.section != Section::Answer
                    || !record.is_in_class()
                    || !record.name.is(name)
                {
                    continue;
                }
                if record.kind == kind::CNAME {
                    alias = record.target(0);
                } else if record.kind == self.kind {
                    match address(&record) {
                        Some(address) => _ = list.push(address),
                        None => add_name(&record, &mut names),
                    }
                }
            }
            match alias.filter(|_| list.is_empty() && names.is_empty()) {
                Some(next) => name = next,
                None => break,
            }
        }
        if !list.is_empty() {
            Answer::Addresses(list)
        } else if !names.is_empty() {
            Answer::Names(names)
        } else {
            Answer::NoData
        }
    }
}

/// The address of an A or AAAA record.
fn address(record: &Record<'_>) -> Option<Ipv6Addr> {
    let data = record.rdata();
    match record.kind {
        kind::A => {
            let octets: [u8; 4] = data.try_into().ok()?;
            Some(Ipv4Addr::from(octets).to_ipv6_mapped())
        }
        kind::AAAA => {
            let octets: [u8; 16] = data.try_into().ok()?;
            Some(octets.into())
        }
        _ => None,
    }
}

/// Appends the name of a PTR record as text, with a NUL, if hosts can have such a name and if it fits.
fn add_name(record: &Record<'_>, names: &mut heapless::Vec<u8, NAMED_PEER_BYTES>) {
    let before = names.len();
    if record.kind != kind::PTR || append(record, names).is_none() {
        names.truncate(before);
    }
}

fn append(record: &Record<'_>, names: &mut heapless::Vec<u8, NAMED_PEER_BYTES>) -> Option<()> {
    let before = names.len();
    for label in record.target(0)?.labels() {
        let is_plain = |byte: &u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_');
        if !label.iter().all(is_plain) {
            return None;
        }
        if names.len() > before {
            names.push(b'.').ok()?;
        }
        names.extend_from_slice(label).ok()?;
    }
    if names.len() == before {
        return None;
    }
    names.push(0).ok()
}
