//! Sends queries: each message has as many due questions as fit, and their known answers. RFC 6762 sections 5.3, 5.4, 7.1 and 7.2.

use super::super::{LinkId, MESSAGE_BYTES, Outgoing, family};
use super::Browser;
use super::questions::question_flag;
use crate::time::Instant;
use crate::wire::dns::{CLASS_IN, Head, Section, TOP_BIT, Writer, flag, kind};

/// Size (bytes) of the IPv6 and UDP headers.
const HEADERS_BYTES: u32 = 48;
/// Lower limit (bytes) for the size of a message, so that any question fits.
const MESSAGE_BYTES_MIN: usize = 512;

impl Browser {
    /// Writes the next message to `out`. The caller calls it until it returns `None`.
    pub fn poll_transmit(&mut self, now: Instant, out: &mut [u8]) -> Option<Outgoing> {
        if let Some((link, from)) = self.sending.take()
            && let Some(sent) = self.write_message(now, link, Some(from), out)
        {
            return Some(sent);
        }
        self.advance(now);
        let mut questions = self.questions.all.iter();
        let link = questions.find(|question| question.next() <= now)?.link;
        self.write_message(now, link, None, out)
    }

    /// Writes a message with the questions that are due and their known answers. If `from` is set, writes only the known answers
    /// that did not fit into the previous message, starting at that cache index.
    fn write_message(
        &mut self,
        now: Instant,
        link: LinkId,
        from: Option<usize>,
        out: &mut [u8],
    ) -> Option<Outgoing> {
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
            self.write_questions(now, link, shares_port, &mut writer);
        }
        self.write_known_answers(now, link, from.unwrap_or(0), &mut writer);
        if self.sending.is_none() {
            for index in 0..self.questions.all.len() {
                if let Some(question) = self.questions.all.get_mut(index)
                    && question.is(question_flag::SENDING)
                {
                    question.flags &= !question_flag::SENDING;
                    self.drop_unwanted(index);
                }
            }
        }
        // Nothing was written if none of the remaining known answers fits into an empty message.
        (!writer.is_empty()).then(|| Outgoing {
            link,
            len: writer.finish(),
            families: family::ANY,
        })
    }

    /// Writes the questions that are due on a link, as many as fit.
    fn write_questions(
        &mut self,
        now: Instant,
        link: LinkId,
        shares_port: bool,
        writer: &mut Writer<'_>,
    ) {
        for question in self.questions.all.iter_mut() {
            if question.link != link || question.next() > now {
                continue;
            }
            let is_first = question.step == 0 && question.is(question_flag::WANTED);
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
            // A refresh query does not advance the question's own schedule.
            if question.due <= now {
                question.count_query(now);
            }
            question.flags &= !question_flag::REFRESH;
            question.flags |= question_flag::SENDING;
        }
    }

    /// Writes the known answers to the questions of this message. If not all fit, sets TC and continues in the next message.
    fn write_known_answers(
        &mut self,
        now: Instant,
        link: LinkId,
        from: usize,
        writer: &mut Writer<'_>,
    ) {
        let cache = &self.cache;
        for (index, entry) in cache.entries.iter().enumerate().skip(from) {
            if entry.link != link {
                continue;
            }
            let Some(ttl) = entry.is_known_for(now) else {
                continue;
            };
            let question = self.questions.find(entry.name, entry.kind, link);
            if !question.is_some_and(|question| question.is(question_flag::SENDING)) {
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
            // Skip a record that does not even fit into an empty message.
            if !fits && !writer.is_empty() {
                writer.flag(flag::TRUNCATED);
                self.sending = Some((link, index));
                return;
            }
        }
    }
}
