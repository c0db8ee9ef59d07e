//! Who we are, and who others are: process ids, what they mean, and what their processes are
//! called.

use super::retry::retry;
use crate::error::Result;
use rustix::fs::{Mode, OFlags};
use rustix::io::Errno;
use rustix::process::Pid;
use std::ffi::CStr;
use std::io::Write;
use std::sync::atomic::{AtomicU64, Ordering};

/// This process.
pub(crate) fn id() -> u32 {
    rustix::process::getpid().as_raw_nonzero().get() as u32
}

/// The calling thread.
pub(crate) fn thread_id() -> u32 {
    rustix::thread::gettid().as_raw_nonzero().get() as u32
}

/// The pid namespace of this process, as a number: what a process id means depends on it. 0 if it
/// cannot be told. Async-signal-safe.
pub(crate) fn namespace() -> u32 {
    // Asked once by each process. The child of a fork may live in another one.
    static KNOWN: AtomicU64 = AtomicU64::new(0);
    let known = KNOWN.load(Ordering::Relaxed);
    if (known >> 32) as u32 == id() {
        return known as u32;
    }
    // Inode numbers of namespaces have 32 bits.
    let namespace = rustix::fs::stat(c"/proc/self/ns/pid").map_or(0, |stat| stat.st_ino as u32);
    KNOWN.store(u64::from(id()) << 32 | u64::from(namespace), Ordering::Relaxed);
    namespace
}

/// Whether a process id of that namespace means here what it means there.
pub(crate) fn is_own_namespace(other: u32) -> bool {
    other != 0 && other == namespace()
}

/// Whether no process of that id exists in our namespace. Async-signal-safe.
pub(crate) fn is_gone(pid: u32) -> bool {
    match i32::try_from(pid).ok().and_then(Pid::from_raw) {
        Some(pid) => rustix::process::test_kill_process(pid) == Err(Errno::SRCH),
        None => true,
    }
}

/// What a process of our namespace is called, as the kernel's 15 bytes.
#[derive(Clone, Copy, Default)]
pub(crate) struct Name {
    bytes: [u8; 16],
}

impl Name {
    /// Anybody may give himself any name: what could do something to a terminal or a parser is left
    /// out.
    pub(crate) fn chars(&self) -> impl Iterator<Item = char> {
        let is_plain =
            |byte: &u8| byte.is_ascii_graphic() && !b"\"\\<>{}|".contains(byte) || *byte == b' ';
        self.bytes
            .iter()
            .take_while(|byte| **byte != 0)
            .map(move |byte| if is_plain(byte) { *byte as char } else { '?' })
    }
}

/// The name of a process, if it can be seen, and whether it still runs: one that ended and was not
/// waited for does not.
pub(crate) fn look_up(pid: u32) -> (Option<Name>, bool) {
    let mut room = [0; 256];
    match read_stat(pid, &mut room) {
        Ok(length) => parse_stat(room.get(..length).unwrap_or_default()),
        Err(_) => (None, !is_gone(pid)),
    }
}

fn read_stat(pid: u32, room: &mut [u8]) -> Result<usize> {
    let mut path = [0; 32];
    write!(path.as_mut_slice(), "/proc/{pid}/stat\0").map_err(|_| Errno::INVAL)?;
    let path = CStr::from_bytes_until_nul(&path).map_err(|_| Errno::INVAL)?;
    let file = rustix::fs::open(path, OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty())?;
    Ok(retry(|| rustix::io::read(&file, &mut *room))?)
}

/// `pid (name) state ...`, where the name may hold anything.
fn parse_stat(stat: &[u8]) -> (Option<Name>, bool) {
    let open = stat.iter().position(|byte| *byte == b'(').map_or(0, |at| at + 1);
    let close = stat.iter().rposition(|byte| *byte == b')').unwrap_or(0);
    let mut name = Name::default();
    let said = stat.get(open..close).unwrap_or_default();
    // One stays 0.
    for (byte, said) in name.bytes.iter_mut().zip(said.iter().take(15)) {
        *byte = *said;
    }
    let runs = !matches!(stat.get(close..), Some([b')', b' ', b'Z' | b'X', ..]));
    (Some(name), runs)
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;

    #[test]
    fn a_name_may_hold_anything_and_shows_nothing_dangerous() {
        let said = |stat: &[u8]| {
            let (name, runs) = parse_stat(stat);
            (name.map(|name| name.chars().collect::<String>()), runs)
        };
        assert_eq!(said(b"7 (game) S 1 7"), (Some("game".into()), true));
        assert_eq!(said(b"7 (a) Z (b) R 1"), (Some("a) Z (b".into()), true));
        assert_eq!(said(b"7 (dead) Z 1"), (Some("dead".into()), false));
        assert_eq!(said(b"7 (\x1b[2J\"\\\xff) S"), (Some("?[2J???".into()), true));
        assert_eq!(
            said(b"7 (a-name-of-more-than-fifteen) S"),
            (Some("a-name-of-more-".into()), true)
        );
        assert_eq!(said(b")("), (Some("".into()), true));
        assert_eq!(said(b""), (Some("".into()), true));
    }

    #[test]
    fn we_run_and_are_of_our_namespace() {
        assert!(look_up(id()).1 && !is_gone(id()));
        assert!(is_own_namespace(namespace()) || namespace() == 0);
        assert!(is_gone(0) && is_gone(u32::MAX) && is_gone(1 << 30));
    }
}
