//! Faults of requests, and the statuses of their replies.

/// The reason why the connection cannot go on.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum BadRequest {
    /// The head is malformed, or it is not certain where the request ends.
    Malformed,
    /// The target is too long.
    Target,
    /// The fields are too long.
    Fields,
    /// Not a version 1 of HTTP.
    Version,
    /// An unknown transfer coding.
    Coding,
    /// The head was not completed in time.
    Late,
}

impl BadRequest {
    /// The status of the reply.
    pub const fn status(self) -> u16 {
        match self {
            Self::Malformed => 400,
            Self::Target => 414,
            Self::Fields => 431,
            Self::Version => 505,
            Self::Coding => 501,
            Self::Late => 408,
        }
    }
}
