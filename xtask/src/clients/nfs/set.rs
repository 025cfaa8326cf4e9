//! What a client asks a server to make or to change: the arguments that SETATTR, WRITE and the creating procedures share.

use super::xdr::Writer;

/// A time to set (`set_atime`, `set_mtime`).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum SetTime {
    /// Leave it.
    #[default]
    Keep,
    /// The server's clock.
    Server,
    /// Seconds and nanoseconds of the client's.
    Client(u32, u32),
}

impl SetTime {
    fn emit(self, out: &mut Writer) {
        match self {
            Self::Keep => out.u32(0),
            Self::Server => out.u32(1),
            Self::Client(seconds, nanoseconds) => out.u32(2).u32(seconds).u32(nanoseconds),
        };
    }
}

/// Attributes to set (`sattr3`), each only if given.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Set {
    pub mode: Option<u32>,
    pub uid: Option<u32>,
    pub gid: Option<u32>,
    pub size: Option<u64>,
    pub atime: SetTime,
    pub mtime: SetTime,
}

impl Set {
    /// A mode and nothing else.
    pub fn mode(mode: u32) -> Self {
        Self {
            mode: Some(mode),
            ..Self::default()
        }
    }

    /// A size and nothing else.
    pub fn size(size: u64) -> Self {
        Self {
            size: Some(size),
            ..Self::default()
        }
    }

    pub(super) fn emit(&self, out: &mut Writer) {
        for word in [self.mode, self.uid, self.gid] {
            match word {
                Some(value) => out.u32(1).u32(value),
                None => out.u32(0),
            };
        }
        match self.size {
            Some(size) => out.u32(1).u64(size),
            None => out.u32(0),
        };
        self.atime.emit(out);
        self.mtime.emit(out);
    }
}

/// How durable a WRITE has to be before it is answered (`stable_how`); other numbers can be asked for too.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Stable(pub u32);

impl Stable {
    pub const UNSTABLE: Self = Self(0);
    pub const DATA_SYNC: Self = Self(1);
    pub const FILE_SYNC: Self = Self(2);
}

/// What CREATE does about a name that exists (`createhow3`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum How {
    /// Takes the file as it is, but for a size that is given.
    Unchecked(Set),
    /// Fails.
    Guarded(Set),
    /// Fails, unless it was made with the same verifier.
    Exclusive([u8; 8]),
    /// A number that the protocol does not know, and nothing behind it.
    Other(u32),
}

impl How {
    pub(super) fn emit(&self, out: &mut Writer) {
        match self {
            Self::Unchecked(set) => set.emit(out.u32(0)),
            Self::Guarded(set) => set.emit(out.u32(1)),
            Self::Exclusive(verifier) => _ = out.u32(2).fixed(verifier),
            Self::Other(number) => _ = out.u32(*number),
        }
    }
}

/// What MKNOD makes (`mknoddata3`). Devices are numbered by major and minor.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Node {
    Block(Set, u32, u32),
    Character(Set, u32, u32),
    Socket(Set),
    Fifo(Set),
    /// Another type of file, which MKNOD must refuse, and nothing behind it.
    Other(u32),
}

impl Node {
    pub(super) fn emit(&self, out: &mut Writer) {
        let (kind, set, device) = match self {
            Self::Block(set, major, minor) => (3, set, Some((major, minor))),
            Self::Character(set, major, minor) => (4, set, Some((major, minor))),
            Self::Socket(set) => (6, set, None),
            Self::Fifo(set) => (7, set, None),
            Self::Other(kind) => {
                out.u32(*kind);
                return;
            }
        };
        set.emit(out.u32(kind));
        if let Some((major, minor)) = device {
            out.u32(*major).u32(*minor);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn attributes_are_laid_out_as_the_protocol_says() {
        let set = Set {
            mode: Some(0o640),
            uid: None,
            gid: Some(7),
            size: Some(1 << 33),
            atime: SetTime::Client(5, 6),
            mtime: SetTime::Server,
        };
        let mut out = Writer::default();
        Node::Block(set, 8, 1).emit(&mut out);
        let words = [3, 1, 0o640, 0, 1, 7, 1, 2, 0, 2, 5, 6, 1, 8, 1];
        assert_eq!(out.finish(), words.map(u32::to_be_bytes).concat());
        How::Exclusive(*b"verifier").emit(&mut out);
        assert_eq!(out.finish(), b"\0\0\0\x02verifier");
    }
}
