// SPDX-License-Identifier: MIT
//! Where messages go: to a function of the caller's, or to stderr.

use super::fd_writer::FdWriter;
use crate::util::callback;
use crate::util::mutex::Mutex;
use crate::util::refs::Ref;
use crate::util::user_data::UserData;
use rustix::fd::AsFd;
use std::ffi::{CStr, c_char, c_void};
use std::fmt;

/// A function that is told each message, a string that ends with 0.
pub(crate) struct LogHandler {
    pub(crate) call: extern "C" fn(data: *mut c_void, message: *const c_char),
    /// Released once no call uses it any more.
    pub(crate) data: UserData,
}

static HANDLER: Mutex<Option<Ref<LogHandler>>> = Mutex::new(None);

/// Sets where messages go. `None` is stderr.
pub(crate) fn set_handler(handler: Option<Ref<LogHandler>>) {
    let before = std::mem::replace(&mut *HANDLER.lock(), handler);
    // After the lock: this may call the release function.
    drop(before);
}

/// Writes a message. No lock is held. Without memory for it, a handler is told nothing.
pub(super) fn write(message: impl Fn(&mut dyn fmt::Write) -> fmt::Result) {
    let handler = HANDLER.lock().clone();
    let Some(handler) = handler else {
        let stderr = std::io::stderr();
        let mut out = FdWriter::new(stderr.as_fd());
        let _ = message(&mut out);
        let _ = out.finish();
        return;
    };
    let mut text = Text(Vec::new());
    if message(&mut text).is_ok() && fmt::Write::write_str(&mut text, "\0").is_ok() {
        if let Ok(text) = CStr::from_bytes_with_nul(&text.0) {
            callback::call(|| (handler.call)(handler.data.get(), text.as_ptr()));
        }
    }
}

/// A text for which memory may be missing.
struct Text(Vec<u8>);

impl fmt::Write for Text {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        self.0.try_reserve(text.len()).map_err(|_| fmt::Error)?;
        self.0.extend_from_slice(text.as_bytes());
        Ok(())
    }
}
