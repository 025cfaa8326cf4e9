//! The interface of `logged` in an executable without a server's log.

use super::Console;
use crate::event::Logged;

impl Logged for Console {}
