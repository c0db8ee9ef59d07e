//! Runs the pauses of processors that this machine is not: what is an illegal instruction here is
//! done in a SIGILL handler, as the manuals say. It reads the opcodes byte by byte, and so also
//! tells whether the assembler got them right.

#![allow(clippy::indexing_slicing)] // registers, by the numbers that libc has for them

use super::Pause;
use super::monitor::Monitor;
use std::cell::Cell;
use std::ffi::{c_int, c_void};
use std::sync::atomic::{AtomicU32, Ordering};

#[repr(align(64))]
struct Line(AtomicU32);

/// An instruction, with what it was given.
#[cfg_attr(target_arch = "aarch64", allow(dead_code))] // no SIGILL for ldxr
enum Instruction {
    /// Umonitor, monitorx.
    Watch { at: usize },
    /// Umwait, mwaitx, wfet: until the counter says so.
    Rest { until: u64 },
}

#[derive(Clone, Copy)]
struct Seen {
    /// What is watched, and what was there.
    at: usize,
    was: u32,
    rests: u32,
}

thread_local! {
    static SEEN: Cell<Seen> = const { Cell::new(Seen { at: 0, was: 0, rests: 0 }) };
}

fn read(at: usize) -> u32 {
    // SAFETY: what the code under test watches is a line of a test's, and that is alive.
    unsafe { (*std::ptr::with_exposed_provenance::<AtomicU32>(at)).load(Ordering::SeqCst) }
}

fn run(instruction: Instruction) {
    let mut seen = SEEN.get();
    match instruction {
        Instruction::Watch { at } => (seen.at, seen.was) = (at, read(at)),
        Instruction::Rest { until } => {
            // Nothing is watched on arm64.
            while (seen.at == 0 || read(seen.at) == seen.was) && counter() < until {}
            seen.rests += 1;
        }
    }
    SEEN.set(seen);
}

#[cfg(target_arch = "x86_64")]
#[allow(unused_unsafe)]
fn counter() -> u64 {
    // SAFETY: reads a counter.
    unsafe { std::arch::x86_64::_rdtsc() }
}

#[cfg(target_arch = "aarch64")]
fn counter() -> u64 {
    super::monitor::counter().0
}

/// The instruction that a thread has come to, which it is then moved behind. `None` for one that is
/// not known here, or with arguments that it should not have.
#[cfg(target_arch = "x86_64")]
fn next_instruction(context: &mut libc::ucontext_t) -> Option<Instruction> {
    #[rustfmt::skip]
    const IN_ENCODING: [c_int; 16] = [
        libc::REG_RAX, libc::REG_RCX, libc::REG_RDX, libc::REG_RBX, libc::REG_RSP, libc::REG_RBP, libc::REG_RSI, libc::REG_RDI,
        libc::REG_R8, libc::REG_R9, libc::REG_R10, libc::REG_R11, libc::REG_R12, libc::REG_R13, libc::REG_R14, libc::REG_R15,
    ];
    let registers = &mut context.uc_mcontext.gregs;
    let get = |register: c_int| registers[register as usize] as u64;
    let (rax, rbx, rcx, rdx) =
        (get(libc::REG_RAX), get(libc::REG_RBX), get(libc::REG_RCX), get(libc::REG_RDX));
    // SAFETY: an instruction was read there, and more code follows it.
    let code =
        unsafe { std::ptr::with_exposed_provenance::<[u8; 5]>(get(libc::REG_RIP) as usize).read() };
    let operand = |modrm: u8, rex: u8| get(IN_ENCODING[usize::from(modrm & 7 | (rex & 1) << 3)]);
    let umwait =
        |state| (state == 1).then_some(Instruction::Rest { until: rdx << 32 | rax & 0xffff_ffff });
    let (length, instruction) = match code {
        [0xf3, 0x0f, 0xae, modrm @ 0xf0..=0xf7, _] => {
            (4, Some(Instruction::Watch { at: operand(modrm, 0) as usize }))
        }
        [0xf3, rex @ 0x41, 0x0f, 0xae, modrm @ 0xf0..=0xf7] => {
            (5, Some(Instruction::Watch { at: operand(modrm, rex) as usize }))
        }
        [0xf2, 0x0f, 0xae, modrm @ 0xf0..=0xf7, _] => (4, umwait(operand(modrm, 0) as u32)),
        [0xf2, rex @ 0x41, 0x0f, 0xae, modrm @ 0xf0..=0xf7] => {
            (5, umwait(operand(modrm, rex) as u32))
        }
        [0x0f, 0x01, 0xfa, ..] => {
            (3, (rcx == 0 && rdx == 0).then_some(Instruction::Watch { at: rax as usize }))
        }
        [0x0f, 0x01, 0xfb, ..] => (
            3,
            (rax == 0xf0 && rcx == 2)
                .then_some(Instruction::Rest { until: counter() + (rbx & 0xffff_ffff) }),
        ),
        _ => return None,
    };
    registers[libc::REG_RIP as usize] += length;
    instruction
}

