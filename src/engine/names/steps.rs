//! The steps of a look-up: which question follows which answer, and what a look-up has found at its end.

use super::super::service::{Local, Transmit};
use super::message::{Answer, List, Question};
use super::{
    GROUP_V4, GROUP_V6, MULTICAST_TIMEOUT, Resolver, Stage, Subject, has_local_top, is_host_local,
};
use crate::config::{NAME_KEEP, NAME_REFRESH, NAME_RETRY_SECS_MAX};
use crate::event::{Events, Line};
use crate::mem::{Ends as _, copy_into};
use crate::text::{Text, text};
use crate::time::{Duration, Instant};
use crate::vfs::{FsError, Outcome, Tree};
use crate::wire::dns::{self, kind};
use crate::wire::hosts;
use crate::wire::label::{is_like, without_dot};
use core::net::{IpAddr, Ipv6Addr, SocketAddr, SocketAddrV6};

/// Bits of [`super::Ask::found`].
const FOUND_V4: u8 = 1;
const FOUND_V6: u8 = 2;

/// The end of a look-up.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum End {
    Found,
    /// The host does not exist.
    Unknown,
    /// No server or host has answered.
    Unanswered,
    /// An answer was truncated.
    Truncated,
    /// The name has no form of DNS.
    Malformed,
}

impl Resolver {
    /// Makes the next step of a look-up, if one is due. Returns the datagram to send.
    pub(super) fn step(
        &mut self,
        subject: Subject,
        now: Instant,
        tree: &mut Tree,
        events: &mut Events,
        out: &mut [u8],
    ) -> Option<Transmit> {
        let ask = *self.ask(subject)?;
        if ask.until > now {
            return None;
        }
        self.burst_left = self.burst_left.saturating_sub(1);
        if ask.stage == Stage::Idle {
            self.begin(subject, now, tree, events);
        } else if ask.is_sent {
            // No answer in time.
            self.try_again(subject, now, tree, events);
        }
        let ask = *self.ask(subject)?;
        if ask.stage == Stage::Idle || ask.is_sent || ask.until > now {
            return None;
        }
        let Some(question) = self.question(subject, tree) else {
            self.skip(subject, now, tree, events);
            return None;
        };
        self.send(subject, &question, now, out)
    }

    /// Begins a look-up: by /etc/hosts, or with the first question.
    fn begin(&mut self, subject: Subject, now: Instant, tree: &mut Tree, events: &mut Events) {
        let server = match self.config.rotates {
            true => self.chance.next() as u8,
            false => self.server,
        };
        let Some(ask) = self.ask(subject) else {
            return;
        };
        (ask.found, ask.candidate, ask.is_unanswered) = (0, 0, false);
        (ask.server, ask.is_multicast) = (server, false);
        match subject {
            Subject::Name(number) => {
                ask.ask(Stage::V4, now);
                let Some(host) = tree.host_name(number) else {
                    return;
                };
                let list = self.listed(host.name);
                if list.is_empty() {
                    return;
                }
                self.found_addresses(number, &list, tree);
                let found = |is_v4| {
                    list.iter()
                        .any(|one| one.to_ipv4_mapped().is_some() == is_v4)
                };
                let bits = [(true, FOUND_V4), (false, FOUND_V6)]
                    .map(|(is_v4, bit)| u8::from(found(is_v4)) * bit);
                if let Some(ask) = self.ask(subject) {
                    ask.found = bits.iter().sum();
                }
                self.end(subject, End::Found, now, tree, events);
            }
            Subject::Peer(at) => self.begin_peer(at, now, tree, events),
        }
    }

