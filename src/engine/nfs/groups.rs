//! Users who may have more groups than AUTH_SYS carries: the first refusal of each is reported.

use super::super::Cx;
use crate::config::HAS_SERVE;
use crate::event::Line;
use crate::text::text;
use crate::vfs::{Attr, GROUP_COUNT_MAX};
use crate::wire::rpc::Call;

/// Reports the user of a refused call if the credential has as many groups as fit, and not the group of the object, which has more
/// rights than others.
pub(super) fn report_refusal(cx: &mut Cx<'_>, call: &Call<'_>, attr: &Attr) {
    let Some(credential) = call.credential.filter(|_| HAS_SERVE) else {
        return;
    };
    let is_member = || attr.gid == credential.gid || credential.groups().any(|gid| gid == attr.gid);
    if credential.groups().count() < GROUP_COUNT_MAX
        || attr.mode >> 3 & !attr.mode & 7 == 0
        || credential.uid == attr.uid
        || is_member()
    {
        return;
    }
    let Some(named) = cx.vfs.refused_users() else {
        return;
    };
    if named.contains(&credential.uid) || named.push(credential.uid).is_err() {
        return;
    }
    let mut about = Line::default();
    about.number(credential.uid);
    let why = text!("sends 16 groups, the most of NFS; if it has more, start with --manage-gids");
    cx.report(text!("was refused as user").warn(), about.bytes(), why);
}
