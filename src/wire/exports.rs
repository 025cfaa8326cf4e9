//! exports(5): the directories that hosts may mount, and by which rules. Read as exportfs(8) of nfs-utils reads it.
//!
//! A line has a path and clients: `PATH CLIENT(OPTION,...) ...`. `-OPTION,...` sets the defaults of the clients after it. Words may
//! contain "quoted parts" and bytes as `\ooo` (octal); a `\` at the end continues the line; `#` begins a comment.

use super::address::address;
use super::label::{cut, index_like, number};
use super::uuid::Uuid;
use crate::mem::{Ends as _, has_any, index_of, nth, parts};
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
    /// One host name, or several with the wildcards `*`, `?` and `[...]`; or a netgroup (`@NAME`), which matches no host here.
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
    pub fn rank(&self) -> u8 {
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
                let difference = address.to_bits() ^ host.to_bits();
                difference.leading_zeros() >= bits.into()
            }
        }
    }
}

/// Returns true if the host name has wildcards.
pub fn is_pattern(name: &[u8]) -> bool {
    !name.starts_with(b"@") && has_any(name, b"*?[")
}

/// The reason why hosts are perhaps not those that the author means.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Doubt {
    /// A word such as `everyone`, which is the name of one host.
    Everyone,
    /// Wildcards only: they match the hosts that have a name.
    Wildcards,
    /// The start of an address, or an address with wildcards.
    Prefix,
    /// A netgroup, which matches no host.
    Netgroup,
}

impl Doubt {
    /// Returns the doubt about the hosts of an entry.
    pub fn about(hosts: &Hosts<'_>) -> Option<Self> {
        let Hosts::Named(name) = *hosts else {
            return None;
        };
        let consists_of = |signs: &[u8]| name.iter().all(|byte| has_any(signs, &[*byte]));
        if name.starts_with(b"@") {
            Some(Self::Netgroup)
        } else if index_like(b"everyone everybody all any world", b' ', name).is_some() {
            Some(Self::Everyone)
        } else if consists_of(b"*?.") {
            Some(Self::Wildcards)
        } else if consists_of(b"0123456789.*?") {
            Some(Self::Prefix)
        } else {
            None
        }
    }
}

/// The fault of a line or word.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Flaw {
    /// No absolute path without "..".
    Path,
    /// A byte order mark before the first path.
    Mark,
    /// A second path in a line, as BSD allows.
    Second,
    /// A word of the exports files of BSD or Solaris.
    Foreign,
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
    /// Kerberos or TLS: as client, as security flavor or as transport.
    Security,
    /// `mountpoint` with a path.
    Mountpoint,
    /// Another option that would promise what the server does not do.
    Unkept,
    /// A malformed address, network or netmask.
    Network,
    /// A malformed host name.
    Host,
    /// A host name, in an executable or machine that looks up none.
    Unnamed,
    /// Users other than those of the server, which cannot act as others.
    User,
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

/// Options with a value whose promise the server would break, each with its flaw.
const UNKEPT: [(&[u8], Flaw); 4] = [
    (b"sec xprtsec", Flaw::Security),
    (b"mountpoint mp", Flaw::Mountpoint),
    (
        b"refer replicas reexport squash_uids squash_gids",
        Flaw::Unkept,
    ),
    (FOREIGN, Flaw::Foreign),
];
/// Options of exports(5) of the BSDs and macOS, and of share_nfs(8) of Solaris. There, `rw` and `ro` have hosts as value.
const FOREIGN: &[u8] = b"maproot mapall alldirs network mask webnfs public index quiet offline noresvport noresvmnt rw ro \
    anon root access nosub nosuid aclok log";

/// A set of accepted options without effect: bits by their index in `OPTIONS`.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub struct Ignored(u64);

impl Ignored {
    /// The names of the options.
    pub fn names(self) -> impl Iterator<Item = &'static [u8]> {
        let options = parts(OPTIONS, b' ').enumerate();
        options.filter_map(move |(index, name)| (self.0 >> index & 1 != 0).then_some(name))
    }
}

