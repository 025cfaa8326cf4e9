//! Portmapper version 2: program and procedure numbers, mappings. RFC 1833 section 3.

use super::{Malformed, Reader, Writer};

/// The RPC program number of the portmapper.
pub const PROGRAM: u32 = 100_000;
/// The only version spoken.
pub const VERSION: u32 = 2;
/// The port that every client knows.
pub const PORT: u16 = 111;

/// Procedure numbers.
pub mod procedure {
    /// Does nothing.
    pub const NULL: u32 = 0;
    /// Returns the port of a program.
    pub const GETPORT: u32 = 3;
    /// Returns the whole table.
    pub const DUMP: u32 = 4;
}

/// IP protocol numbers as the portmapper counts them.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[repr(u32)]
pub enum Transport {
    /// A byte stream.
    Tcp = 6,
    /// Datagrams.
    Udp = 17,
}

/// An RPC program and the port that serves it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Mapping {
    /// RPC program number.
    pub program: u32,
    /// Version of the program.
    pub version: u32,
    /// The transport.
    pub transport: Transport,
    /// The port on which the server listens.
    pub port: u16,
}

impl Mapping {
    /// Returns true if this mapping has the program, version and transport number in `question`.
    pub fn answers(&self, question: (u32, u32, u32)) -> bool {
        (self.program, self.version, self.transport as u32) == question
    }

    /// Writes the mapping as one element of a DUMP list.
    pub fn emit(&self, reply: &mut Writer<'_>) {
        reply.words(&[
            1,
            self.program,
            self.version,
            self.transport as u32,
            self.port.into(),
        ]);
    }
}

/// Parses GETPORT's arguments: program, version and transport number. The port in them is ignored.
pub fn parse_question(args: &mut Reader<'_>) -> Result<(u32, u32, u32), Malformed> {
    let question = (args.u32(), args.u32(), args.u32());
    args.u32();
    args.check()?;
    Ok(question)
}
