//! Rdata: compares received records with ours, and writes our records.

use super::link::LinkSet;
use super::names::NameId;
use super::zone::{OwnRecord, Zone};
use crate::mem::Ends as _;
use crate::wire::dns::{self, Head, Section, Writer, kind};

/// TTL (seconds) in answers to legacy unicast queries. RFC 6762 section 6.7.
const LEGACY_TTL: u32 = 10;
/// TTL (seconds) in goodbyes. RFC 6762 section 10.1.
const GOODBYE_TTL: u32 = 0;

/// Form in which a record is written: TTL, cache-flush bit, name compression.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Form {
    /// In multicast responses: with its TTL, and the cache-flush bit if it is unique.
    Regular,
    /// In goodbyes: with a TTL of 0.
    Goodbye,
    /// In probes: without the cache-flush bit.
    Tentative,
    /// In answers to legacy unicast queries: with a TTL of 10 s, without the cache-flush bit and without compression in the rdata.
    Legacy,
}

impl Zone {
    /// Returns true if a received record has the type and rdata of one of ours. Always false for NSEC.
    pub(super) fn is_equal(&self, ours: &OwnRecord, received: &dns::Record<'_>) -> bool {
        if ours.kind != received.kind || ours.kind == kind::NSEC {
            return false;
        }
        let prefix = self.rdata_prefix(ours);
        if ours.target == NameId::ROOT {
            return received.rdata() == prefix;
        }
        let target = received.target(prefix.len());
        received.rdata().starts_with(prefix)
            && target.is_some_and(|target| self.names.find(target) == Some(self.target(ours)))
    }

    /// Writes a record. Returns true if it fitted.
    pub(super) fn write(
        &self,
        writer: &mut Writer<'_>,
        section: Section,
        record: &OwnRecord,
        links: LinkSet,
        form: Form,
    ) -> bool {
        let ttl = match form {
            Form::Goodbye => GOODBYE_TTL,
            Form::Legacy => LEGACY_TTL,
            _ => self.ttl(record),
        };
        let flushes = record.is_unique && matches!(form, Form::Regular | Form::Goodbye);
        let class = if flushes {
            dns::CLASS_IN | dns::TOP_BIT
        } else {
            dns::CLASS_IN
        };
        let head = Head {
            kind: record.kind,
            class,
            ttl,
        };
        let labels = &mut self.names.labels(record.name);
        writer.record(section, labels, head, &mut |writer| {
            self.write_rdata(writer, record, links, form != Form::Legacy);
        })
    }

    /// Writes the records that a probe proposes for a name. Returns true if all fitted.
    pub(super) fn write_tentative(
        &self,
        writer: &mut Writer<'_>,
        name: NameId,
        links: LinkSet,
        form: Form,
    ) -> bool {
        let mut records = self.records_of(name);
        records.all(|(_, record)| {
            !record.is_active(links) || self.write(writer, Section::Authority, record, links, form)
        })
    }

    /// Writes a name's question and its proposed records to `sample`, to see what fits into a probe. Returns true if all fitted.
    ///
    /// In the probe, all questions come before the first record. The sample is at least as long, because names in its rdata are not
    /// compressed.
    pub(super) fn fits_probe(&self, sample: &mut Writer<'_>, name: NameId, links: LinkSet) -> bool {
        sample.question(&mut self.names.labels(name), kind::ANY, 0)
            && self.write_tentative(sample, name, links, Form::Legacy)
    }

    /// Writes a record's rdata; with `shortens`, compresses the name in it.
    pub(super) fn write_rdata(
        &self,
        writer: &mut Writer<'_>,
        record: &OwnRecord,
        links: LinkSet,
        shortens: bool,
    ) {
        writer.put(self.rdata_prefix(record));
        let is_denial = record.kind == kind::NSEC;
        let name = if is_denial {
            record.name
        } else {
            self.target(record)
        };
        if name != NameId::ROOT {
            writer.name(&mut self.names.labels(name), shortens);
        }
        if is_denial {
            // The bit map ends with the last non-zero octet.
            let map = self.kinds(record.name, links);
            let len = 8 - map.trailing_zeros() / 8;
            writer.put(&[0, len as u8]);
            writer.put(map.to_be_bytes().head(len as usize));
        }
    }
}