/// Sets the rule that an option names.
///
/// # Errors
/// `Option`, `Value`, `Unkept`.
pub fn set_option(rules: &mut Rules, word: &[u8], ignored: &mut Ignored) -> Result<(), Flaw> {
    let (name, value) = cut(word, b'=');
    match index_of(VALUED, name) {
        Some(0) => rules.fsid = Some(fsid(value).ok_or(Flaw::Value)?),
        Some(index) => {
            let id = id(value).ok_or(Flaw::Value)?;
            match index {
                1 => rules.anonymous.0 = id,
                _ => rules.anonymous.1 = id,
            }
        }
        None => return set_flag(rules, word, name, ignored),
    }
    Ok(())
}

/// Sets the rule of an option without a value. `name` is the part of `word` before any "=".
fn set_flag(
    rules: &mut Rules,
    word: &[u8],
    name: &[u8],
    ignored: &mut Ignored,
) -> Result<(), Flaw> {
    // An empty value of `mountpoint` and `mp` means the export's own path.
    let is_own = matches!(word, b"mountpoint=" | b"mp=");
    match index_of(OPTIONS, if is_own { name } else { word }) {
        None => {
            let unkept = UNKEPT
                .iter()
                .find(|(names, _)| index_of(names, name).is_some());
            return Err(match unkept {
                Some((_, flaw)) => *flaw,
                None if index_of(OPTIONS, name).is_some() => Flaw::Value,
                None => Flaw::Option,
            });
        }
        Some(index @ ..FIRST_OTHER) => {
            let option = 1 << (index / 2);
            rules.set &= !option;
            rules.set |= option * (index % 2) as u8;
        }
        Some(FIRST_OTHER) => rules.set |= Rules::NEEDS_MOUNT,
        Some(FIRST_KEPT..FIRST_IGNORED) => {}
        Some(index) => ignored.0 |= 1 << index,
    }
    Ok(())
}

/// Parses a value of `fsid`: a number as by strtoul(3) with base 0, `root`, or a UUID, of which a hash is taken.
fn fsid(value: &[u8]) -> Option<u32> {
    let (digits, base) = match value {
        b"root" => return Some(0),
        [b'0', b'x' | b'X', digits @ ..] => (digits, 16),
        [b'0', ..] => (value, 8),
        _ => (value, 10),
    };
    number(digits, base).or_else(|| {
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
/// `Security`, `Second`, `Network`, `Host`.
pub fn hosts(word: &[u8]) -> Result<Hosts<'_>, Flaw> {
    let is_name = |byte: &u8| byte.is_ascii_alphanumeric() || has_any(b"-_.*?[]!^", &[*byte]);
    match word {
        [] | [b'*'] => return Ok(Hosts::Everyone),
        [b'@', name @ ..] => {
            let is_named = name.iter().all(u8::is_ascii_graphic);
            return is_named.then_some(Hosts::Named(word)).ok_or(Flaw::Host);
        }
        [b'/', ..] => return Err(Flaw::Second),
        [b'g', b's', b's', b'/', ..] => return Err(Flaw::Security),
        _ => {}
    }
    let mut sides = parts(word, b'/');
    let host = sides.next().unwrap_or_default();
    match (address(host), sides.rest) {
        (Some(address), None) => Ok(Hosts::Network { address, bits: 128 }),
        (Some(address), Some(text)) => {
            let is_v4 = !has_any(host, b":");
            let bits = prefix(is_v4, text).ok_or(Flaw::Network)?;
            Ok(Hosts::Network { address, bits })
        }
        (None, None) if !has_any(word, b":") => {
            let is_named = word.first() != Some(&b'-') && word.iter().all(is_name);
            is_named.then_some(Hosts::Named(word)).ok_or(Flaw::Host)
        }
        (None, _) => Err(Flaw::Network),
    }
}

/// Parses the length of a prefix or a netmask, of a network that is written as an IPv4 address if `is_v4`. Returns the length of the
/// prefix of the IPv6 address.
fn prefix(is_v4: bool, text: &[u8]) -> Option<u8> {
    let first = if is_v4 { MAPPED_BITS } else { 0 };
    if let Some(bits) = number(text, 10) {
        let bits = bits.checked_add(first.into())?;
        return u8::try_from(bits).ok().filter(|bits| *bits <= 128);
    }
    let mask = address(text).filter(|_| has_any(text, b":") != is_v4)?;
    let mut zeros = !mask.to_bits();
    if is_v4 {
        zeros &= u32::MAX as u128;
    }
    // All zeros of a netmask are at its end.
    (zeros & zeros.wrapping_add(1) == 0).then_some(zeros.leading_zeros() as u8)
}

/// Returns true for the bytes that end a word: those of isspace(3) but the end of a line.
const fn is_blank(byte: u8) -> bool {
    matches!(byte, b' ' | b'\t' | b'\r' | 0x0b | 0x0c)
}

/// Returns the first byte of a word and its length: 4 for `\ooo`, else 1.
fn unescaped(word: &[u8]) -> (u8, usize) {
    if let [b'\\', digits @ ..] = word
        && let Some(Ok(byte)) = number(digits.head(3), 8).map(u8::try_from)
    {
        return (byte, 4);
    }
    (word.first().copied().unwrap_or_default(), 1)
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
    /// Line and column of the hosts, from 1.
    pub at: (u32, u32),
}

/// A malformed word.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Misplaced {
    /// Its line, from 1.
    pub line: u32,
    /// Its first column, from 1.
    pub column: u32,
    /// Its flaw.
    pub flaw: Flaw,
}

struct Scanner<'a> {
    text: &'a mut [u8],
    /// Offset of the next byte.
    at: usize,
    /// Number of the line that contains the next byte, from 1.
    line: u32,
    /// Offset of that line.
    line_at: usize,
    /// Line and column of the word that is malformed if an error is returned.
    word: (u32, u32),
    /// True within a quoted part.
    is_quoted: bool,
    ignored: &'a mut Ignored,
}

