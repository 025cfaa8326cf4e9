//! The seccomp profile of all roles, in the format of podman, Docker and Kubernetes.

use crate::machines::lockdown::calls::{Calls, Part};
use anyhow::Result;
use nix::libc::ENOSYS;
use serde_json::json;

/// The profile: unlisted calls fail with ENOSYS, as on an older kernel.
pub(super) fn text(calls: &Calls) -> Result<String> {
    let mut names = calls.allowed(None, Part::All)?;
    names.extend(calls.engine.iter().cloned());
    let profile = json!({
        "defaultAction": "SCMP_ACT_ERRNO",
        "defaultErrnoRet": ENOSYS,
        "archMap": [
            {"architecture": "SCMP_ARCH_X86_64", "subArchitectures": ["SCMP_ARCH_X86"]},
            {"architecture": "SCMP_ARCH_AARCH64", "subArchitectures": ["SCMP_ARCH_ARM"]},
        ],
        "syscalls": [{
            "names": calls.with_variants(&names),
            "action": "SCMP_ACT_ALLOW",
        }],
    });
    Ok(serde_json::to_string_pretty(&profile)? + "\n")
}