    fn begin_peer(&mut self, at: usize, now: Instant, tree: &mut Tree, events: &mut Events) {
        let Some(known) = tree.named_peers().get_mut(at) else {
            return;
        };
        let address = known.address;
        let Some(peer) = self.peers.get_mut(at) else {
            return;
        };
        (peer.names_len, peer.confirmed_len) = (0, 0);
        if !known.take_used() {
            let forgotten_at = known.outcome.since.after(NAME_KEEP);
            if peer.ask.is_lazy || known.names().next().is_none() || forgotten_at <= now {
                // The place is free.
                known.address = Ipv6Addr::UNSPECIFIED;
                peer.ask.until = Instant::NEVER;
            } else {
                // The next call of the client begins the look-up, or the client is forgotten.
                (peer.ask.is_lazy, peer.ask.until) = (true, forgotten_at);
            }
            return;
        }
        peer.ask.is_lazy = false;
        peer.ask.ask(Stage::Reverse, now);
        let is_link_local = match address.to_canonical() {
            IpAddr::V4(address) => address.is_link_local(),
            IpAddr::V6(address) => address.is_unicast_link_local(),
        };
        peer.ask.is_multicast = is_link_local && self.has_local_patterns;
        let text = self.hosts.head(self.hosts_len);
        for line in hosts::lines(text).filter(|line| line.address == address) {
            for name in line.names() {
                let len = usize::from(peer.names_len);
                if len + name.len() < peer.names.len() {
                    copy_into(peer.names.tail_mut(len), name);
                    copy_into(peer.names.tail_mut(len + name.len()), &[0]);
                    peer.names_len += name.len() as u16 + 1;
                }
            }
        }
        peer.confirmed_len = peer.names_len;
        if peer.names_len > 0 {
            self.end(Subject::Peer(at), End::Found, now, tree, events);
        }
    }

    /// The addresses that /etc/hosts has for a name.
    fn listed(&self, name: &[u8]) -> List {
        let name = without_dot(name);
        let mut list = List::new();
        for line in hosts::lines(self.hosts.head(self.hosts_len)) {
            if line.names().any(|other| is_like(without_dot(other), name))
                && !list.contains(&line.address)
            {
                let _ = list.push(line.address);
            }
        }
        list
    }

    /// Stores the addresses of a host name, of all families that are in `list`.
    fn found_addresses(&mut self, number: usize, list: &[Ipv6Addr], tree: &mut Tree) {
        let Some(host) = tree.addresses(number) else {
            return;
        };
        for is_v4 in [true, false] {
            let is_of = |address: &&Ipv6Addr| address.to_ipv4_mapped().is_some() == is_v4;
            let mut of_family = List::new();
            of_family.extend(list.iter().filter(is_of).copied());
            if !of_family.is_empty() {
                host.replace(is_v4, &of_family);
                self.has_progress = true;
            }
        }
    }

    /// The question of a look-up. `None`: the name has no form of DNS, or there are no more names.
    pub(super) fn question(&mut self, subject: Subject, tree: &Tree) -> Option<Question> {
        let ask = *self.ask(subject)?;
        match subject {
            Subject::Name(number) => {
                let kind = match ask.stage {
                    Stage::V4 => kind::A,
                    _ => kind::AAAA,
                };
                let mut buffer = [0; 2 * dns::NAME_BYTES_MAX];
                let name = tree.host_name(number)?.name;
                let (len, is_multicast) =
                    self.candidate(name, ask.candidate.into(), &mut buffer)?;
                self.ask(subject)?.is_multicast = is_multicast;
                Question::of(buffer.head(len), kind)
            }
            Subject::Peer(at) => {
                let peer = self.peers.get_mut(at)?;
                if ask.stage == Stage::Reverse {
                    return Some(Question::about(peer.address));
                }
                let kind = match peer.address.to_ipv4_mapped() {
                    Some(_) => kind::A,
                    None => kind::AAAA,
                };
                let name = peer.unconfirmed()?;
                let is_multicast = is_host_local(name);
                let question = Question::of(name, kind);
                peer.ask.is_multicast = is_multicast;
                question
            }
        }
    }

