// SPDX-License-Identifier: MIT
//! getpid, gettid, kill with signal 0, pidfd_open (Linux 5.3), /proc/PID/ns/pid (3.8),
//! /proc/PID/stat and /proc/self/fdinfo.
//!
//! They identify processes and pid namespaces, and show whether a process still runs and its name.

#![forbid(unsafe_code)]

use super::retry::retry;
use crate::error::{Error, Result};
use crate::util::name::plain_chars;
use crate::util::process_bound::fork_generation;
use rustix::fd::{AsFd, AsRawFd, BorrowedFd};
use rustix::fs::{Mode, OFlags};
use rustix::io::Errno;
use rustix::process::Pid;
use std::ffi::CStr;
use std::fmt::Arguments;
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

/// Check that a process of this namespace has exited. Where pidfds are not available, it has to be
/// waited for as well.
///
/// A process whose first thread alone has exited runs on, although /proc shows a zombie.
#[cfg(not(loom))]
pub(crate) fn has_exited(pid: u32) -> bool {
    use super::{peer::ExitEvent, poll, time::Deadline};
    let Some(raw) = i32::try_from(pid).ok().and_then(Pid::from_raw) else { return false };
    match rustix::process::pidfd_open(raw, rustix::process::PidfdFlags::empty()) {
        Ok(pidfd) => {
            poll::is_ready(pidfd.as_fd(), ExitEvent::Readable, Deadline::at(0)) == Ok(true)
        }
        // The process id may be a thread's now.
        Err(_) => is_gone(pid),
    }
}

/// What the kernel tells about a process, apart from its name: no other process has the same.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Identity {
    /// The process id in its own namespace.
    pub(crate) pid: u32,
    /// The pid namespace, as an inode number. 0 if it is unknown.
    pub(crate) namespace: u32,
    /// In clock ticks since the machine started. 0 if it is unknown.
    pub(crate) start_time: u64,
}

/// Return the identity of this process, and whether a later call cannot return more.
pub(crate) fn identity() -> (Identity, bool) {
    let start_time = start_time(format_args!("/proc/self/stat"));
    // A call that lacks a descriptor or memory may find one later.
    let is_final =
        !matches!(start_time, Err(Error::ProcessFdLimit | Error::SystemFdLimit | Error::NoMemory));
    let start_time = start_time.unwrap_or(0);
    (Identity { pid: id(), namespace: namespace(), start_time }, is_final)
}

/// Return the identity of the process behind a pidfd. `None` if it exited and was waited for, or if
/// /proc does not show it.
#[cfg(not(loom))]
pub(crate) fn identity_of(pidfd: BorrowedFd<'_>) -> Option<Identity> {
    let pids @ (shown, pid) = pids_of(pidfd)?;
    let mut path = [0; 48];
    let path = write_path(&mut path, format_args!("/proc/{shown}/ns/pid")).ok()?;
    let namespace = rustix::fs::stat(path).ok()?.st_ino as u32;
    let start_time = start_time(format_args!("/proc/{shown}/stat")).ok()?;
    // It was not waited for meanwhile, so no other process had the id.
    (pids_of(pidfd)? == pids).then_some(Identity { pid, namespace, start_time })
}

/// Return the id of the process behind a pidfd, as /proc shows it and in its own namespace.
#[cfg(not(loom))]
fn pids_of(pidfd: BorrowedFd<'_>) -> Option<(u32, u32)> {
    let mut buffer = [0; 512];
    let fd = pidfd.as_raw_fd();
    let length = read_file(format_args!("/proc/self/fdinfo/{fd}"), &mut buffer).ok()?;
    parse_fdinfo(std::str::from_utf8(buffer.get(..length)?).ok()?)
}

/// Parse the lines `Pid:` and `NSpid:`. The last number of `NSpid:` is the id in the process's own
/// namespace. A process that was waited for has the id -1, and one that /proc does not show has 0.
fn parse_fdinfo(fdinfo: &str) -> Option<(u32, u32)> {
    let line = |name| fdinfo.lines().find_map(|line: &str| line.strip_prefix(name));
    let pid = |text: &str| text.parse().ok().filter(|pid| *pid != 0);
    let shown = pid(line("Pid:")?.trim())?;
    let own = line("NSpid:").map_or(Some(shown), |pids| pid(pids.split_whitespace().last()?))?;
    Some((shown, own))
}

