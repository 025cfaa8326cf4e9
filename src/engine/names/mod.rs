//! Looks up the host names of exports, and the names of clients that wildcards may match: /etc/hosts, DNS, one-shot multicast DNS
//! (RFC 6762 section 5.1). Sans-IO, never in a request's way. Results are in the tree ([`crate::vfs::Addresses`],
//! [`crate::vfs::NamedPeer`]).
//!
//! Each name has a state of its own, so none waits for another's server. A name is looked up again every five minutes, and after
//! 1, 2, 4 … 30 s if no server answered; meanwhile the earlier result is kept, for 15 minutes. A client without an earlier result is
//! undecided for that time. Unknown is no match, and is reported once.

mod chance;
mod kept;
mod message;
mod steps;
#[cfg(test)]
mod tests;

use super::Cx;
use super::service::{Due, Local, Service, Transmit};
use crate::config::{
    CLIENT_COUNT_MAX, HOSTS_FILE_BYTES_MAX, HOSTS_FILE_BYTES_MIN, NAME_BURST_COUNT,
    NAME_BURST_PAUSE, NAME_WAIT, NAMED_PEER_BYTES, NAMED_PEER_COUNT_MAX, NAMED_PEER_COUNT_MIN,
};
use crate::event::Events;
use crate::mem::{Ends as _, Slots, scaled};
use crate::time::{Duration, Instant};
use crate::vfs::{FsError, Tree};
use crate::wire::dns::{self, Message};
use crate::wire::exports::{Doubt, Hosts};
use crate::wire::label::is_local;
use crate::wire::resolv_conf::Config;
use chance::Chance;
use core::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, SocketAddrV6};
use message::Question;

/// Own addresses from which multicast questions are sent, at most.
pub const LINK_COUNT_MAX: usize = 16;
/// Time after which a multicast question is repeated.
const MULTICAST_TIMEOUT: Duration = Duration::SECOND;
/// The groups of multicast DNS.
const GROUP_V4: Ipv4Addr = Ipv4Addr::new(224, 0, 0, 251);
const GROUP_V6: Ipv6Addr = Ipv6Addr::new(0xff02, 0, 0, 0, 0, 0, 0, 0xfb);

/// The owner of an [`Ask`]: a host name or a client, by its number in the tree.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Subject {
    Name(usize),
    Peer(usize),
}

/// The question of a look-up.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Stage {
    /// No question: the next look-up begins at `until`.
    Idle,
    /// IPv4 addresses of a host name.
    V4,
    /// IPv6 addresses of a host name.
    V6,
    /// Names of a client.
    Reverse,
    /// The address of such a name, in the family of the client.
    Confirm,
}

/// A look-up.
#[derive(Clone, Copy, Debug)]
struct Ask {
    /// Time of the next step.
    until: Instant,
    stage: Stage,
    /// True once the question was sent.
    is_sent: bool,
    is_multicast: bool,
    /// True if a question of this look-up was not answered.
    is_unanswered: bool,
    /// True once a look-up has ended.
    is_done: bool,
    /// True if the next look-up begins with the client's next call, before `until`.
    is_lazy: bool,
    /// Families that were found: 1 for IPv4, 2 for IPv6.
    found: u8,
    /// Number of the name among those that the search list makes, or among the names of the client.
    candidate: u8,
    /// Number of times that the question was sent before.
    try_count: u8,
    /// Number of look-ups without an answer since the last one with an answer.
    silence_count: u8,
    /// The server that is asked first.
    server: u8,
    /// The own address from which a multicast question is sent next.
    link: u8,
    socket: u8,
    id: u16,
}

impl Ask {
    const NEW: Self = Self {
        until: Instant::from_ms(0),
        stage: Stage::Idle,
        is_sent: false,
        is_multicast: false,
        is_unanswered: false,
        is_done: false,
        is_lazy: false,
        found: 0,
        candidate: 0,
        try_count: 0,
        silence_count: 0,
        server: 0,
        link: 0,
        socket: 0,
        id: 0,
    };

    /// Continues with another question.
    const fn ask(&mut self, stage: Stage, now: Instant) {
        self.stage = stage;
        self.is_sent = false;
        self.try_count = 0;
        self.link = 0;
        self.until = now;
    }
}

/// The look-up of a client's names.
#[derive(Clone, Copy, Debug)]
struct PeerAsk {
    /// The client. The tree may have another one at this place.
    address: Ipv6Addr,
    /// Time at which its calls stop waiting.
    late_at: Instant,
    ask: Ask,
    /// Names that were found but not confirmed yet, each with a NUL.
    names: [u8; NAMED_PEER_BYTES],
    names_len: u16,
    /// The confirmed names at the start of `names`.
    confirmed_len: u16,
}