/// As on x86: wfet, which is newer than the rest.
#[cfg(target_arch = "aarch64")]
fn next_instruction(context: &mut libc::ucontext_t) -> Option<Instruction> {
    let context = &mut context.uc_mcontext;
    // SAFETY: an instruction was read there.
    let code = unsafe { std::ptr::with_exposed_provenance::<u32>(context.pc as usize).read() };
    if code & !0x1f != 0xd503_1000 {
        return None;
    }
    context.pc += 4;
    Some(Instruction::Rest { until: context.regs[(code & 0x1f) as usize] })
}

extern "C" fn on_illegal(_signal: c_int, _info: *mut libc::siginfo_t, context: *mut c_void) {
    // SAFETY: the kernel hands a handler the context of what it interrupted, which is nobody else's
    // meanwhile.
    match next_instruction(unsafe { &mut *context.cast() }) {
        Some(instruction) => run(instruction),
        // SAFETY: ends the process.
        None => unsafe { libc::abort() },
    }
}

/// Every way to pause that this architecture has, ready to be used on this machine.
pub(crate) fn pauses() -> impl Iterator<Item = Pause> {
    // SAFETY: all zero is a sigaction, and the handler has the form that SA_SIGINFO asks for.
    unsafe {
        let mut action: libc::sigaction = std::mem::zeroed();
        action.sa_flags = libc::SA_SIGINFO;
        action.sa_sigaction = on_illegal as extern "C" fn(_, _, _) as usize;
        assert_eq!(libc::sigaction(libc::SIGILL, &action, std::ptr::null_mut()), 0);
    }
    Monitor::ALL.iter().map(|monitor| Pause(Some(*monitor))).chain([Pause::HINT])
}

/// Pauses until the line has the value. How often?
fn await_value(pause: Pause, line: &Line, value: u32) -> u32 {
    let mut pauses = 0;
    loop {
        pause.watch(line);
        if line.0.load(Ordering::SeqCst) == value {
            return pauses;
        }
        pause.rest(LEFT_NS);
        pauses += 1;
    }
}

const LEFT_NS: u64 = 1_000_000;

#[test]
fn every_pause_ends_with_a_write_and_without_one() {
    for pause in pauses() {
        let (line, answer) = (Line(AtomicU32::new(0)), Line(AtomicU32::new(0)));
        let before = SEEN.get().rests;
        let mut pauses = 0;
        std::thread::scope(|scope| {
            scope.spawn(|| {
                for value in 1..=200 {
                    await_value(pause, &line, value);
                    answer.0.store(value, Ordering::SeqCst);
                }
            });
            for value in 1..=200 {
                line.0.store(value, Ordering::SeqCst);
                pauses += await_value(pause, &answer, value);
            }
        });
        // Nobody writes.
        for _ in 0..100 {
            pause.watch(&line);
            pause.rest(LEFT_NS);
        }
        let emulated = SEEN.get().rests - before;
        println!("{pause:?}: {} pauses, {emulated} emulated", pauses + 100);
        // All of them, or none where the processor has the instruction.
        assert!(emulated == 0 || emulated == pauses + 100);
    }
}
