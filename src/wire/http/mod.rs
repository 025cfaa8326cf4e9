//! HTTP/1.1: requests, and parts of replies. RFC 9110, RFC 9112, RFC 3986.

mod date;
mod fault;
mod fields;
mod kind;
mod method;
mod request;
mod target;
mod write;

pub use date::{DATE_BYTES, parse_date, write_date, write_minute};
pub use fault::BadRequest;
pub use fields::{Comparison, Fields, Part, Parts, lists_tag, ranges};
pub use kind::{content_type, reason, write_type};
pub use method::{Method, Version};
pub use request::{Body, Request, parse, too_long};
pub use target::{Decoded, decode};
pub use write::{encode, escape_html, escape_json, escape_log};

#[cfg(test)]
mod tests;