    /// Writes the name with this number among those that the search list makes of a host name. Returns its length, and true if
    /// multicast DNS is asked.
    fn candidate(&self, name: &[u8], number: usize, out: &mut [u8]) -> Option<(usize, bool)> {
        let dots = name.iter().filter(|byte| **byte == b'.').count();
        let (is_absolute, is_local) = (name.ends_with(b"."), is_host_local(name));
        let searched = match is_absolute || is_local {
            true => 0,
            false => self.config.search().count(),
        };
        // Names with many dots are tried as they are first, other names last.
        let own = if dots >= self.config.ndots {
            0
        } else {
            searched
        };
        let mut len = name.len();
        copy_into(out, name);
        if number == own {
            return Some((len, is_local));
        }
        if number > searched {
            // `a.b.local` may be a name of DNS or of multicast DNS.
            let is_last =
                number == searched + 1 && has_local_top(name) && !is_absolute && !is_local;
            return is_last.then_some((len, true));
        }
        let index = number - usize::from(number > own);
        let domain = self.config.search().nth(index)?;
        copy_into(out.tail_mut(len), b".");
        copy_into(out.tail_mut(len + 1), domain);
        len += 1 + domain.len();
        let whole = out.get(..len)?;
        Some((len, is_host_local(whole)))
    }

    /// Writes a question for its next server, or for the next own address if it is multicast.
    fn send(
        &mut self,
        subject: Subject,
        question: &Question,
        now: Instant,
        out: &mut [u8],
    ) -> Option<Transmit> {
        let mut ask = *self.ask(subject)?;
        // A later try has the same number, so that a slow server's answer to the first one counts.
        if ask.link == 0 && ask.try_count == 0 {
            let chance = self.chance.next();
            ask.id = chance as u16;
            ask.socket = ((chance >> 16) % self.socket_count.max(1)) as u8;
        }
        let (from, to, has_edns);
        if ask.is_multicast {
            let link = self.links.get(usize::from(ask.link)).copied();
            (from, to) = match link {
                Some((IpAddr::V6(_), index)) => {
                    let group = SocketAddrV6::new(GROUP_V6, dns::PORT, 0, index);
                    (None, SocketAddr::V6(group))
                }
                link => {
                    let group = SocketAddr::new(GROUP_V4.into(), dns::PORT);
                    (link.map(|(own, _)| own), group)
                }
            };
            has_edns = false;
            ask.link += 1;
            if usize::from(ask.link) >= self.links.len() {
                ask.link = 0;
                ask.is_sent = true;
                ask.until = now.after(MULTICAST_TIMEOUT);
            }
        } else {
            let (number, server) = self.server_of(&ask)?;
            from = None;
            to = match server.ip().to_canonical() {
                IpAddr::V4(ip) => SocketAddr::new(ip.into(), server.port()),
                IpAddr::V6(_) => SocketAddr::V6(server),
            };
            has_edns = self.plain >> number & 1 == 0;
            ask.is_sent = true;
            ask.until = now.after(Duration::from_secs(self.config.timeout_secs));
        }
        *self.ask(subject)? = ask;
        let from = Local {
            address: from,
            ..Local::of(ask.socket.into())
        };
        Some(Transmit {
            from,
            to,
            len: question.write(ask.id, ask.is_multicast, has_edns, out),
        })
    }

    /// Asks the next server, or the last time ends the question.
    fn try_again(&mut self, subject: Subject, now: Instant, tree: &mut Tree, events: &mut Events) {
        let most = self.config.attempts * self.config.servers().len();
        let Some(ask) = self.ask(subject) else {
            return;
        };
        let most = match (ask.is_multicast, ask.found) {
            (false, _) => most,
            (true, 0) => 2,
            // The answer for the other family mostly has these addresses, too.
            (true, _) => 1,
        };
        (ask.is_sent, ask.until) = (false, now);
        ask.try_count += 1;
        if usize::from(ask.try_count) < most {
            return;
        }
        // Most hosts have no reverse name in multicast DNS.
        ask.is_unanswered |= !ask.is_multicast || ask.found == 0 && ask.stage != Stage::Reverse;
        self.next_question(subject, false, now, tree, events);
    }