impl PeerAsk {
    const fn new(address: Ipv6Addr, now: Instant) -> Self {
        let mut ask = Ask::NEW;
        ask.until = now;
        Self {
            address,
            late_at: now.after(NAME_WAIT),
            ask,
            names: [0; _],
            names_len: 0,
            confirmed_len: 0,
        }
    }
}

/// See the head of the file.
#[derive(Debug)]
pub struct Resolver {
    config: Config,
    /// The text of /etc/hosts.
    hosts: Slots<u8>,
    hosts_len: usize,
    chance: Chance,
    /// Own addresses, and the indices of their interfaces.
    links: heapless::Vec<(IpAddr, u32), LINK_COUNT_MAX>,
    /// By the numbers of host names in the tree.
    names: Slots<Ask>,
    /// By the numbers of named clients in the tree.
    peers: Slots<PeerAsk>,
    /// The look-up whose question was returned last.
    sent: Subject,
    /// Number of open sockets.
    socket_count: u32,
    /// The server that answered last.
    server: u8,
    /// Servers that do not know EDNS, a bit each.
    plain: u8,
    /// True if an export has wildcards that names of multicast DNS may match.
    has_local_patterns: bool,
    /// True if unknown names are reported.
    reports: bool,
    /// True if a message says that calls fail because no server answers.
    has_given_up: bool,
    /// True if a result has arrived since [`Resolver::take_progress`].
    has_progress: bool,
    /// The look-up that is examined next.
    at: usize,
    /// Earliest `until` of the look-ups examined since `at` was 0.
    least: Instant,
    next_at: Instant,
    /// Time at which clients stop waiting for host names.
    late_at: Instant,
    burst_left: u32,
}

impl Resolver {
    /// Makes memory for the look-ups. `seed` is random. `reports`: unknown names are reported.
    pub fn new(seed: [u8; 16], name_count: usize, reports: bool) -> Self {
        let peer_count = scaled(NAMED_PEER_COUNT_MIN, NAMED_PEER_COUNT_MAX);
        Self {
            config: Config::default(),
            hosts: Slots::zeroed(scaled(HOSTS_FILE_BYTES_MIN, HOSTS_FILE_BYTES_MAX)),
            hosts_len: 0,
            chance: Chance::new(seed),
            links: heapless::Vec::new(),
            names: Slots::new(name_count.min(CLIENT_COUNT_MAX)),
            peers: Slots::new(peer_count),
            sent: Subject::Name(0),
            socket_count: 0,
            server: 0,
            plain: 0,
            has_local_patterns: false,
            reports,
            has_given_up: false,
            has_progress: false,
            at: 0,
            least: Instant::NEVER,
            next_at: Instant::NEVER,
            late_at: Instant::NEVER,
            burst_left: NAME_BURST_COUNT,
        }
    }

    /// Sets the own addresses, with the indices of their interfaces, from which multicast questions are sent.
    pub fn set_links(&mut self, links: &mut dyn Iterator<Item = (IpAddr, u32)>) {
        self.links.clear();
        self.links.extend(links.take(LINK_COUNT_MAX));
    }

    /// Sets the number of open sockets.
    pub const fn set_socket_count(&mut self, count: u32) {
        self.socket_count = count;
    }

    /// The memory for /etc/hosts.
    pub fn hosts_buffer(&mut self) -> &mut [u8] {
        &mut self.hosts
    }

    /// Sets the length of /etc/hosts in its memory. The last line is ignored if it may be incomplete.
    pub fn set_hosts(&mut self, len: usize) {
        let text = self.hosts.head(len);
        let is_whole = len < self.hosts.len();
        let end = text.iter().rposition(|byte| *byte == b'\n');
        self.hosts_len = if is_whole { len } else { end.unwrap_or(0) };
    }

    /// Sets the name servers and the search list.
    pub fn set_config(&mut self, config: Config) {
        (self.config, self.server, self.plain) = (config, 0, 0);
    }

    /// A random port above 49151.
    pub fn random_port(&mut self) -> u16 {
        self.chance.next() as u16 | 0xc000
    }

