//! From rules to the kernel's filter language (classic BPF): a binary search over ranges of call numbers with the same rule.

use super::profile::{LAST_KNOWN, Rule, Rules};
use crate::sys::seccomp::Instruction;

/// Offsets in `struct seccomp_data`.
const NUMBER_AT: u32 = 0;
const ARCHITECTURE_AT: u32 = 4;
const ARGUMENTS_AT: u32 = 16;

/// Instruction codes: load a word, mask it, jump, return.
const LOAD: u16 = 0x20;
const AND: u16 = 0x54;
const JUMP: u16 = 0x05;
const JUMP_IF_EQUAL: u16 = 0x15;
const JUMP_IF_AT_LEAST: u16 = 0x35;
const RETURN: u16 = 0x06;

const RETURN_ALLOW: u32 = 0x7fff_0000;
const RETURN_ERRNO: u32 = 0x0005_0000;

#[cfg(target_arch = "x86_64")]
const ARCHITECTURE: u32 = 0xc000_003e;
#[cfg(target_arch = "aarch64")]
const ARCHITECTURE: u32 = 0xc000_00b7;

/// A run of call numbers with one rule, from `first` to where the next run begins.
#[derive(Clone, Copy, Debug)]
struct Run {
    first: u32,
    rule: Rule,
}

/// The program for `rules`.
pub(super) fn program(rules: &Rules) -> Vec<Instruction> {
    let mut program = vec![
        step(LOAD, ARCHITECTURE_AT),
        branch(JUMP_IF_EQUAL, ARCHITECTURE, 1, 0),
        step(RETURN, errno(libc::ENOSYS)),
        step(LOAD, NUMBER_AT),
    ];
    program.extend(search(&runs(rules)));
    program
}

fn runs(rules: &Rules) -> Vec<Run> {
    let mut runs: Vec<Run> = Vec::new();
    for number in 0..=LAST_KNOWN {
        let rule = rules.get(&number).copied().unwrap_or(Rule::Fail(libc::EPERM));
        if runs.last().is_none_or(|run| run.rule != rule) {
            runs.push(Run { first: number, rule });
        }
    }
    runs.push(Run { first: LAST_KNOWN + 1, rule: Rule::Fail(libc::ENOSYS) });
    runs
}

fn search(runs: &[Run]) -> Vec<Instruction> {
    let (lower, upper) = runs.split_at(runs.len() / 2);
    let Some(pivot) = upper.first() else { return Vec::new() };
    if lower.is_empty() {
        return decide(pivot.rule);
    }
    let lower = search(lower);
    let upper = search(upper);
    // Conditional jumps reach 255 instructions, unconditional ones any number.
    let mut found = match u8::try_from(lower.len()) {
        Ok(distance) => vec![branch(JUMP_IF_AT_LEAST, pivot.first, distance, 0)],
        Err(_) => vec![branch(JUMP_IF_AT_LEAST, pivot.first, 0, 1), step(JUMP, lower.len() as u32)],
    };
    found.extend(lower);
    found.extend(upper);
    found
}

fn decide(rule: Rule) -> Vec<Instruction> {
    let allow = step(RETURN, RETURN_ALLOW);
    let refuse = step(RETURN, errno(libc::EPERM));
    match rule {
        Rule::Allow => vec![allow],
        Rule::Fail(error) => vec![step(RETURN, errno(error))],
        Rule::IfClear { argument, bits } => {
            vec![load(argument), step(AND, bits), branch(JUMP_IF_EQUAL, 0, 0, 1), allow, refuse]
        }
        Rule::IfNot { argument, number } => vec![load(argument), branch(JUMP_IF_EQUAL, number, 1, 0), allow, refuse],
        Rule::IfOneOf { argument, numbers } => {
            let mut steps = vec![load(argument)];
            for number in numbers {
                steps.extend([branch(JUMP_IF_EQUAL, *number, 0, 1), allow]);
            }
            steps.push(refuse);
            steps
        }
    }
}

