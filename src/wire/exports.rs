//! exports(5): the directories that hosts may mount, and by which rules. Read as exportfs(8) of nfs-utils reads it.
//!
//! A line has a path and clients: `PATH CLIENT(OPTION,...) ...`. `-OPTION,...` sets the defaults of the clients after it. Words may
//! contain "quoted parts" and bytes as `\ooo` (octal); a `\` at the end continues the line; `#` begins a comment.

use super::address::address;
use super::label::{cut, number};
use super::uuid::Uuid;
use crate::mem::{Ends as _, index_of, nth};
use core::net::Ipv6Addr;

/// The options of an export for some hosts.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Rules {
    /// The option `fsid`: a number that identifies the export permanently.
    pub fsid: Option<u32>,
    /// UID and GID of squashed callers and of callers without credentials.
    pub anonymous: (u32, u32),
    /// The other options: the sum of [`Rules::ASYNC`] and the next constants.
    pub set: u8,
}

impl Rules {
    /// The option `async`: replies do not wait until changes of names and attributes are durable. The next COMMIT makes them
    /// durable, or a sync within two seconds.
    pub const ASYNC: u8 = 1;
    /// Clients may change files (`rw`).
    pub const WRITABLE: u8 = 2;
    /// Requests must come from a port below 1024 (`secure`).
    pub const SECURE: u8 = 4;
    /// Maps UID and GID 0 to [`Rules::anonymous`] (`root_squash`).
    pub const SQUASHES_ROOT: u8 = 8;
    /// Maps every UID and GID to [`Rules::anonymous`] (`all_squash`).
    pub const SQUASHES_ALL: u8 = 16;
    /// Paths may continue inside ISO images (`isos`).
    pub const ISOS: u8 = 32;
    /// The directory is exported only while something is mounted there (`mountpoint`).
    pub const NEEDS_MOUNT: u8 = 64;

    /// The rules of `--export` without options.
    pub const DEFAULT: Self = Self {
        fsid: None,
        anonymous: (65_534, 65_534),
        set: Self::SQUASHES_ROOT,
    };
    /// The rules of a line without options.
    pub const OF_FILE: Self = Self::DEFAULT.with(Self::SECURE);

    /// Returns true if an option, such as [`Rules::ASYNC`], is set.
    pub const fn has(&self, option: u8) -> bool {
        self.set & option != 0
    }

    /// These rules with a further option.
    #[must_use]
    pub const fn with(mut self, option: u8) -> Self {
        self.set |= option;
        self
    }

    /// The options as words: those that are set, and the opposites of those that are not.
    pub fn words(&self) -> impl Iterator<Item = &'static [u8]> {
        let set = self.set;
        let word = move |bit: usize| nth(OPTIONS, b' ', 2 * bit + usize::from(set >> bit & 1));
        (0..FIRST_OTHER / 2)
            .map(word)
            .filter(|word| !word.is_empty())
    }
}

impl Default for Rules {
    fn default() -> Self {
        Self::DEFAULT
    }
}

/// The hosts to which rules apply. If several entries contain a host, the one of the smallest [`Hosts::rank`] applies, and the first
/// of equal rank.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Hosts<'a> {
    /// One host name, or several with the wildcards `*`, `?` and `[...]`.
    Named(&'a [u8]),
    /// The addresses whose first `bits` bits are those of `address`. IPv4 addresses are mapped into IPv6.
    Network {
        /// An address of the network.
        address: Ipv6Addr,
        /// Length of the prefix, of 128.
        bits: u8,
    },
    /// Every host.
    Everyone,
}

/// Length of the prefix of IPv4-mapped addresses.
const MAPPED_BITS: u8 = 96;

impl Hosts<'_> {
    /// Order of precedence as in nfs-utils: single hosts, networks, wildcards, every host.
    pub const fn rank(&self) -> u8 {
        match self {
            Self::Network { bits: 128, .. } => 0,
            Self::Named(name) if !is_pattern(name) => 0,
            Self::Network { .. } => 1,
            Self::Named(_) => 2,
            Self::Everyone => 3,
        }
    }

    /// Returns true if the address is in this network, or in any if this is every host. A name contains no address.
    pub fn contains(&self, host: Ipv6Addr) -> bool {
        match *self {
            Self::Everyone => true,
            Self::Named(_) => false,
            Self::Network { address, bits } => {
                let pairs = address.octets().into_iter().zip(host.octets());
                let mut left = bits;
                pairs.into_iter().all(|(one, other)| {
                    let count = left.min(8);
                    left -= count;
                    u32::from(one ^ other) >> (8 - count) == 0
                })
            }
        }
    }
}

