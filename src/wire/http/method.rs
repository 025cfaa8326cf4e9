//! The words of a request line.

/// The method of a request.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Method {
    /// Sends the object.
    Get,
    /// As GET, without the body.
    Head,
    /// Asks for the methods.
    Options,
    /// A method that is known and not allowed.
    Other,
    /// An unknown method.
    Unknown,
}

/// The version of a request.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Version {
    /// HTTP/1.0: the connection ends after the reply, unless the client asks to keep it.
    Http10,
    /// HTTP/1.1, or a later minor version.
    Http11,
}
