// SPDX-License-Identifier: MIT
//! What several tests use, and not all of them all of it.

#![allow(dead_code)]

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;
use umf::{Fence, FenceFlags, Page, PageFlags};

/// Longer than a test may take on a loaded machine.
pub const LONG: Duration = Duration::from_secs(20);

pub fn page_and_fence() -> (Page, Fence) {
    let page = Page::create(8, PageFlags::NONE).unwrap();
    let fence = page.create_fence(0, FenceFlags::NONE).unwrap();
    (page, fence)
}

/// A value that counts how often it is dropped.
pub struct Dropped(Arc<AtomicUsize>);

pub fn dropped() -> (Dropped, Arc<AtomicUsize>) {
    let drops = Arc::new(AtomicUsize::new(0));
    (Dropped(Arc::clone(&drops)), drops)
}

impl Drop for Dropped {
    fn drop(&mut self) {
        self.0.fetch_add(1, Ordering::Relaxed);
    }
}
