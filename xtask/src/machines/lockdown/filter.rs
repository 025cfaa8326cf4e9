//! Builds seccomp programs for x86_64 and i686, and joins several into one.
//!
//! seccompiler's filters have one action for all calls that match. A host refuses different calls with different errnos, so a
//! profile has a filter for each errno, and the kernel accepts the joined program at once: a first filter may refuse the calls that
//! install a second one.

use anyhow::{Context as _, Result, ensure};
use nix::libc;
use seccompiler::{
    BpfProgram, SeccompAction, SeccompCmpArgLen, SeccompCmpOp, SeccompCondition, SeccompFilter,
    SeccompRule, TargetArch, apply_filter, sock_filter,
};
use std::collections::BTreeMap;

/// BPF_LD | BPF_W | BPF_ABS: loads 32 bits at the offset `k` of `struct seccomp_data`.
const LOAD: u16 = 0x20;
/// BPF_JMP | BPF_JA: jumps forward over `k` instructions.
const JUMP: u16 = 0x05;
/// BPF_JMP | BPF_JEQ | BPF_K: jumps over `jt` instructions if the loaded value is `k`, or else over `jf`.
const IF_EQUAL: u16 = 0x15;
/// BPF_JMP | BPF_JGT | BPF_K: jumps over `jt` instructions if the loaded value is greater than `k`, or else over `jf`.
const IF_GREATER: u16 = 0x25;
/// BPF_RET | BPF_K: ends the program with the action `k`.
const RETURN: u16 = 0x06;

/// Offsets in `struct seccomp_data`: the call's number, the architecture, the lower half of the first argument.
const NUMBER: u32 = 0;
const ARCHITECTURE: u32 = 4;
const FIRST_ARGUMENT: u32 = 16;

/// The architecture of a program, as seccomp has it: AUDIT_ARCH_X86_64 and AUDIT_ARCH_I386.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u32)]
pub(super) enum Architecture {
    X86_64 = 0xc000_003e,
    I686 = 0x4000_0003,
}

const fn step(code: u16, jt: u8, jf: u8, k: u32) -> sock_filter {
    sock_filter { code, jt, jf, k }
}

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

    /// Returns true if the argument of a call with these arguments matches.
    pub(super) const fn matches(&self, arguments: &[u32; 6]) -> bool {
        arguments[self.index as usize] & self.mask == self.value
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
pub(super) fn refuse(rules: Rules, errno: i32, architecture: Architecture) -> Result<BpfProgram> {
    let refused = SeccompAction::Errno(errno.cast_unsigned());
    let filter = SeccompFilter::new(rules, SeccompAction::Allow, refused, TargetArch::x86_64)?;
    let mut program: BpfProgram = filter
        .try_into()
        .context("cannot compile the seccomp filter")?;
    // seccompiler does not know i686. A program for x86_64 differs in the comparison with the architecture only.
    let comparison = program.iter_mut().find(|step| step.code == IF_EQUAL);
    let comparison = comparison.context("the filter does not check the architecture")?;
    ensure!(
        comparison.k == Architecture::X86_64 as u32,
        "the filter starts otherwise"
    );
    comparison.k = architecture as u32;
    Ok(program)
}

/// A program in which calls with greater numbers fail with `errno`.
pub(super) fn refuse_above(number: u32, errno: i32) -> BpfProgram {
    vec![
        step(LOAD, 0, 0, NUMBER),
        step(IF_GREATER, 0, 1, number),
        step(
            RETURN,
            0,
            0,
            libc::SECCOMP_RET_ERRNO | errno.cast_unsigned(),
        ),
        step(RETURN, 0, 0, libc::SECCOMP_RET_ALLOW),
    ]
}

/// A program in which i686's call `number` is suspended if its first argument is one of `values`.
pub(super) fn suspend(number: u32, values: &[i32]) -> BpfProgram {
    let mut program = vec![
        step(LOAD, 0, 0, ARCHITECTURE),
        step(IF_EQUAL, 1, 0, Architecture::I686 as u32),
        step(RETURN, 0, 0, libc::SECCOMP_RET_ALLOW),
        step(LOAD, 0, 0, NUMBER),
        step(IF_EQUAL, 1, 0, number),
        step(RETURN, 0, 0, libc::SECCOMP_RET_ALLOW),
        step(LOAD, 0, 0, FIRST_ARGUMENT),
    ];
    for value in values {
        program.push(step(IF_EQUAL, 0, 1, value.cast_unsigned()));
        program.push(step(RETURN, 0, 0, libc::SECCOMP_RET_USER_NOTIF));
    }
    program.push(step(RETURN, 0, 0, libc::SECCOMP_RET_ALLOW));
    program
}

/// A program in which call `number` of x86_64 (None: every call) is suspended, and execve, but not sendmsg on the descriptor
/// `sender`.
pub(crate) fn suspend_uses(number: Option<u32>, sender: u32) -> BpfProgram {
    let (execve, sendmsg) = (libc::SYS_execve as u32, libc::SYS_sendmsg as u32);
    let mut program = vec![
        step(LOAD, 0, 0, ARCHITECTURE),
        step(IF_EQUAL, 1, 0, Architecture::X86_64 as u32),
        step(RETURN, 0, 0, libc::SECCOMP_RET_ALLOW),
        step(LOAD, 0, 0, NUMBER),
        step(IF_EQUAL, 0, 3, sendmsg),
        step(LOAD, 0, 0, FIRST_ARGUMENT),
        step(IF_EQUAL, 0, 1, sender),
        step(RETURN, 0, 0, libc::SECCOMP_RET_ALLOW),
        step(LOAD, 0, 0, NUMBER),
    ];
    if let Some(number) = number {
        program.push(step(IF_EQUAL, 2, 0, number));
        program.push(step(IF_EQUAL, 1, 0, execve));
        program.push(step(RETURN, 0, 0, libc::SECCOMP_RET_ALLOW));
    }
    program.push(step(RETURN, 0, 0, libc::SECCOMP_RET_USER_NOTIF));
    program
}

/// A program that allows these numbers of x86_64 and of i686. All other calls, and other architectures, end in `unlisted`.
pub(super) fn allow_numbers(x86_64: &[u32], x86: &[u32], unlisted: u32) -> BpfProgram {
    let list = |numbers: &[u32]| {
        let mut program = vec![step(LOAD, 0, 0, NUMBER)];
        for number in numbers {
            program.push(step(IF_EQUAL, 0, 1, *number));
            program.push(step(RETURN, 0, 0, libc::SECCOMP_RET_ALLOW));
        }
        program.push(step(RETURN, 0, 0, unlisted));
        program
    };
    by_architecture(list(x86_64), list(x86), unlisted)
}

/// A program in which all calls end in `action`.
pub(super) fn always(action: u32) -> BpfProgram {
    vec![step(RETURN, 0, 0, action)]
}

/// A program that is `x86_64` for programs of that architecture, and `x86` for those of i686. Calls of others end in `foreign`.
pub(super) fn by_architecture(x86_64: BpfProgram, x86: BpfProgram, foreign: u32) -> BpfProgram {
    let mut program = BpfProgram::new();
    for (architecture, mut part) in [(Architecture::X86_64, x86_64), (Architecture::I686, x86)] {
        program.push(step(LOAD, 0, 0, ARCHITECTURE));
        program.push(step(IF_EQUAL, 1, 0, architecture as u32));
        program.push(step(JUMP, 0, 0, part.len() as u32));
        program.append(&mut part);
    }
    program.push(step(RETURN, 0, 0, foreign));
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
