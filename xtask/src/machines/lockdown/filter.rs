//! Builds seccomp programs for x86_64, and joins several into one.
//!
//! seccompiler's filters have one action for all calls that match. A host refuses different calls with different errnos, so a
//! profile has a filter for each errno, and the kernel accepts the joined program at once: a first filter may refuse the calls that
//! install a second one.

use anyhow::{Context as _, Result};
use nix::libc;
use seccompiler::{
    BpfProgram, SeccompAction, SeccompCmpArgLen, SeccompCmpOp, SeccompCondition, SeccompFilter,
    SeccompRule, TargetArch, apply_filter, sock_filter,
};
use std::collections::BTreeMap;

/// BPF_JMP | BPF_JA: jumps forward over `k` instructions.
const JUMP: u16 = 0x05;
/// BPF_RET | BPF_K: ends the program with the action `k`.
const RETURN: u16 = 0x06;

/// The rules for each system call number. A call without rules always matches.
pub(super) type Rules = BTreeMap<i64, Vec<SeccompRule>>;

/// A condition: the bits of `mask` in the argument with this index are those of `value`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Argument {
    pub index: u8,
    pub mask: u32,
    pub value: u32,
}

impl Argument {
    /// The whole argument is `value`.
    pub(super) const fn is(index: u8, value: i32) -> Self {
        Self {
            index,
            mask: u32::MAX,
            value: value.cast_unsigned(),
        }
    }

    /// The argument has all bits of `flags`.
    pub(super) const fn has(index: u8, flags: i32) -> Self {
        let flags = flags.cast_unsigned();
        Self {
            index,
            mask: flags,
            value: flags,
        }
    }
}

/// A rule that matches if all `arguments` do.
pub(super) fn rule(arguments: &[Argument]) -> Result<SeccompRule> {
    let condition = |argument: &Argument| {
        SeccompCondition::new(
            argument.index,
            SeccompCmpArgLen::Dword,
            SeccompCmpOp::MaskedEq(argument.mask.into()),
            argument.value.into(),
        )
    };
    let conditions = arguments.iter().map(condition);
    Ok(SeccompRule::new(conditions.collect::<Result<_, _>>()?)?)
}

/// A program in which calls that match `rules` fail with `errno`. If `errno` is 0, they do nothing and return 0.
pub(super) fn refuse(rules: Rules, errno: i32) -> Result<BpfProgram> {
    let refused = SeccompAction::Errno(errno.cast_unsigned());
    compile(rules, SeccompAction::Allow, refused)
}

/// A program in which all calls but those of `rules` fail with `errno`.
pub(super) fn allow_only(rules: Rules, errno: i32) -> Result<BpfProgram> {
    let refused = SeccompAction::Errno(errno.cast_unsigned());
    compile(rules, refused, SeccompAction::Allow)
}

fn compile(rules: Rules, others: SeccompAction, matching: SeccompAction) -> Result<BpfProgram> {
    let filter = SeccompFilter::new(rules, others, matching, TargetArch::x86_64)?;
    filter
        .try_into()
        .context("cannot compile the seccomp filter")
}

/// A program that allows these numbers of x86_64 and of i686. All other calls, and other architectures, end in `unlisted`.
pub(super) fn allow_numbers(x86_64: &[u32], x86: &[u32], unlisted: u32) -> BpfProgram {
    const LOAD: u16 = 0x20;
    const IF_EQUAL: u16 = 0x15;
    /// Offsets in `struct seccomp_data`.
    const NUMBER: u32 = 0;
    const ARCHITECTURE: u32 = 4;
    const AUDIT_ARCH_X86_64: u32 = 0xc000_003e;
    const AUDIT_ARCH_I386: u32 = 0x4000_0003;
    let step = |code, jt, jf, k| sock_filter { code, jt, jf, k };
    let mut program = BpfProgram::new();
    for (architecture, numbers) in [(AUDIT_ARCH_X86_64, x86_64), (AUDIT_ARCH_I386, x86)] {
        program.push(step(LOAD, 0, 0, ARCHITECTURE));
        program.push(step(IF_EQUAL, 1, 0, architecture));
        // The instructions up to the next architecture: a load, two for each number, a return.
        program.push(step(JUMP, 0, 0, 2 * numbers.len() as u32 + 2));
        program.push(step(LOAD, 0, 0, NUMBER));
        for number in numbers {
            program.push(step(IF_EQUAL, 0, 1, *number));
            program.push(step(RETURN, 0, 0, libc::SECCOMP_RET_ALLOW));
        }
        program.push(step(RETURN, 0, 0, unlisted));
    }
    program.push(step(RETURN, 0, 0, unlisted));
    program
}

/// Joins programs into one. A call that a program allows is judged by the next one.
pub(super) fn join(programs: Vec<BpfProgram>) -> BpfProgram {
    let mut joined = BpfProgram::new();
    let count = programs.len();
    for (number, mut program) in programs.into_iter().enumerate() {
        let len = program.len();
        let is_last = number + 1 == count;
        for (index, instruction) in program.iter_mut().enumerate() {
            let allows = instruction.code == RETURN && instruction.k == libc::SECCOMP_RET_ALLOW;
            if allows && !is_last {
                *instruction = sock_filter {
                    code: JUMP,
                    jt: 0,
                    jf: 0,
                    k: (len - index - 1) as u32,
                };
            }
        }
        joined.append(&mut program);
    }
    joined
}

/// Installs a program for this thread and all programs that it starts.
pub(super) fn install(program: &BpfProgram) -> Result<()> {
    apply_filter(program).context("the kernel rejected the seccomp filter")
}
