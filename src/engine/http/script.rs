//! The menu of images for iPXE, at the top of the server unless an export has a file of that name, and the steps of machines that
//! boot by HTTP.

use super::reply::{Asked, Head};
use super::{Http, Root, Step};
use crate::engine::Cx;
use crate::engine::boot::machines::{Key, Machines, Step as BootStep};
use crate::engine::boot::menu::{Menu, NAMES, Wishes};
use crate::mem::Ends as _;
use crate::vfs::{FsError, Until};
use crate::wire::Writer;
use crate::wire::http::Method;

/// The menu, and the machines that boot.
#[derive(Default)]
pub struct Script {
    /// The menu. `None`: there is none.
    pub menu: Option<Menu>,
    /// The machines that boot. `None`: none boots from this server.
    pub machines: Option<&'static Machines>,
}

impl Script {
    /// The executable has the menu.
    pub const IS_SERVED: bool = true;

    /// The menu at this port of HTTP; see [`Menu::new`].
    pub fn new(http_port: u16, has_nfs: bool) -> Self {
        Self {
            menu: Some(Menu::new(http_port, Wishes::default(), has_nfs)),
            machines: None,
        }
    }

    /// Records that a machine which boots gets a file, or asks for one that does not exist.
    pub(super) fn note(&self, cx: &mut Cx<'_>, is_get: bool, status: u16, path: &[u8]) {
        let step = match status {
            200 => BootStep::Fetches,
            404 => BootStep::Missing,
            _ => return,
        };
        let key = Key::Address(cx.peer.address);
        if let Some(machines) = self.machines.filter(|_| is_get)
            && machines.get(key).is_some()
        {
            machines.note(cx, key, step, path);
        }
    }
}

impl Http {
    /// Answers with the menu if the path, at which no export has an object, is that of the menu. The server's address in it is the one
    /// that iPXE has asked.
    pub(super) fn answer_script(
        &mut self,
        cx: &mut Cx<'_>,
        asked: &Asked<'_>,
        out: &mut Writer<'_>,
    ) -> Option<Step> {
        let path = self.path.head(self.path_len);
        let name = path.strip_prefix(b"/")?;
        let menu = self
            .script
            .menu
            .as_mut()
            .filter(|_| NAMES.contains(&name))?;
        menu.set_root(self.root == Root::Single);
        let refreshed = menu.refresh(cx, self.script.machines);
        if let Some(until) = refreshed.err().and_then(FsError::until) {
            return Some(Step::Again(until));
        }
        if !menu.is_offered() {
            return None;
        }
        let host = asked
            .request
            .fields
            .get(b"Host")
            .unwrap_or(b"${next-server}");
        let start = menu.start(cx, asked.request.query);
        let len = menu.len_for(host, &start);
        if out.position() > 0 && out.space().len() < len + super::reply::HEAD_BYTES_MAX {
            return Some(Step::Again(Until::Output));
        }
        let head = Head {
            kind: "text/plain",
            len: Some(len as u64),
            fields: "Cache-Control: no-store\r\n",
            ..Head::of(200)
        };
        self.write_head(asked, &head, out);
        if let Some(menu) = &self.script.menu
            && asked.request.method != Method::Head
        {
            menu.write(host, &start, out);
        }
        let (fields, sent) = (Some(&asked.request.fields), (200, len as u64));
        self.log(cx, asked.input, fields, sent);
        Some(Step::Done)
    }
}