/// Return when a process started, by its file in /proc.
fn start_time(path: Arguments<'_>) -> Result<u64> {
    let mut buffer = [0; 512];
    let length = read_file(path, &mut buffer)?;
    parse_start_time(buffer.get(..length).unwrap_or_default()).ok_or(Error::Unexpected)
}

/// Parse the 22nd field of `pid (name) state ...`, where the name may hold any bytes.
fn parse_start_time(stat: &[u8]) -> Option<u64> {
    let close = stat.iter().rposition(|byte| *byte == b')')?;
    let mut fields = stat.get(close..)?.split(|byte| *byte == b' ').skip(20);
    let start_time = std::str::from_utf8(fields.next()?).ok()?.parse().ok()?;
    // A field without an end may be cut off.
    fields.next().map(|_| start_time)
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
        plain_chars(&self.bytes)
    }
}

/// Return the name of a process of this namespace, and whether the process still runs.
///
/// A process that exited and was not waited for does not run. The name is `None` if /proc does not
/// show the process.
pub(crate) fn look_up(pid: u32) -> (Option<Name>, bool) {
    let mut buffer = [0; 256];
    match read_file(format_args!("/proc/{pid}/stat"), &mut buffer) {
        Ok(length) => parse_stat(buffer.get(..length).unwrap_or_default()),
        Err(_) => (None, !is_gone(pid)),
    }
}

/// Read a file of /proc into `buffer` and return the number of bytes.
fn read_file(path: Arguments<'_>, buffer: &mut [u8]) -> Result<usize> {
    let mut space = [0; 48];
    let path = write_path(&mut space, path)?;
    let file = rustix::fs::open(path, OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty())?;
    Ok(retry(|| rustix::io::read(&file, &mut *buffer))?)
}

/// Write a path into `space`, which is all zero.
fn write_path<'a>(space: &'a mut [u8; 48], path: Arguments<'_>) -> Result<&'a CStr> {
    space.as_mut_slice().write_fmt(path).map_err(|_| Errno::INVAL)?;
    Ok(CStr::from_bytes_until_nul(space).map_err(|_| Errno::INVAL)?)
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

#[cfg(all(test, not(modeled)))]
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
    fn a_start_time_is_the_22nd_field_whatever_the_name() {
        let fields: String = (4..=52).map(|field| format!(" {field}")).collect();
        for name in ["sh", "a) S 1 (b", ") ) )"] {
            let stat = format!("7 ({name}) S{fields}");
            assert_eq!(parse_start_time(stat.as_bytes()), Some(22));
        }
        assert_eq!(
            parse_start_time(b"7 (cut) S 4 5 6 7 8 9 10 11 12 13 14 15 16 17 18 19 20 21 2"),
            None
        );
        assert_eq!(parse_start_time(b""), None);
    }

    #[test]
    fn a_pidfd_shows_the_process_id_in_its_own_namespace() {
        let parse = |pids: &str| parse_fdinfo(&format!("pos:\t0\nflags:\t02\n{pids}"));
        assert_eq!(parse("Pid:\t70\nNSpid:\t70\n"), Some((70, 70)));
        assert_eq!(parse("Pid:\t70\nNSpid:\t70\t5\t2\n"), Some((70, 2)));
        assert_eq!(parse("Pid:\t70\n"), Some((70, 70)));
        assert_eq!(parse("Pid:\t-1\nNSpid:\t-1\n"), None);
        assert_eq!(parse("Pid:\t0\nNSpid:\t0\n"), None);
        assert_eq!(parse(""), None);
    }

    #[test]
    fn this_process_has_one_identity_by_itself_and_by_a_pidfd() {
        let this = rustix::process::getpid();
        let flags = rustix::process::PidfdFlags::empty();
        let (identity, is_final) = identity();
        assert!(is_final && !has_exited(id()));
        if let Ok(pidfd) = rustix::process::pidfd_open(this, flags) {
            assert_eq!(identity_of(pidfd.as_fd()), Some(identity));
        }
    }

    #[test]
    fn this_process_runs_in_its_own_namespace() {
        assert!(look_up(id()).1 && !is_gone(id()));
        assert!(is_own_namespace(namespace()) || namespace() == 0);
        assert!(is_gone(0) && is_gone(u32::MAX) && is_gone(1 << 30));
    }
}