/// Returns true if the host name has wildcards.
pub const fn is_pattern(name: &[u8]) -> bool {
    let mut rest = name;
    while let [byte, tail @ ..] = rest {
        if matches!(byte, b'*' | b'?' | b'[') {
            return true;
        }
        rest = tail;
    }
    false
}

/// The fault of a line or word.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Flaw {
    /// No absolute path without "..".
    Path,
    /// The path is exported already with another `fsid`, or this `fsid` belongs to another path.
    Same,
    /// A quoted part without end.
    Quote,
    /// A list of options without ")", or with text after it.
    List,
    /// Too many exports or clients.
    Many,
    /// An unknown option.
    Option,
    /// An option whose value is missing, no number, or superfluous.
    Value,
    /// An option that would promise what the server does not do.
    Unkept,
    /// A netgroup.
    Netgroup,
    /// A malformed address, network or netmask.
    Network,
    /// A malformed host name.
    Host,
}

/// Options with a number as value.
const VALUED: &[u8] = b"fsid anonuid anongid";
/// Options as in exports(5), and `isos`. For each bit of [`Rules::set`], the word that clears it, which is empty if there is none,
/// and the word that sets it; then other words.
const OPTIONS: &[u8] = b"sync async ro rw insecure secure no_root_squash root_squash no_all_squash all_squash  isos  mountpoint mp \
    no_wdelay no_subtree_check hide nocrossmnt no_auth_nlm insecure_locks no_acl no_pnfs removable fixed sec=sys xprtsec=none \
    wdelay subtree_check nohide crossmnt nordirplus auth_nlm secure_locks acl pnfs security_label sign_fh";
/// Index of the first option that is no bit of [`Rules::set`]: `mp`, another name of `mountpoint`.
const FIRST_OTHER: usize = 14;
/// Index of the first option that describes what the server does anyway.
const FIRST_KEPT: usize = 15;
/// Index of the first option that is accepted, but has no effect.
const FIRST_IGNORED: usize = 27;

/// Options whose promise the server would break.
const UNKEPT: &[u8] = b"sec refer replicas xprtsec reexport password mountpoint mp";

/// A set of accepted options without effect.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub struct Ignored(u16);

impl Ignored {
    /// Adds the options of another set.
    pub const fn add(&mut self, other: Self) {
        self.0 |= other.0;
    }

    /// The names of the options.
    pub fn names(self) -> impl Iterator<Item = &'static [u8]> {
        let ignored = crate::mem::parts(OPTIONS, b' ').skip(FIRST_IGNORED);
        let is_in = move |number: &usize| self.0 >> number & 1 != 0;
        ignored
            .enumerate()
            .filter(move |(number, _)| is_in(number))
            .map(|(_, name)| name)
    }
}

/// Sets the rule that an option names.
///
/// # Errors
/// `Option`, `Value`, `Unkept`.
#[inline(never)]
pub fn set_option(rules: &mut Rules, word: &[u8], ignored: &mut Ignored) -> Result<(), Flaw> {
    let (name, value) = cut(word, b'=');
    match index_of(VALUED, name) {
        Some(0) => {
            rules.fsid = Some(fsid(value).ok_or(Flaw::Value)?);
            return Ok(());
        }
        Some(index) => {
            let id = id(value).ok_or(Flaw::Value)?;
            match index {
                1 => rules.anonymous.0 = id,
                _ => rules.anonymous.1 = id,
            }
            return Ok(());
        }
        None => {}
    }
    match index_of(OPTIONS, word) {
        None if index_of(UNKEPT, name).is_some() => return Err(Flaw::Unkept),
        None if index_of(OPTIONS, name).is_some() => return Err(Flaw::Value),
        None => return Err(Flaw::Option),
        Some(index @ ..FIRST_OTHER) => {
            let option = 1 << (index / 2);
            rules.set &= !option;
            rules.set |= option * (index % 2) as u8;
        }
        Some(FIRST_OTHER) => rules.set |= Rules::NEEDS_MOUNT,
        Some(FIRST_KEPT..FIRST_IGNORED) => {}
        Some(index) => ignored.0 |= 1 << (index - FIRST_IGNORED),
    }
    Ok(())
}