    /// Ends a question that cannot be asked.
    fn skip(&mut self, subject: Subject, now: Instant, tree: &mut Tree, events: &mut Events) {
        let Some(ask) = self.ask(subject) else {
            return;
        };
        match subject {
            Subject::Name(_) if ask.candidate == 0 => {
                self.end(subject, End::Malformed, now, tree, events);
            }
            _ => self.next_question(subject, true, now, tree, events),
        }
    }

    /// Handles the answer of the server with the number `server`.
    pub(super) fn answered(
        &mut self,
        subject: Subject,
        now: Instant,
        (answer, server): (Answer, u8),
        tree: &mut Tree,
        events: &mut Events,
    ) {
        let Some(ask) = self.ask(subject) else {
            return;
        };
        let (stage, is_multicast) = (ask.stage, ask.is_multicast);
        match &answer {
            // Without EDNS at once; if that fails, too, the next server is asked.
            Answer::Plain if !is_multicast && self.plain >> server & 1 == 0 => {
                self.plain |= 1 << server;
                if let Some(ask) = self.ask(subject) {
                    (ask.is_sent, ask.until) = (false, now);
                }
                return;
            }
            Answer::Plain | Answer::Failed => {
                if !is_multicast {
                    self.try_again(subject, now, tree, events);
                }
                return;
            }
            Answer::NoName | Answer::NoData if is_multicast => return,
            _ if !is_multicast => self.server = server,
            _ => {}
        }
        match (subject, answer) {
            (Subject::Name(number), Answer::Addresses(list)) => {
                self.found_addresses(number, &list, tree);
                if let Some(ask) = self.ask(subject) {
                    ask.found |= if stage == Stage::V4 {
                        FOUND_V4
                    } else {
                        FOUND_V6
                    };
                }
                self.next_question(subject, false, now, tree, events);
            }
            (Subject::Peer(at), Answer::Names(names)) => {
                if let Some(peer) = self.peers.get_mut(at) {
                    copy_into(&mut peer.names, &names);
                    peer.names_len = names.len() as u16;
                    peer.ask.ask(Stage::Confirm, now);
                }
                self.confirm_listed(at, now, tree, events);
            }
            (Subject::Peer(at), Answer::Addresses(list)) => {
                if let Some(peer) = self.peers.get_mut(at) {
                    peer.confirm(list.contains(&peer.address));
                }
                self.next_question(subject, false, now, tree, events);
            }
            (_, Answer::Truncated) => self.end(subject, End::Truncated, now, tree, events),
            (_, answer) => {
                let is_absent = matches!(answer, Answer::NoName);
                self.next_question(subject, is_absent, now, tree, events);
            }
        }
    }

    /// Continues after a question. `is_absent`: the name does not exist, so it has no records of another type either.
    fn next_question(
        &mut self,
        subject: Subject,
        is_absent: bool,
        now: Instant,
        tree: &mut Tree,
        events: &mut Events,
    ) {
        let has_local_patterns = self.has_local_patterns;
        let Some(ask) = self.ask(subject) else {
            return;
        };
        let end = match ask.stage {
            Stage::Idle => return,
            Stage::V4 if !is_absent && (!ask.is_unanswered || ask.is_multicast) => {
                return ask.ask(Stage::V6, now);
            }
            Stage::V4 | Stage::V6 if ask.found != 0 => End::Found,
            Stage::V4 | Stage::V6 => {
                // A search list ends at a server that does not answer: the next name may be another host's.
                let is_stuck = ask.is_unanswered && !ask.is_multicast;
                ask.candidate += 1;
                ask.ask(Stage::V4, now);
                let ask = *ask;
                if !is_stuck && self.has_candidate(subject, tree) {
                    return;
                }
                match ask.is_unanswered {
                    true => End::Unanswered,
                    false => End::Unknown,
                }
            }
            Stage::Reverse if !ask.is_multicast && has_local_patterns => {
                ask.is_multicast = true;
                return ask.ask(Stage::Reverse, now);
            }
            Stage::Reverse if ask.is_unanswered => End::Unanswered,
            Stage::Reverse => End::Unknown,
            Stage::Confirm => {
                let Subject::Peer(at) = subject else {
                    return;
                };
                if let Some(peer) = self.peers.get_mut(at) {
                    peer.drop_unconfirmed();
                    peer.ask.ask(Stage::Confirm, now);
                }
                return self.confirm_listed(at, now, tree, events);
            }
        };
        self.end(subject, end, now, tree, events);
    }

