//! Portmapper version 2: which port serves which program. RFC 1833 section 3.
//!
//! The table is fixed at start: SET and UNSET are refused, and so is CALLIT.

use super::rpc::Request;
use crate::wire::portmap::{Mapping, VERSION, parse_question, procedure};
use crate::wire::rpc::Reject;

/// Capacity of the table (mappings).
pub const MAPPING_COUNT_MAX: usize = 12;
/// The table: program, version, protocol and port.
pub type Mappings = heapless::Vec<Mapping, MAPPING_COUNT_MAX>;

/// Answers one call.
pub(super) fn answer(table: &[Mapping], request: &mut Request<'_, '_>) -> Result<(), Reject> {
    let reply = &mut *request.reply;
    if request.call.version != VERSION {
        return Err(Reject::Version(VERSION as u8, VERSION as u8));
    }
    match request.call.procedure {
        procedure::NULL => {}
        procedure::GETPORT => {
            let question = parse_question(&mut request.args)?;
            let found = table.iter().find(|mapping| mapping.answers(question));
            reply.u32(found.map_or(0, |mapping| mapping.port.into()));
        }
        procedure::DUMP => {
            table.iter().for_each(|mapping| mapping.emit(reply));
            reply.u32(0);
        }
        _ => return Err(Reject::Procedure),
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::portmap::{PROGRAM, Transport};
    use crate::wire::rpc::Call;
    use crate::wire::{Reader, Writer};

    const TABLE: &[Mapping] = &[Mapping {
        program: 100_003,
        version: 3,
        transport: Transport::Tcp,
        port: 2049,
    }];

    fn check(version: u32, procedure: u32, args: &[u32], expect: Result<&[u32], Reject>) {
        let args: Vec<u8> = args.iter().flat_map(|word| word.to_be_bytes()).collect();
        let mut buffer = [0; 64];
        let mut reply = Writer::new(&mut buffer);
        let mut request = Request {
            reply: &mut reply,
            args: Reader::new(&args),
            call: Call {
                program: PROGRAM,
                version,
                procedure,
                ..Call::default()
            },
            follows: None,
        };
        let outcome = answer(TABLE, &mut request);
        let written = reply.written().unwrap();
        let words: Vec<u32> = buffer[..written]
            .chunks(4)
            .map(|word| u32::from_be_bytes(word.try_into().unwrap()))
            .collect();
        assert_eq!(outcome.map(|()| &words[..]), expect);
    }

    #[test]
    fn getport_returns_the_served_port_or_zero() {
        check(2, 3, &[100_003, 3, 6, 0], Ok(&[2049]));
        check(2, 3, &[100_003, 3, 17, 0], Ok(&[0]));
        check(2, 3, &[100_003, 4, 6, 0], Ok(&[0]));
        check(2, 3, &[100_003], Err(Reject::Arguments));
    }

    #[test]
    fn dump_ends_with_zero() {
        check(2, 4, &[], Ok(&[1, 100_003, 3, 6, 2049, 0]));
        check(2, 0, &[], Ok(&[]));
    }

    #[test]
    fn set_unset_callit_and_other_versions_are_refused() {
        for procedure in [1, 2, 5, 6] {
            check(2, procedure, &[100_003, 3, 6, 99], Err(Reject::Procedure));
        }
        check(4, 3, &[], Err(Reject::Version(2, 2)));
    }
}