    /// Begins the look-up of all names, after the exports were read. Clients wait for new names, for a limited time.
    pub fn restart(&mut self, now: Instant, tree: &mut Tree) {
        self.names.clear();
        self.has_local_patterns = false;
        for number in 0..tree.host_name_count() {
            let Some(host) = tree.host_name(number) else {
                break;
            };
            let ends_open = host.name.last().is_some_and(|byte| b"*?]".contains(byte));
            self.has_local_patterns |= host.is_pattern && (ends_open || has_local_top(host.name));
            let doubt = Doubt::about(&Hosts::Named(host.name));
            // The start of an address is not looked up: resolvers complete it.
            let is_name = !matches!(doubt, Some(Doubt::Prefix | Doubt::Netgroup));
            let is_asked = !host.is_pattern && is_name;
            let mut ask = Ask::NEW;
            // Known addresses stay valid if no server answers.
            ask.until = if is_asked { now } else { Instant::NEVER };
            if let Some(known) = tree.addresses(number) {
                known.outcome.since = now;
                if !is_asked {
                    known.outcome.refusal = FsError::Stale;
                }
                // A message about the doubt was reported already.
                known.is_reported |= doubt.is_some();
            }
            self.names.push(ask);
        }
        for peer in self.peers.iter_mut() {
            peer.ask = Ask::NEW;
        }
        for peer in tree.named_peers() {
            peer.outcome.since = now;
        }
        self.late_at = now.after(NAME_WAIT);
        self.wake(now);
        self.at = 0;
    }

    /// Examines all look-ups at `now`.
    pub fn wake(&mut self, now: Instant) {
        self.next_at = self.next_at.min(now);
        self.least = self.least.min(now);
    }

    /// Returns true once after results have arrived: calls that wait are to be repeated.
    pub fn take_progress(&mut self) -> bool {
        core::mem::take(&mut self.has_progress)
    }

    /// Returns true if each host name was looked up.
    pub fn is_done(&self) -> bool {
        let mut names = self.names.iter();
        names.all(|ask| ask.is_done || ask.until == Instant::NEVER)
    }

    /// Writes the next question to `out`. `None`: nothing is due.
    fn next_question_due(
        &mut self,
        now: Instant,
        tree: &mut Tree,
        events: &mut Events,
        out: &mut [u8],
    ) -> Option<Transmit> {
        if self.late_at <= now {
            self.late_at = Instant::NEVER;
            self.end_waiting(tree);
        }
        if self.next_at > now {
            return None;
        }
        let peer_count = tree.named_peers().len();
        while let Some(subject) = self.subject(self.at, peer_count) {
            if self.burst_left == 0 {
                self.burst_left = NAME_BURST_COUNT;
                self.next_at = now.after(NAME_BURST_PAUSE);
                return None;
            }
            self.follow_peer(subject, now, tree);
            let sent = self.step(subject, now, tree, events, out);
            let until = self.until(subject);
            if until > now {
                self.least = self.least.min(until);
                self.at += 1;
            }
            if sent.is_some() {
                self.sent = subject;
                return sent;
            }
        }
        self.at = 0;
        self.next_at = core::mem::replace(&mut self.least, Instant::NEVER);
        self.burst_left = NAME_BURST_COUNT;
        None
    }

    /// The owner of the look-up with this number; `None`: there are fewer.
    fn subject(&self, at: usize, peer_count: usize) -> Option<Subject> {
        match at.checked_sub(self.names.len()) {
            None => Some(Subject::Name(at)),
            Some(peer) => (peer < peer_count).then_some(Subject::Peer(peer)),
        }
    }

    /// Starts over if the tree has another client at this place. Lets calls of a client continue that waited for long.
    fn follow_peer(&mut self, subject: Subject, now: Instant, tree: &mut Tree) {
        let Subject::Peer(at) = subject else {
            return;
        };
        let Some(peer) = tree.named_peers().get_mut(at) else {
            return;
        };
        if peer.outcome.since == Instant::default() {
            peer.outcome.since = now;
        }
        let new = PeerAsk::new(peer.address, now);
        let Some(known) = self.peers.get_mut(at) else {
            self.peers.push(new);
            return;
        };
        if known.address != peer.address {
            *known = new;
        }
        if known.ask.is_lazy && peer.is_used() {
            known.ask.until = now;
        }
        if peer.outcome.refusal != FsError::AwaitsNames {
            known.late_at = Instant::NEVER;
        } else if known.late_at <= now {
            known.late_at = Instant::NEVER;
            peer.outcome.refusal = FsError::TryLater;
            self.has_progress = true;
        }
    }