/// Parses a file, passes each entry to `each`, and adds the options without effect to `ignored`. Quotes and escapes are removed from
/// words in `text`.
///
/// # Errors
/// The first malformed word.
pub fn parse(
    text: &mut [u8],
    ignored: &mut Ignored,
    each: &mut dyn FnMut(&Entry<'_>) -> Result<(), Flaw>,
) -> Result<(), Misplaced> {
    let mut scanner = Scanner {
        text,
        at: 0,
        line: 1,
        line_at: 0,
        word: (1, 1),
        is_quoted: false,
        ignored,
    };
    let is_marked = matches!(
        scanner.text,
        [0xef, 0xbb, 0xbf, ..] | [0xff, 0xfe, ..] | [0xfe, 0xff, ..]
    );
    let read = match is_marked {
        true => Err(Flaw::Mark),
        false => scanner.lines(each),
    };
    read.map_err(|flaw| {
        let (line, column) = scanner.word;
        Misplaced { line, column, flaw }
    })
}

impl Scanner<'_> {
    fn peek(&self) -> Option<u8> {
        self.text.get(self.at).copied()
    }

    /// Line and column of the next byte.
    const fn position(&self) -> (u32, u32) {
        (self.line, (self.at - self.line_at) as u32 + 1)
    }

    /// Skips the last `len` bytes of a line.
    const fn end_line(&mut self, len: usize) {
        self.at += len;
        self.line += 1;
        self.line_at = self.at;
    }

    /// Skips blanks, continuations and a comment. Returns the next byte.
    fn skip(&mut self) -> Option<u8> {
        loop {
            match self.text.tail(self.at) {
                [byte, ..] if is_blank(*byte) => self.at += 1,
                [b'\\', b'\n', ..] => self.end_line(2),
                [b'#', rest @ ..] => {
                    let end = rest.iter().position(|byte| *byte == b'\n');
                    self.at += 1 + end.unwrap_or(rest.len());
                }
                rest => return rest.first().copied(),
            }
        }
    }

    /// Reads all lines.
    fn lines(&mut self, each: &mut dyn FnMut(&Entry<'_>) -> Result<(), Flaw>) -> Result<(), Flaw> {
        loop {
            match self.skip() {
                None => return Ok(()),
                Some(b'\n') => self.end_line(1),
                Some(_) => self.line(each)?,
            }
        }
    }

    /// Reads a line from its path on.
    fn line(&mut self, each: &mut dyn FnMut(&Entry<'_>) -> Result<(), Flaw>) -> Result<(), Flaw> {
        let (path_at, path) = (self.at, self.position());
        self.word = path;
        let path_end = self.word(*b"\n\n")?;
        if self.text.get(path_at) != Some(&b'/') {
            return Err(match self.text.head(path_end).tail(path_at) {
                // Lines of Solaris' dfstab, and of FreeBSD for NFS version 4.
                b"share" | b"V4:" => Flaw::Foreign,
                _ => Flaw::Path,
            });
        }
        let mut defaults = Rules::OF_FILE;
        let mut has_clients = false;
        loop {
            let next = self.skip();
            let ends = matches!(next, None | Some(b'\n'));
            if ends && has_clients {
                return Ok(());
            }
            self.word = self.position();
            self.skip_quotes();
            let at = self.at;
            if !ends && self.peek() == Some(b'-') {
                self.at += 1;
                self.options(&mut defaults)?;
                self.end_of_word()?;
                continue;
            }
            let (mut rules, place) = (defaults, self.word);
            let end = self.word(*b"((")?;
            if !ends && end == at && self.peek() != Some(b'(') {
                // An empty pair of quotes, which must not mean every host.
                return Err(Flaw::Host);
            }
            if self.peek() == Some(b'(') {
                self.at += 1;
                self.options(&mut rules)?;
                if self.peek() != Some(b')') {
                    return Err(Flaw::List);
                }
                self.at += 1;
                self.end_of_word()?;
            }
            has_clients = true;
            let entry = Entry {
                path: self.text.head(path_end).tail(path_at),
                hosts: hosts(self.text.head(end).tail(at))?,
                rules,
                at: place,
            };
            let added = each(&entry);
            // Other faults of `each` concern the path.
            self.word = match added {
                Err(Flaw::Unnamed) => place,
                _ => path,
            };
            added?;
            if ends {
                return Ok(());
            }
        }
    }

    /// Skips quotation marks: each begins or ends a quoted part.
    fn skip_quotes(&mut self) {
        while self.peek() == Some(b'"') {
            self.is_quoted = !self.is_quoted;
            self.at += 1;
        }
    }

    /// Returns true at the end of a word: a blank, a continuation or the end of the text.
    fn is_at_end(&self) -> bool {
        match self.text.tail(self.at) {
            [] | [b'\n', ..] | [b'\\', b'\n', ..] => true,
            [byte, ..] => is_blank(*byte),
        }
    }

    fn end_of_word(&mut self) -> Result<(), Flaw> {
        self.skip_quotes();
        match (self.is_quoted, self.is_at_end()) {
            (false, true) => Ok(()),
            (true, true) if !self.peek().is_some_and(is_blank) => Err(Flaw::Quote),
            _ => Err(Flaw::List),
        }
    }

    /// Reads options up to ")", or up to a blank outside of quotes.
    fn options(&mut self, rules: &mut Rules) -> Result<(), Flaw> {
        loop {
            while self.is_quoted && self.peek().is_some_and(is_blank) {
                self.at += 1;
            }
            let position = self.position();
            let outcome = self.option(rules);
            if outcome.is_err() {
                self.word = position;
                return outcome;
            }
            if self.peek() != Some(b',') {
                return Ok(());
            }
            self.at += 1;
        }
    }

    /// Reads an option, which may be empty.
    fn option(&mut self, rules: &mut Rules) -> Result<(), Flaw> {
        let at = self.at;
        let end = self.word(*b",)")?;
        match self.text.head(end).tail(at) {
            [] => Ok(()),
            word => set_option(rules, word, self.ignored),
        }
    }

    /// Reads a word up to one of `stops`, or up to a blank outside of quotes. Removes quotes and escapes: the word is then in the text
    /// from its start up to the offset returned. A quoted part may continue after a stop, because quotes only keep blanks.
    fn word(&mut self, stops: [u8; 2]) -> Result<usize, Flaw> {
        let mut end = self.at;
        loop {
            self.skip_quotes();
            let (byte, len) = match self.text.tail(self.at) {
                [] | [b'\n', ..] if self.is_quoted => return Err(Flaw::Quote),
                _ if !self.is_quoted && self.is_at_end() => return Ok(end),
                [byte, ..] if stops.contains(byte) => return Ok(end),
                rest => unescaped(rest),
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