/// The lower half of an argument: the checked ones are 32-bit in the kernel, which ignores the other half.
fn load(argument: u32) -> Instruction {
    let half = if cfg!(target_endian = "big") { 4 } else { 0 };
    step(LOAD, ARGUMENTS_AT + argument * 8 + half)
}

fn step(code: u16, k: u32) -> Instruction {
    Instruction { code, jt: 0, jf: 0, k }
}

fn branch(code: u16, k: u32, jt: u8, jf: u8) -> Instruction {
    Instruction { code, jt, jf, k }
}

fn errno(error: i32) -> u32 {
    RETURN_ERRNO | error.cast_unsigned()
}

#[cfg(test)]
mod tests {
    use super::super::profile;
    use super::*;
    use crate::spec::CapabilitySet;

    /// Runs a program as the kernel would.
    fn run(program: &[Instruction], architecture: u32, number: u32, argument: u64) -> u32 {
        let (mut at, mut word) = (0, 0);
        loop {
            let step = &program[at];
            at += 1;
            let is_true = match step.code {
                RETURN => return step.k,
                LOAD => {
                    word = match step.k {
                        NUMBER_AT => number,
                        ARCHITECTURE_AT => architecture,
                        _ => argument as u32,
                    };
                    continue;
                }
                AND => {
                    word &= step.k;
                    continue;
                }
                JUMP => {
                    at += step.k as usize;
                    continue;
                }
                JUMP_IF_EQUAL => word == step.k,
                JUMP_IF_AT_LEAST => word >= step.k,
                code => panic!("unknown code {code}"),
            };
            at += usize::from(if is_true { step.jt } else { step.jf });
        }
    }

    #[test]
    fn every_number_meets_its_rule() {
        let rules = profile::rules(CapabilitySet::container_default());
        let program = program(&rules);
        assert!(program.len() < 600, "{}", program.len());
        for number in (0..=LAST_KNOWN + 5).chain([u32::MAX, 0x4000_0000]) {
            let expected = match rules.get(&number) {
                Some(Rule::Allow) => RETURN_ALLOW,
                Some(Rule::Fail(error)) => errno(*error),
                Some(_) => continue,
                None if number > LAST_KNOWN => errno(libc::ENOSYS),
                None => errno(libc::EPERM),
            };
            assert_eq!(run(&program, ARCHITECTURE, number, 0), expected, "{number}");
        }
        assert_eq!(run(&program, 0x4000_0003, 4, 0), errno(libc::ENOSYS), "a 32-bit program");
    }

    #[test]
    fn arguments_are_looked_at() {
        let program = program(&profile::rules(CapabilitySet::container_default()));
        let call = |number: i64, argument: u64| run(&program, ARCHITECTURE, u32::try_from(number).unwrap(), argument);
        assert_eq!(call(libc::SYS_clone, 0x11), RETURN_ALLOW);
        assert_eq!(call(libc::SYS_clone, 0x1000_0000), errno(libc::EPERM), "a user namespace");
        assert_eq!(call(libc::SYS_personality, 0xffff_ffff), RETURN_ALLOW);
        assert_eq!(call(libc::SYS_personality, 0x4_0000), errno(libc::EPERM));
        assert_eq!(call(libc::SYS_socket, 2), RETURN_ALLOW);
        assert_eq!(call(libc::SYS_socket, 40), errno(libc::EPERM));
        assert_eq!(call(435, 0), errno(libc::ENOSYS), "clone3");
        for dangerous in
            [libc::SYS_mount, libc::SYS_bpf, libc::SYS_keyctl, libc::SYS_kexec_load, libc::SYS_io_uring_setup]
        {
            assert_eq!(call(dangerous, 0), errno(libc::EPERM), "{dangerous}");
        }
    }

    #[test]
    fn capabilities_add_calls() {
        let all = program(&profile::rules(CapabilitySet::ALL));
        for call in [libc::SYS_mount, libc::SYS_clone, libc::SYS_reboot] {
            assert_eq!(run(&all, ARCHITECTURE, call as u32, 0x1000_0000), RETURN_ALLOW);
        }
        assert_eq!(run(&all, ARCHITECTURE, libc::SYS_keyctl as u32, 0), errno(libc::EPERM));
    }
}
