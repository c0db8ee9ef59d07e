// SPDX-License-Identifier: MIT
//! The file of a trace: where it is, and when it is written.

use super::event::{Line, Thread};
use crate::error::{Error, Result};
use crate::sys::append_file::AppendFile;
use crate::sys::{env, process};
use crate::util::mutex::Mutex;
use once_cell::race::OnceBool;
use std::ffi::CStr;
use std::io::Write;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering};

/// Whether events are recorded.
static ON: AtomicBool = AtomicBool::new(false);

static FILE: AppendFile = AppendFile::new();

/// Held while recording starts or stops.
static CHANGING: Mutex<()> = Mutex::new(());

/// The process whose name is in the trace. The child of a fork has another id.
static NAMED: AtomicU32 = AtomicU32::new(0);

/// The name, which the child of a fork has too: 16 bytes.
static NAME: [AtomicU64; 2] = [const { AtomicU64::new(0) }; 2];

/// Each line ends with a comma. Readers accept an array without its end.
const HEAD: &[u8; 2] = b"[\n";

/// Whether events are recorded. Called on slow paths only.
#[inline]
pub(crate) fn is_on() -> bool {
    ON.load(Ordering::Relaxed)
}

/// Records into the file that LIBUMF_TRACE names, if it does. Later calls do nothing. A file that
/// cannot be written changes nothing.
pub(crate) fn start_by_environment() {
    static STARTED: OnceBool = OnceBool::new();
    let _ = STARTED.get_or_init(|| {
        env::text(c"LIBUMF_TRACE", |path| !path.is_empty() && start(path).is_ok()).unwrap_or(false)
    });
}

/// Records into a file from now on. `%p` in its name stands for the process id.
pub(crate) fn start(path: &CStr) -> Result<()> {
    let path = expanded(path)?;
    let path = CStr::from_bytes_with_nul(&path).map_err(|_| Error::Invalid)?;
    let _changing = CHANGING.lock();
    FILE.open(path, HEAD)?;
    let (name, _) = process::look_up(process::id());
    let mut bytes = [0; 16];
    for (byte, character) in bytes.iter_mut().zip(name.iter().flat_map(process::Name::chars)) {
        *byte = u8::try_from(character).unwrap_or(b'?');
    }
    for (word, half) in NAME.iter().zip(bytes.chunks_exact(8)) {
        word.store(half.try_into().map_or(0, u64::from_le_bytes), Ordering::Relaxed);
    }
    NAMED.store(0, Ordering::Relaxed);
    ON.store(true, Ordering::Release);
    Ok(())
}

/// Records no more.
pub(crate) fn stop() {
    let _changing = CHANGING.lock();
    ON.store(false, Ordering::Relaxed);
}

/// Writes the name of the process, if this is its first event.
#[inline(never)]
pub(super) fn name_process(thread: Thread) {
    if NAMED.load(Ordering::Relaxed) == thread.pid
        || NAMED.swap(thread.pid, Ordering::Relaxed) == thread.pid
    {
        return;
    }
    let mut name = [0; 16];
    for (bytes, word) in name.chunks_exact_mut(8).zip(&NAME) {
        bytes.copy_from_slice(&word.load(Ordering::Relaxed).to_le_bytes());
    }
    let end = name.iter().position(|byte| *byte == 0).unwrap_or(name.len());
    let name = name.get(..end).and_then(|name| std::str::from_utf8(name).ok());
    let mut line = Line::new();
    line.process_name(thread, name.unwrap_or_default());
    append(&line);
}

/// Appends a line. After one that could not be written as a whole, nothing is recorded any more.
#[inline(never)]
pub(super) fn append(line: &Line) {
    if line.complete().is_some_and(|line| FILE.append(line).is_err()) {
        ON.store(false, Ordering::Relaxed);
    }
}

/// Replaces each `%p` by the process id.
#[inline(never)]
fn expanded(path: &CStr) -> Result<Vec<u8>> {
    let mut rest = path.to_bytes_with_nul();
    let mut expanded = Vec::new();
    // An id has at most 10 digits, and takes the place of two bytes.
    expanded.try_reserve_exact(rest.len() * 5).map_err(|_| Error::NoMemory)?;
    while let Some((first, after)) = rest.split_first() {
        rest = match after.split_first() {
            Some((b'p', after)) if *first == b'%' => {
                let _ = write!(expanded, "{}", process::id());
                after
            }
            _ => {
                expanded.push(*first);
                after
            }
        };
    }
    Ok(expanded)
}