    fn has_candidate(&mut self, subject: Subject, tree: &Tree) -> bool {
        let (Subject::Name(number), Some(ask)) = (subject, self.ask(subject).copied()) else {
            return false;
        };
        let buffer = &mut [0; 2 * dns::NAME_BYTES_MAX];
        let host = tree.host_name(number);
        host.is_some_and(|host| {
            let candidate = self.candidate(host.name, ask.candidate.into(), buffer);
            candidate.is_some()
        })
    }

    /// Confirms the next names of a client that /etc/hosts has with its address. Ends the look-up after the last name.
    fn confirm_listed(&mut self, at: usize, now: Instant, tree: &mut Tree, events: &mut Events) {
        while let Some(peer) = self.peers.get(at) {
            let Some(name) = peer.unconfirmed() else {
                let end = match (peer.confirmed_len, peer.ask.is_unanswered) {
                    (0, true) => End::Unanswered,
                    (0, false) => End::Unknown,
                    _ => End::Found,
                };
                return self.end(Subject::Peer(at), end, now, tree, events);
            };
            let list = self.listed(name);
            if list.is_empty() {
                return;
            }
            if let Some(peer) = self.peers.get_mut(at) {
                peer.confirm(list.contains(&peer.address));
                peer.drop_unconfirmed();
            }
        }
    }

    /// Ends all look-ups of host names that wait for an answer.
    pub fn give_up(&mut self, now: Instant, tree: &mut Tree, events: &mut Events) {
        for number in 0..self.names.len() {
            let subject = Subject::Name(number);
            let ask = self.ask(subject).filter(|ask| ask.stage != Stage::Idle);
            if ask.is_some() {
                self.end(subject, End::Unanswered, now, tree, events);
            }
        }
    }

    /// Ends a look-up, and stores its result in the tree.
    fn end(
        &mut self,
        subject: Subject,
        end: End,
        now: Instant,
        tree: &mut Tree,
        events: &mut Events,
    ) {
        self.has_progress = true;
        let (Some(ask), Some(outcome)) = (self.ask(subject), outcome(subject, tree)) else {
            return;
        };
        let is_unanswered =
            end == End::Unanswered || ask.is_unanswered && !ask.is_multicast && end == End::Found;
        let keeps = is_unanswered && now.since(outcome.since) < NAME_KEEP;
        let found = ask.found;
        (ask.stage, ask.is_sent, ask.is_done) = (Stage::Idle, false, true);
        if is_unanswered {
            let secs = 1_u32.wrapping_shl(ask.silence_count.into());
            ask.until = now.after(Duration::from_secs(secs.min(NAME_RETRY_SECS_MAX)));
            ask.silence_count = (ask.silence_count + 1).min(NAME_RETRY_SECS_MAX as u8);
        } else {
            ask.until = now.after(NAME_REFRESH);
            (outcome.since, ask.silence_count) = (now, 0);
            self.has_given_up = false;
        }
        let was_undecided = outcome.refusal != FsError::Stale;
        let is_undecided = was_undecided && keeps && end != End::Found;
        outcome.refusal = match is_undecided {
            true => FsError::TryLater,
            false => FsError::Stale,
        };
        if was_undecided && !is_undecided && end == End::Unanswered {
            self.report_silence(events);
        }
        match subject {
            Subject::Name(number) => {
                let Some(host) = tree.addresses(number) else {
                    return;
                };
                for (bit, is_v4) in [(FOUND_V4, true), (FOUND_V6, false)] {
                    if found & bit == 0 && !keeps {
                        host.replace(is_v4, &[]);
                    }
                }
                let is_known = !host.list().is_empty();
                let is_new = !is_known && !host.is_reported;
                host.is_reported = !is_known;
                if is_new && self.reports {
                    report(number, end, tree, events);
                }
            }
            Subject::Peer(at) => {
                let known = tree.named_peers().get_mut(at);
                let (Some(peer), Some(known)) = (self.peers.get(at), known) else {
                    return;
                };
                if end == End::Found || !keeps {
                    known.set_names(peer.names.head(peer.confirmed_len.into()));
                }
            }
        }
    }

