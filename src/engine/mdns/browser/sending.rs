//! Questions on their way: as many in one message as are due, and with them what is known. RFC 6762 sections 5.3, 5.4, 7.1, 7.2.

use super::super::{LinkId, MESSAGE_BYTES, Transmit, family};
use super::Browser;
use super::questions::why;
use crate::time::Instant;
use crate::wire::dns::{CLASS_IN, Head, Section, TOP_BIT, Writer, flag, kind};

/// Bytes of the headers of IPv6 and UDP.
const HEADERS_BYTES: u32 = 48;
/// Every question fits into so many.
const MESSAGE_BYTES_MIN: usize = 512;

impl Browser {
    /// The next message that is to be sent, in `out`. To be called until there is none.
    pub fn poll_transmit(&mut self, now: Instant, out: &mut [u8]) -> Option<Transmit> {
        if let Some((link, from)) = self.sending.take()
            && let Some(sent) = self.send(now, link, Some(from), out)
        {
            return Some(sent);
        }
        self.advance(now);
        let mut questions = self.questions.all.iter();
        let link = questions.find(|question| question.next() <= now)?.link;
        self.send(now, link, None, out)
    }

    /// Sends questions, unless what is known is to go on from a place.
    fn send(
        &mut self,
        now: Instant,
        link: LinkId,
        from: Option<usize>,
        out: &mut [u8],
    ) -> Option<Transmit> {
        let (mtu, shares_port) = {
            let known = self.links.get(usize::from(link))?;
            (known.mtu, known.shares_port)
        };
        let fits = match mtu {
            0 => MESSAGE_BYTES,
            mtu => mtu.saturating_sub(HEADERS_BYTES) as usize,
        };
        let len = fits.clamp(MESSAGE_BYTES_MIN, MESSAGE_BYTES).min(out.len());
        let mut writer = Writer::new(out.get_mut(..len)?, 0, 0);
        if from.is_none() {
            self.ask(now, link, shares_port, &mut writer);
        }
        self.say_known(now, link, from.unwrap_or(0), &mut writer);
        if self.sending.is_none() {
            for at in 0..self.questions.all.len() {
                if let Some(question) = self.questions.all.get_mut(at)
                    && question.is(why::SENDING)
                {
                    question.facts &= !why::SENDING;
                    self.drop_unwanted(at);
                }
            }
        }
        // Where what is known did not fit into a message of its own, there is nothing more to say.
        (!writer.is_empty()).then(|| Transmit {
            link,
            len: writer.finish(),
            families: family::ANY,
        })
    }

    /// Asks what is due on a link, as far as it fits.
    fn ask(&mut self, now: Instant, link: LinkId, shares_port: bool, writer: &mut Writer<'_>) {
        for question in self.questions.all.iter_mut() {
            if question.link != link || question.next() > now {
                continue;
            }
            let is_first = question.step == 0 && question.is(why::WANTED);
            let mut class = CLASS_IN;
            if is_first && !shares_port {
                class |= TOP_BIT;
            }
            let mut labels = self.cache.names.labels(question.name);
            if !writer.question(&mut labels, question.kind, class) {
                return;
            }
            if class != CLASS_IN {
                question.asked_for_unicast(now);
            }
            // A question that is asked because a record ends is no step of its own.
            if question.due <= now {
                question.asked(now);
            }
            question.facts &= !why::REFRESH;
            question.facts |= why::SENDING;
        }
    }

    /// Says what is known of what was asked. What does not fit is said in the next message.
    fn say_known(&mut self, now: Instant, link: LinkId, from: usize, writer: &mut Writer<'_>) {
        let cache = &self.cache;
        for (at, entry) in cache.entries.iter().enumerate().skip(from) {
            if entry.link != link {
                continue;
            }
            let Some(ttl) = entry.is_known_for(now) else {
                continue;
            };
            let question = self.questions.find(entry.name, entry.kind, link);
            if !question.is_some_and(|question| question.is(why::SENDING)) {
                continue;
            }
            let head = Head {
                kind: entry.kind,
                class: CLASS_IN,
                ttl,
            };
            let mut labels = cache.names.labels(entry.name);
            let fits = writer.record(Section::Answer, &mut labels, head, &mut |writer| {
                writer.put(cache.rdata(entry));
                if matches!(entry.kind, kind::PTR | kind::CNAME | kind::SRV) {
                    writer.name(&mut cache.names.labels(entry.target), true);
                }
            });
            // What does not fit into a message of its own is not said.
            if !fits && !writer.is_empty() {
                writer.flag(flag::TRUNCATED);
                self.sending = Some((link, at));
                return;
            }
        }
    }
}
