//! getpid, gettid, kill with signal 0, /proc/self/ns/pid (Linux 3.8) and /proc/PID/stat.
//!
//! They identify processes and pid namespaces, and show whether a process still runs and its name.

#![forbid(unsafe_code)]

use super::retry::retry;
use crate::error::Result;
use crate::util::process_bound::fork_generation;
use rustix::fs::{Mode, OFlags};
use rustix::io::Errno;
use rustix::process::Pid;
use std::ffi::CStr;
use std::io::Write;
use std::sync::atomic::{AtomicU64, Ordering};

/// Return the id of this process.
pub(crate) fn id() -> u32 {
    rustix::process::getpid().as_raw_nonzero().get() as u32
}

/// Return the id of the calling thread.
pub(crate) fn thread_id() -> u32 {
    rustix::thread::gettid().as_raw_nonzero().get() as u32
}

/// Return the pid namespace of this process, as an inode number. 0 if it is unknown.
///
/// A process id identifies a process only within its namespace. Async-signal-safe.
pub(crate) fn namespace() -> u32 {
    // Read once by each process: the child of a fork may be in another namespace, with the same
    // process id. An id has 22 bits.
    static KNOWN: AtomicU64 = AtomicU64::new(0);
    let known = KNOWN.load(Ordering::Relaxed);
    let process = id() | (fork_generation() as u32) << 22;
    if (known >> 32) as u32 == process {
        return known as u32;
    }
    // Inode numbers of namespaces have 32 bits.
    let namespace = rustix::fs::stat(c"/proc/self/ns/pid").map_or(0, |stat| stat.st_ino as u32);
    KNOWN.store(u64::from(process) << 32 | u64::from(namespace), Ordering::Relaxed);
    namespace
}

/// Check whether process ids of that namespace identify the same processes in this process.
pub(crate) fn is_own_namespace(other: u32) -> bool {
    other != 0 && other == namespace()
}

/// Check that no process with this id exists in this namespace. Async-signal-safe.
///
/// A process that exited and was not waited for still exists.
pub(crate) fn is_gone(pid: u32) -> bool {
    match i32::try_from(pid).ok().and_then(Pid::from_raw) {
        Some(pid) => rustix::process::test_kill_process(pid) == Err(Errno::SRCH),
        None => true,
    }
}

/// The name of a process, at most 15 bytes as in the kernel.
#[derive(Clone, Copy, Default)]
pub(crate) struct Name {
    bytes: [u8; 16],
}

impl Name {
    /// Return the characters, with `?` for those that could affect a terminal or a parser.
    ///
    /// Any process can give itself any name.
    pub(crate) fn chars(&self) -> impl Iterator<Item = char> {
        let is_plain =
            |byte: &u8| byte.is_ascii_graphic() && !b"\"\\<>{}|".contains(byte) || *byte == b' ';
        self.bytes
            .iter()
            .take_while(|byte| **byte != 0)
            .map(move |byte| if is_plain(byte) { *byte as char } else { '?' })
    }
}

/// Return the name of a process of this namespace, and whether the process still runs.
///
/// A process that exited and was not waited for does not run. The name is `None` if /proc does not
/// show the process.
pub(crate) fn look_up(pid: u32) -> (Option<Name>, bool) {
    let mut buffer = [0; 256];
    match read_stat(pid, &mut buffer) {
        Ok(length) => parse_stat(buffer.get(..length).unwrap_or_default()),
        Err(_) => (None, !is_gone(pid)),
    }
}

/// Read /proc/PID/stat into `buffer` and return the number of bytes.
fn read_stat(pid: u32, buffer: &mut [u8]) -> Result<usize> {
    let mut path = [0; 32];
    write!(path.as_mut_slice(), "/proc/{pid}/stat\0").map_err(|_| Errno::INVAL)?;
    let path = CStr::from_bytes_until_nul(&path).map_err(|_| Errno::INVAL)?;
    let file = rustix::fs::open(path, OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty())?;
    Ok(retry(|| rustix::io::read(&file, &mut *buffer))?)
}

/// Parse `pid (name) state ...`, where the name may hold any bytes.
fn parse_stat(stat: &[u8]) -> (Option<Name>, bool) {
    let open = stat.iter().position(|byte| *byte == b'(').map_or(0, |at| at + 1);
    let close = stat.iter().rposition(|byte| *byte == b')').unwrap_or(0);
    let mut name = Name::default();
    let shown = stat.get(open..close).unwrap_or_default();
    // The last byte stays 0.
    for (byte, shown) in name.bytes.iter_mut().zip(shown.iter().take(15)) {
        *byte = *shown;
    }
    let runs = !matches!(stat.get(close..), Some([b')', b' ', b'Z' | b'X', ..]));
    (Some(name), runs)
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;

    #[test]
    fn a_name_may_hold_any_bytes_and_shows_harmless_characters_only() {
        let parse = |stat: &[u8]| {
            let (name, runs) = parse_stat(stat);
            (name.map(|name| name.chars().collect::<String>()), runs)
        };
        assert_eq!(parse(b"7 (game) S 1 7"), (Some("game".into()), true));
        assert_eq!(parse(b"7 (a) Z (b) R 1"), (Some("a) Z (b".into()), true));
        assert_eq!(parse(b"7 (dead) Z 1"), (Some("dead".into()), false));
        assert_eq!(parse(b"7 (\x1b[2J\"\\\xff) S"), (Some("?[2J???".into()), true));
        assert_eq!(
            parse(b"7 (a-name-of-more-than-fifteen) S"),
            (Some("a-name-of-more-".into()), true)
        );
        assert_eq!(parse(b")("), (Some("".into()), true));
        assert_eq!(parse(b""), (Some("".into()), true));
    }

    #[test]
    fn this_process_runs_in_its_own_namespace() {
        assert!(look_up(id()).1 && !is_gone(id()));
        assert!(is_own_namespace(namespace()) || namespace() == 0);
        assert!(is_gone(0) && is_gone(u32::MAX) && is_gone(1 << 30));
    }
}