/// Parses a value of `fsid`: a number, `root`, or a UUID, of which a hash is taken.
fn fsid(value: &[u8]) -> Option<u32> {
    if value == b"root" {
        return Some(0);
    }
    number(value, 10).or_else(|| {
        let Uuid(octets) = Uuid::parse(value)?;
        let (words, _) = octets.as_chunks();
        words
            .iter()
            .map(|word| u32::from_be_bytes(*word))
            .reduce(|one, other| one ^ other)
    })
}

/// Parses a UID or GID. A negative number counts down from 2^32, as in C; -1 is no ID.
fn id(value: &[u8]) -> Option<u32> {
    let id = match value {
        [b'-', digits @ ..] => number(digits, 10)?.wrapping_neg(),
        digits => number(digits, 10)?,
    };
    (id != u32::MAX).then_some(id)
}

/// Parses the hosts of an entry. An empty word means every host.
///
/// # Errors
/// `Netgroup`, `Network`, `Host`.
#[inline(never)]
pub fn hosts(word: &[u8]) -> Result<Hosts<'_>, Flaw> {
    let is_name = |byte: &u8| matches!(byte, b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'_' | b'.' | b'*' | b'?' | b'[' | b']' | b'!' | b'^');
    if let [] | [b'*'] = word {
        return Ok(Hosts::Everyone);
    }
    if let [b'@', ..] = word {
        return Err(Flaw::Netgroup);
    }
    let slash = word.iter().position(|byte| *byte == b'/');
    let host = slash.map_or(word, |at| word.head(at));
    match (address(host), slash) {
        (Some(address), slash) => {
            let bits = match slash {
                Some(at) => prefix(address, word.tail(at + 1)).ok_or(Flaw::Network)?,
                None => 128,
            };
            Ok(Hosts::Network { address, bits })
        }
        (None, Some(_)) => Err(Flaw::Network),
        _ if cut(word, b':').0.len() < word.len() => Err(Flaw::Network),
        _ if word.first() == Some(&b'-') || !word.iter().all(is_name) => Err(Flaw::Host),
        _ => Ok(Hosts::Named(word)),
    }
}

/// Parses the length of a prefix or a netmask. Returns the length of the prefix of the IPv6 address.
fn prefix(network: Ipv6Addr, text: &[u8]) -> Option<u8> {
    let first = match network.to_ipv4_mapped() {
        Some(_) => MAPPED_BITS,
        None => 0,
    };
    if let Some(bits) = number(text, 10) {
        let bits = bits.checked_add(first.into())?;
        return u8::try_from(bits).ok().filter(|bits| *bits <= 128);
    }
    let mask = address(text)?;
    if mask.to_ipv4_mapped().is_some() != (first > 0) {
        return None;
    }
    // The mask of an IPv4-mapped address has 96 bits that are no part of it.
    let mut bits = first;
    let mut has_ended = false;
    for octet in mask.octets().tail(usize::from(first / 8)) {
        let ones = octet.leading_ones();
        if octet.count_ones() != ones || has_ended && ones > 0 {
            return None;
        }
        bits += ones as u8;
        has_ended = ones < 8;
    }
    Some(bits)
}

/// One entry: the path, and the rules of some hosts.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Entry<'a> {
    /// The path, without quotes and escapes.
    pub path: &'a [u8],
    /// The hosts.
    pub hosts: Hosts<'a>,
    /// The rules of these hosts.
    pub rules: Rules,
}

struct Scanner<'a> {
    text: &'a mut [u8],
    /// Offset of the next byte.
    at: usize,
    ignored: Ignored,
}