    /// Reports once that the calls of undecided clients fail from now on.
    fn report_silence(&mut self, events: &mut Events) {
        if self.reports && !core::mem::replace(&mut self.has_given_up, true) {
            let why = text!("no name server has answered for 15 minutes; their calls get ESTALE");
            events.report(text!("unknown hosts").warn(), b"", why);
        }
    }
}

/// The state of a look-up in the tree.
fn outcome(subject: Subject, tree: &mut Tree) -> Option<&mut Outcome> {
    Some(match subject {
        Subject::Name(number) => &mut tree.addresses(number)?.outcome,
        Subject::Peer(at) => &mut tree.named_peers().get_mut(at)?.outcome,
    })
}

impl super::PeerAsk {
    /// The first name that is not confirmed.
    fn unconfirmed(&self) -> Option<&[u8]> {
        let names = self.names.head(self.names_len.into());
        let name = names.tail(self.confirmed_len.into());
        let end = name.iter().position(|byte| *byte == 0)?;
        Some(name.head(end))
    }

    /// Records the result for the first name that is not confirmed: moves it to the confirmed ones, or leaves it to
    /// [`Self::drop_unconfirmed`].
    fn confirm(&mut self, is_confirmed: bool) {
        if let Some(name) = self.unconfirmed()
            && is_confirmed
        {
            self.confirmed_len += name.len() as u16 + 1;
            self.ask.found = 1;
        }
    }

    /// Removes the first name that is not confirmed, unless one was confirmed just now.
    fn drop_unconfirmed(&mut self) {
        if core::mem::take(&mut self.ask.found) != 0 {
            return;
        }
        if let Some(name) = self.unconfirmed() {
            let len = name.len() + 1;
            let used = usize::from(self.names_len);
            let names = self.names.head_mut(used);
            crate::mem::shift(names.tail_mut(self.confirmed_len.into()), len);
            self.names_len -= len as u16;
        }
    }
}

/// Reports a host name that has no address, and the place that has it.
fn report(number: usize, end: End, tree: &Tree, events: &mut Events) {
    let Some(host) = tree.host_name(number) else {
        return;
    };
    let mut about = Line::default();
    if !host.file.is_empty() {
        let (line, column) = host.at;
        about.raw(host.file).byte(b':').number(line);
        about.byte(b':').number(column).byte(b' ');
    }
    about.raw(host.name);
    let why: Text = match end {
        End::Unanswered if is_host_local(host.name) => {
            text!("no host answers to it by multicast DNS; the entry admits no host until one does")
        }
        End::Unanswered => text!(
            "no name server of /etc/resolv.conf gives an answer; the entry admits no host until one does"
        ),
        End::Truncated => {
            text!("the name server's answer is too long for UDP; write addresses")
        }
        End::Malformed => text!("no host can have this name; the entry admits no host"),
        End::Found | End::Unknown => {
            text!("neither /etc/hosts nor DNS has its address; the entry admits no host")
        }
    };
    events.report(text!("unknown host").warn(), about.bytes(), why);
}
