//! Poorer hosts: what is started in here finds that the kernel has not got some of its calls, or that they lie.
//!
//! A filter belongs to the thread that asked for it and to what it starts, and goes with them. x86_64 only.

use anyhow::{Context, Result};
use nix::libc;
use seccompiler::{
    BpfProgram, SeccompAction, SeccompCmpArgLen, SeccompCmpOp, SeccompCondition, SeccompFilter,
    SeccompRule, TargetArch, apply_filter,
};
use std::collections::BTreeMap;

/// Runs `work` on a thread for which the kernel does not know `calls`.
pub fn without<T: Send>(calls: &[i64], work: impl FnOnce() -> Result<T> + Send) -> Result<T> {
    answering(calls, libc::ENOSYS, work)
}

/// Runs `work` on a thread for which every one of `calls` fails with `errno`; 0 is success that did nothing and says 0.
pub fn answering<T: Send>(
    calls: &[i64],
    errno: i32,
    work: impl FnOnce() -> Result<T> + Send,
) -> Result<T> {
    let rules = calls.iter().map(|&call| (call, Vec::new())).collect();
    filtered(rules, errno, work)
}

/// Runs `work` on a thread for which memory that was written cannot become code: asked for that, mprotect fails.
pub fn without_new_code<T: Send>(errno: i32, work: impl FnOnce() -> Result<T> + Send) -> Result<T> {
    let execute = u64::from(libc::PROT_EXEC.cast_unsigned());
    let is_asked = SeccompCondition::new(
        2,
        SeccompCmpArgLen::Dword,
        SeccompCmpOp::MaskedEq(execute),
        execute,
    )?;
    let rules = vec![SeccompRule::new(vec![is_asked])?];
    filtered(BTreeMap::from([(libc::SYS_mprotect, rules)]), errno, work)
}

/// Runs `work` on a thread for which calls that these rules meet fail.
fn filtered<T: Send>(
    rules: BTreeMap<i64, Vec<SeccompRule>>,
    errno: i32,
    work: impl FnOnce() -> Result<T> + Send,
) -> Result<T> {
    let filter = SeccompFilter::new(
        rules,
        SeccompAction::Allow,
        SeccompAction::Errno(errno.cast_unsigned()),
        TargetArch::x86_64,
    )?;
    let program: BpfProgram = filter.try_into().context("cannot make a filter")?;
    std::thread::scope(|scope| {
        let inside = scope.spawn(|| {
            apply_filter(&program).context("the kernel takes no filter")?;
            work()
        });
        inside
            .join()
            .unwrap_or_else(|panic| std::panic::resume_unwind(panic))
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::process::Command;

    #[test]
    fn what_is_started_inside_misses_a_call_and_what_is_outside_does_not() -> Result<()> {
        let id = || Ok(Command::new("id").arg("-u").output()?.stdout);
        let outside = id()?;
        assert_eq!(answering(&[libc::SYS_geteuid], 0, id)?, b"0\n");
        let uname = || Ok(Command::new("uname").status()?.success());
        assert!(!without(&[libc::SYS_uname], uname)?);
        assert!(uname()?);
        assert_eq!(id()?, outside);
        Ok(())
    }
}