/// Parses a file and passes each entry to `each`. Returns the options without effect. Quotes and escapes are removed from words in
/// `text`.
///
/// # Errors
/// Offset of the first malformed word, and its fault.
pub fn parse(
    text: &mut [u8],
    each: &mut dyn FnMut(&Entry<'_>) -> Result<(), Flaw>,
) -> Result<Ignored, (usize, Flaw)> {
    let mut scanner = Scanner {
        text,
        at: 0,
        ignored: Ignored::default(),
    };
    loop {
        match scanner.skip() {
            None => return Ok(scanner.ignored),
            Some(b'\n') => scanner.at += 1,
            Some(_) => scanner.line(each)?,
        }
    }
}

/// Returns line and column, from 1, of an offset in a text that is not parsed yet.
pub fn position(text: &[u8], offset: usize) -> (u32, u32) {
    let before = text.head(offset.min(text.len()));
    let (mut line, mut column) = (1, 1);
    for byte in before {
        (line, column) = match byte {
            b'\n' => (line + 1, 1),
            _ => (line, column + 1),
        };
    }
    (line, column)
}

impl Scanner<'_> {
    fn peek(&self) -> Option<u8> {
        self.text.get(self.at).copied()
    }

    /// Skips blanks, continuations and a comment. Returns the next byte.
    fn skip(&mut self) -> Option<u8> {
        loop {
            match self.text.tail(self.at) {
                [b' ' | b'\t' | b'\r', ..] => self.at += 1,
                [b'\\', b'\n', ..] => self.at += 2,
                [b'#', rest @ ..] => {
                    let end = rest.iter().position(|byte| *byte == b'\n');
                    self.at += 1 + end.unwrap_or(rest.len());
                }
                rest => return rest.first().copied(),
            }
        }
    }

    /// Reads a line from its path on.
    fn line(
        &mut self,
        each: &mut dyn FnMut(&Entry<'_>) -> Result<(), Flaw>,
    ) -> Result<(), (usize, Flaw)> {
        let path_at = self.at;
        let fault_of_path = |flaw| (path_at, flaw);
        let path_end = self.word(*b"\n\n").map_err(fault_of_path)?;
        if self.text.get(path_at) != Some(&b'/') {
            return Err(fault_of_path(Flaw::Path));
        }
        let mut defaults = Rules::OF_FILE;
        let mut has_clients = false;
        loop {
            let next = self.skip();
            let at = self.at;
            let fault = |flaw| (at, flaw);
            let ends = matches!(next, None | Some(b'\n'));
            if ends && has_clients {
                return Ok(());
            }
            if next == Some(b'-') {
                self.at += 1;
                self.options(&mut defaults)?;
                self.end_of_word().map_err(fault)?;
                continue;
            }
            let mut rules = defaults;
            let end = self.word(*b"((").map_err(fault)?;
            if self.peek() == Some(b'(') {
                self.at += 1;
                self.options(&mut rules)?;
                if self.peek() != Some(b')') {
                    return Err(fault(Flaw::List));
                }
                self.at += 1;
                self.end_of_word().map_err(fault)?;
            }
            has_clients = true;
            let entry = Entry {
                path: self.text.head(path_end).tail(path_at),
                hosts: hosts(self.text.head(end).tail(at)).map_err(fault)?,
                rules,
            };
            each(&entry).map_err(fault_of_path)?;
            if ends {
                return Ok(());
            }
        }
    }

    fn end_of_word(&self) -> Result<(), Flaw> {
        match self.text.tail(self.at) {
            [] | [b' ' | b'\t' | b'\r' | b'\n', ..] | [b'\\', b'\n', ..] => Ok(()),
            _ => Err(Flaw::List),
        }
    }

    /// Reads options up to a blank or ")".
    fn options(&mut self, rules: &mut Rules) -> Result<(), (usize, Flaw)> {
        loop {
            let at = self.at;
            let fault = |flaw| (at, flaw);
            let end = self.word(*b",)").map_err(fault)?;
            let word = self.text.head(end).tail(at);
            if !word.is_empty() {
                set_option(rules, word, &mut self.ignored).map_err(fault)?;
            }
            if self.peek() != Some(b',') {
                return Ok(());
            }
            self.at += 1;
        }
    }

    /// Reads a word up to a blank or one of `stops`, outside of quotes. Removes quotes and escapes: the word is then in the text from
    /// its start up to the offset returned.
    fn word(&mut self, stops: [u8; 2]) -> Result<usize, Flaw> {
        let mut end = self.at;
        let mut is_quoted = false;
        loop {
            let (byte, len) = match self.text.tail(self.at) {
                [] | [b'\n', ..] if is_quoted => return Err(Flaw::Quote),
                [b'"', ..] => {
                    is_quoted = !is_quoted;
                    self.at += 1;
                    continue;
                }
                [b'\\', a @ b'0'..=b'3', b @ b'0'..=b'7', c @ b'0'..=b'7', ..] => {
                    ((a - b'0') << 6 | (b - b'0') << 3 | (c - b'0'), 4)
                }
                [] => return Ok(end),
                [b'\\', b'\n', ..] | [b' ' | b'\t' | b'\r' | b'\n', ..] if !is_quoted => {
                    return Ok(end);
                }
                [byte, ..] if !is_quoted && stops.iter().any(|stop| stop == byte) => {
                    return Ok(end);
                }
                [byte, ..] => (*byte, 1),
            };
            if let Some(to) = self.text.get_mut(end) {
                *to = byte;
            }
            end += 1;
            self.at += len;
        }
    }
}

#[cfg(test)]
mod tests;
