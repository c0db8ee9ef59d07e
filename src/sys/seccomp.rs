// SPDX-License-Identifier: MIT
//! /proc/thread-self/status, Linux 3.17: whether a filter of system calls is in force.
//!
//! A filter may kill a process for a call that the library could do without. No call tells what a
//! filter does. prctl(PR_GET_SECCOMP) would tell whether there is one, but Chromium's filter kills
//! for that one too. It answers open() with an error.

#![forbid(unsafe_code)]

use super::retry::retry;
use rustix::fs::{Mode, OFlags};
use rustix::io::Errno;
use std::sync::atomic::{AtomicBool, Ordering};

/// Check whether the calling thread has no filter. `false` also if that is not known.
///
/// A thread cannot remove its filters, but may get one at any time. Async-signal-safe.
pub(crate) fn is_unfiltered() -> bool {
    static FILTERED: AtomicBool = AtomicBool::new(false);
    if FILTERED.load(Ordering::Relaxed) {
        return false;
    }
    match mode() {
        Ok(Some(b'0')) => true,
        // The next call asks again.
        Err(errno) if is_temporary(errno) => false,
        _ => {
            FILTERED.store(true, Ordering::Relaxed);
            false
        }
    }
}

/// Whether an error of open() or read() says nothing of a filter: descriptors or memory ran out.
fn is_temporary(errno: Errno) -> bool {
    matches!(errno, Errno::MFILE | Errno::NFILE | Errno::NOMEM | Errno::INTR)
}

/// Return the digit of the line `Seccomp:`, if there is one.
fn mode() -> Result<Option<u8>, Errno> {
    let path = c"/proc/thread-self/status";
    let flags = OFlags::RDONLY | OFlags::CLOEXEC;
    let file = rustix::fs::open(path, flags, Mode::empty())?;
    let mut search = Search::default();
    let mut buffer = [0; 128];
    loop {
        let length = retry(|| rustix::io::read(&file, &mut buffer))?;
        let Some(bytes) = buffer.get(..length).filter(|bytes| !bytes.is_empty()) else {
            return Ok(None);
        };
        if let Some(mode) = bytes.iter().find_map(|byte| search.next(*byte)) {
            return Ok(Some(mode));
        }
    }
}

/// How many bytes of [`LINE`] came last.
#[derive(Default)]
struct Search(usize);

const LINE: &[u8] = b"\nSeccomp:\t";

impl Search {
    /// Return the byte that follows the line's beginning.
    fn next(&mut self, byte: u8) -> Option<u8> {
        match LINE.get(self.0) {
            None => return Some(byte),
            Some(expected) if *expected == byte => self.0 += 1,
            // No other byte of the line is a newline.
            Some(_) => self.0 = usize::from(byte == b'\n'),
        }
        None
    }
}

#[cfg(all(test, not(modeled)))]
mod tests {
    use super::*;

    #[test]
    fn the_mode_is_found_in_its_line_alone() {
        let find = |text: &[u8]| {
            let mut search = Search::default();
            text.iter().find_map(|byte| search.next(*byte))
        };
        assert_eq!(find(b"NoNewPrivs:\t1\nSeccomp:\t2\nSeccomp_filters:\t1\n"), Some(b'2'));
        assert_eq!(find(b"\n\nSeccomp:\t0"), Some(b'0'));
        assert_eq!(find(b"Name:\tSeccomp:\t0\nSeccomp_filters:\t0\n"), None);
        assert!(matches!(mode(), Ok(Some(_))));
    }
}