    /// Lets all calls continue that wait for host names.
    fn end_waiting(&mut self, tree: &mut Tree) {
        for number in 0..tree.host_name_count() {
            if let Some(host) = tree.addresses(number)
                && host.outcome.refusal == FsError::AwaitsNames
            {
                host.outcome.refusal = FsError::TryLater;
            }
        }
        self.has_progress = true;
    }

    fn ask(&mut self, subject: Subject) -> Option<&mut Ask> {
        match subject {
            Subject::Name(at) => self.names.get_mut(at),
            Subject::Peer(at) => self.peers.get_mut(at).map(|peer| &mut peer.ask),
        }
    }

    /// Time of the next step of a look-up.
    fn until(&mut self, subject: Subject) -> Instant {
        let late_at = match subject {
            Subject::Peer(at) => self.peers.get(at).map(|peer| peer.late_at),
            Subject::Name(_) => None,
        };
        let late_at = late_at.unwrap_or(Instant::NEVER);
        let until = self.ask(subject).map(|ask| ask.until);
        until.unwrap_or(Instant::NEVER).min(late_at)
    }

    /// Handles a datagram that arrived at a socket. Anything but the answer to a question that was sent from this socket to the
    /// sender is ignored.
    fn handle(
        &mut self,
        now: Instant,
        (socket, from): (u16, SocketAddr),
        bytes: &[u8],
        tree: &mut Tree,
        events: &mut Events,
    ) {
        let Ok(message) = Message::parse(bytes) else {
            return;
        };
        let id = message.id();
        let is_it = |ask: &Ask| ask.is_sent && ask.id == id && u16::from(ask.socket) == socket;
        let name = self.names.iter().position(is_it).map(Subject::Name);
        let peer = || self.peers.iter().position(|peer| is_it(&peer.ask));
        let Some(subject) = name.or_else(|| peer().map(Subject::Peer)) else {
            return;
        };
        let Some((question, server)) = self.asked(subject, from, tree) else {
            return;
        };
        let Some(answer) = question.parse(&message) else {
            return;
        };
        self.answered(subject, now, (answer, server), tree, events);
        self.wake(now);
    }

    /// The question that was sent, and the number of its server, if the answer may come from `from`: perhaps from a slow server, after
    /// another one was asked.
    fn asked(&mut self, subject: Subject, from: SocketAddr, tree: &Tree) -> Option<(Question, u8)> {
        let is_multicast = self.ask(subject)?.is_multicast;
        let question = self.question(subject, tree)?;
        let at = (from.ip().to_canonical(), from.port());
        if is_multicast {
            return (at.1 == dns::PORT).then_some((question, 0));
        }
        let mut servers = self.config.servers().iter();
        let is_it = |server: &SocketAddrV6| (server.ip().to_canonical(), server.port()) == at;
        let number = servers.position(is_it)?;
        Some((question, number as u8))
    }

    /// The server that is asked now, and its number.
    fn server_of(&self, ask: &Ask) -> Option<(u8, SocketAddrV6)> {
        let servers = self.config.servers();
        let number = (usize::from(ask.server) + usize::from(ask.try_count)) % servers.len().max(1);
        Some((number as u8, *servers.get(number)?))
    }
}

impl Service for Resolver {
    fn datagram(
        &mut self,
        cx: &mut Cx<'_>,
        at: Local,
        from: SocketAddr,
        input: &[u8],
        _: &mut [u8],
    ) -> Option<Transmit> {
        self.handle(cx.now, (at.socket, from), input, cx.vfs, cx.events);
        None
    }

    fn due(&mut self, cx: &mut Cx<'_>, output: &mut [u8]) -> Due {
        let question = self.next_question_due(cx.now, cx.vfs, cx.events, output);
        question.map_or(Due::Nothing, Due::Send)
    }

    /// The next server is asked at once.
    fn unsent(&mut self, now: Instant) {
        if let Some(ask) = self.ask(self.sent)
            && !ask.is_multicast
        {
            ask.until = now;
            self.wake(now);
        }
    }

    fn poll_at(&self) -> Instant {
        self.next_at.min(self.late_at)
    }
}

/// Returns true if the last label of a name, or of a pattern, is `local`.
fn has_local_top(name: &[u8]) -> bool {
    let last = name.rsplit(|byte| *byte == b'.').next();
    last.is_some_and(is_local)
}

/// Returns true if a name has two labels, of which the last is `local`: it is looked up by multicast DNS only.
fn is_host_local(name: &[u8]) -> bool {
    let dots = name.iter().filter(|byte| **byte == b'.').count();
    dots == 1 && has_local_top(name)
}
