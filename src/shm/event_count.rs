// SPDX-License-Identifier: MIT
//! An event count in shared memory, with a log of the slots that changed.
//!
//! A waiter reads the sequence number, checks its conditions, and sleeps on the number with a
//! futex. A signaler changes its fence, increments the number and wakes the waiters. This is Dmitry
//! Vyukov's "eventcount". What is added is a log of the last 256 events with the slot of each. So a
//! thread that waits for 100,000 fences checks only those that changed. Each waiter keeps
//! its own position in the log, so the log serves any number of waiters, and nobody clears it. A
//! waiter checks all of its fences if the log cannot tell: it missed more than 256 events, or an
//! entry is not written yet.
//!
//! # Who is woken
//!
//! The threads that wait for different fences of a page sleep on the same word. FUTEX_WAIT_BITSET
//! takes a mask of 32 bits: each event wakes with the bit of its slot (`index % 32`), and a thread
//! sleeps with the bits of the slots that it waits for. So a signal wakes a thread for another
//! fence only if the two slots share a bit, or if the thread blocks on several words, since
//! futex_waitv takes no mask. A thread that was woken for a fence of others and has a short list
//! does not come back here: it sleeps on the words of its slots from then on, which only its own
//! fences wake (wait/slot_words.rs, reactor/fence_poller.rs). So a waiter is woken for others at
//! most a few times, however often they are signaled.
//!
//! The mask loses no wake-up. The waiter has registered with its slots only, so it relies on the
//! events of these, and each of them wakes with a bit of the mask. The events of other slots change
//! the number beneath the sleep; then the log tells more events to check, and nothing else.
//!
//! Every word here may be written by a hostile process. A wrong entry costs a useless check, never
//! a missed one.

#![forbid(unsafe_code)]

use crate::sys::futex;
use crate::util::atomic::{AtomicU32, AtomicU64, Ordering, rmw_before_load};
use std::num::NonZeroU32;

/// The event count of a page: for threads that wait for many of its fences.
#[repr(C, align(64))]
pub(crate) struct EventCount {
    /// The futex word: the number of events, modulo 2^32.
    sequence: AtomicU32,
    /// The number of fences of the page that failed or ended, modulo 2^32.
    failures: AtomicU32,
    /// The bits of the slots for which a wait for all has slept without registering there. Never
    /// cleared.
    unregistered: AtomicU32,
    reserved: [AtomicU32; 13],
    /// Event e is at e % LOG: e + 1 in the high half, so that an empty log names no event, and the
    /// slot in the low half.
    log: [AtomicU64; LOG],
}

/// The number of events in the log. The model checker has two, and so sees the log overflow too.
const LOG: usize = if cfg!(modeled) { 2 } else { 256 };

/// Where the events of one slot are published: its page's event count, under the slot's index.
#[derive(Clone, Copy)]
pub(crate) struct EventSink<'a> {
    pub(crate) events: &'a EventCount,
    pub(crate) slot: u32,
}

impl EventSink<'_> {
    pub(super) fn publish(self) {
        self.events.publish(self.slot, EventCount::wake_bit(self.slot));
    }

    pub(super) fn count_failure(self) {
        self.events.count_failure();
    }

    /// Whether a wait for all may sleep for the slot without having registered there.
    pub(super) fn has_unregistered_waiters(self) -> bool {
        self.events.has_unregistered_waiters(self.slot)
    }
}

impl EventCount {
    /// The futex word. A waiter reads it before it registers with any slot.
    pub(crate) fn sequence(&self) -> &AtomicU32 {
        &self.sequence
    }

    /// The bit with which the events of a slot wake.
    pub(crate) fn wake_bit(slot: u32) -> u32 {
        1 << (slot % 32)
    }

    /// The slots of the events from `seen` up to but not including `now`, both read from the
    /// sequence with acquire. Returns `None` if events were lost; an item is `None` if its entry is
    /// not written yet. A slot may appear twice, or be one that a peer invented.
    pub(crate) fn signaled_since(
        &self,
        seen: u32,
        now: u32,
    ) -> Option<impl Iterator<Item = Option<u32>>> {
        let count = now.wrapping_sub(seen);
        if count as usize > LOG {
            return None;
        }
        Some((0..count).map(move |step| self.slot_of(seen.wrapping_add(step))))
    }

    /// The slot of one event, or None if its entry in the log is not written yet.
    fn slot_of(&self, event: u32) -> Option<u32> {
        let entry = self.log.get(event as usize % LOG)?.load(Ordering::Acquire);
        ((entry >> 32) as u32 == event.wrapping_add(1)).then_some(entry as u32)
    }

    /// Changes whenever a fence of the page fails or ends.
    pub(crate) fn failures(&self) -> u32 {
        self.failures.load(Ordering::SeqCst)
    }

    /// Called by a wait that hears of failures of slots where it does not register, before it reads
    /// `failures`. `bits` are those of the slots.
    pub(crate) fn wait_unregistered(&self, bits: u32) {
        if self.unregistered.load(Ordering::SeqCst) & bits != bits {
            self.unregistered.fetch_or(bits, Ordering::SeqCst);
        }
        rmw_before_load();
    }

    fn has_unregistered_waiters(&self, slot: u32) -> bool {
        self.unregistered.load(Ordering::SeqCst) & EventCount::wake_bit(slot) != 0
    }

    /// S4 and S5 of slot.rs. A waiter that comes between the increment and the log entry finds the
    /// event without its slot, and checks everything.
    fn publish(&self, slot: u32, bits: u32) {
        let event = self.sequence.fetch_add(1, Ordering::Release);
        if let Some(entry) = self.log.get(event as usize % LOG) {
            entry
                .store(u64::from(event.wrapping_add(1)) << 32 | u64::from(slot), Ordering::Release);
        }
        futex::wake(&self.sequence, NonZeroU32::new(bits).unwrap_or(NonZeroU32::MAX));
    }

    /// Wakes every waiter, although no slot changed.
    pub(super) fn wake_all(&self) {
        self.publish(u32::MAX, u32::MAX);
    }

    /// Called before the event of the failure is published.
    fn count_failure(&self) {
        self.failures.fetch_add(1, Ordering::SeqCst);
    }

    /// What shared memory gives for free, the model checker has to make.
    #[cfg(modeled)]
    pub(crate) fn new() -> EventCount {
        EventCount {
            sequence: AtomicU32::new(0),
            failures: AtomicU32::new(0),
            unregistered: AtomicU32::new(0),
            reserved: std::array::from_fn(|_| AtomicU32::new(0)),
            log: std::array::from_fn(|_| AtomicU64::new(0)),
        }
    }
}

// The layout is shared between processes of 32 and 64 bits.
#[cfg(not(modeled))]
const _: () = assert!(size_of::<EventCount>() == 64 + 8 * LOG);
