// SPDX-License-Identifier: MIT
//! The 64 bytes of a fence, and the protocol that wakes its waiters.
//!
//! # The words
//!
//! The value is at offset 0, so that a device needs one address and nothing else. Futexes are 32
//! bits wide in every kernel, so the value itself cannot be the futex word. A waiter would sleep
//! through a jump by a multiple of 2^32 between its check and its sleep. So waiters sleep on a
//! sequence number beside the value, and register for *what* they wait. Bit `T % 32` of `waiters`
//! says that somebody waits for a value T of that residue (residue.rs). A signal from `old` to
//! `new` concerns exactly the residues of old+1 ..= new, and wakes no other waiter. The low half of
//! `waiters` is for threads that sleep on this slot's sequence, alone or beside those of a few
//! other slots. The high half is for threads that wait for many fences and sleep on the page's
//! eventcount (event_count.rs).
//!
//! # Why no wake-up is lost
//!
//! ```text
//!   signal                                   wait for T
//!   S1  value: old -> new      (RMW)         W1  s = sequence
//!   S2  read waiters                         W2  set bit in waiters     (RMW)
//!       none of ours: done                   W3  read value: new >= T?  done
//!   S2b sequence += 1, for E2                W4  FUTEX_WAIT(sequence == s, bit)
//!   S3  clear our bits                           then again from W1
//!   S4  sequence += 1
//!   S5  FUTEX_WAKE(sequence, bits)
//! ```
//!
//! *Either the waiter sees the value, or the signaler sees the bit.* S1, S2, W2 and W3 are SeqCst,
//! so there is one order of all four. If W2 comes before S2, the signaler sees the bit. Otherwise
//! S1 < S2 < W2 < W3, and the waiter sees the value. (A device's write is no S1: `notify` does not
//! read `waiters`, see below.)
//!
//! *If the signaler sees the bit, the waiter does not sleep on.* Let S3 be the first clearing of
//! this waiter's bit after its W2. Had W1 read the sequence of S4 or a later one, then by release
//! (S4) and acquire (W1) S3 would come before W2, a contradiction. So `s` is older than S4. Either
//! FUTEX_WAIT finds the sequence changed, or the waiter is in the kernel's queue before S5 looks
//! there, with a bit that S5 names. The waiter starts over and reads the value.
//!
//! *If another signaler cleared the bit first*, S3 of that one comes before S2 or S3 of ours in the
//! order of `waiters`. The waiter that it wakes sets its bit again with an RMW that reads from
//! ours, so it sees our value in W3.
//!
//! *An aliasing waiter* (T+32) may lose its bit to a signal that does not concern it. It shares the
//! bit, so S5 wakes it too, and it sets the bit again. That is the price of 32 bits: a useless
//! wake-up, never a missed one.
//!
//! *An unordered fence* may be lowered. A store from `old` down to `new` concerns the residues of
//! new ..= old, and a waiter registers the residues of the values next to its condition: whichever
//! way the value gets there, the store that meets the condition concerns one of them. What a waiter
//! is told of values that are gone when its thread runs, rewind.rs has.
//!
//! *A waiter that sleeps on the sequences of several slots* (futex_waitv) does W1, W2 and W3 for
//! each of them and then W4 for all. The argument holds for each slot by itself. futex_waitv takes
//! no mask, so a wake-up of such a slot with any bits wakes the waiter. A waiter that moves from
//! the page's eventcount to the slots, or back, begins again with W1 on the words that it will
//! sleep on. The bits that it leaves behind cost a needless wake-up.
//!
//! What remains, as with every futex: a waiter that is preempted between W1 and W4 for exactly 2^31
//! wake-ups of its slot misses the last. At one wake-up per microsecond that takes 35 minutes.
//!
//! Timeouts and interrupted sleeps leave a bit behind, at the price of one needless FUTEX_WAKE
//! later.
//!
//! Errors, the end of a fence and `notify` concern every residue. They wake without reading
//! `waiters`: S2b to S5, and the same on the event count. Two things follow. A wait for *all* of
//! many fences can sleep on one fence and still notice that another failed. A waiter whose signaler
//! died between S3 and S5 is woken after all.
//!
//! # A fence that nobody waited for
//!
//! A creator that ends its fence leaves E2 out if nobody can sleep for it. It reads `waiters`, then
//! `sequence`. If no bit is set, and `sequence` is what it was between C2 and C4, no waiter of this
//! fence is registered. *A waiter that registered (W2) after `waiters` was read* finds the end in
//! W3: E1, W2, that read and W3 are SeqCst. *A waiter that registered before* left its bit there,
//! or somebody cleared the bit in S3. Then the read of `waiters` is of that S3 or a later step, so
//! S2b comes before the read of `sequence`, which has moved. That holds if that process was killed
//! after S3, too. (Unless it saw the bit of a waiter of an earlier fence of this slot, did S2b
//! while that fence lived, did S3 after a waiter of this fence had set the bit, and was killed
//! before S4.)
//!
//! *A wait for all* sleeps for fences behind the one where it is registered. It says so in the page
//! before it reads the count of failures (event_count.rs). The end counts itself first, and then
//! looks for that. Waiters of a fence that always wakes cannot register, and a device's waiters may
//! sleep elsewhere: the end of these wakes in any case. So do reclaims and ties, which know nothing
//! of the past.
//!
//! # The life of a slot, and processes that are killed
//!
//! ```text
//!   create                                   end
//!   C1  creator: 0 -> this process           E1  state: live -> free, count + 1
//!   C2  state: free -> claimed               E2  wake the waiters of every residue, if any
//!   C3  write the words of the fence         E3  creator: this process -> 0
//!   C4  state: claimed -> live
//! ```
//!
//! Only the process that `creator` names writes to `state`. C1 is the first step and E3 the last,
//! so a process that is killed leaves its name in the slot, whatever it was doing. Another process
//! that knows of the death (creator.rs) replaces the name by its own, with a compare-exchange that
//! one process wins. Then it does what is left: it moves `state` on (E1), wakes (E2), and gives the
//! slot back (E3). It does E2 even if `state` is free: the dead process may have done E1 alone.
//!
//! A dead process runs no step. If a living one was taken for dead, because a peer wrote its name
//! elsewhere, its next compare-exchange of `state` or `creator` fails, and it does no more. The
//! stores of C3 that it was about to do may then reach the slot's next fence.
//!
//! # What a peer can do
//!
//! Every word here may be written by a hostile process at any time. None is used as an index, a
//! length or an address. So a peer can wake, delay or deceive the waiters of its own fences, and no
//! more.

#![forbid(unsafe_code)]

use super::change::Change;
use super::creator::Creator;
use super::event_count::EventSink;
use super::generation::{self, Generation, Kind};
use super::residue::{Residues, Width};
use super::rewind::{Moment, Peaks};
use super::timestamps::Timestamps;
use crate::error::{Error, FenceErrno, Result};
use crate::sys::futex::{self, Word};
use crate::util::atomic::{AtomicU32, AtomicU64, Ordering, fence, rmw_before_load};
use std::num::NonZeroU32;

/// A fence in shared memory. All zero is a free slot.
#[repr(C, align(64))]
pub(crate) struct Slot {
    value: AtomicU64,
    /// The highest value that work was submitted for. Means something only while it is above
    /// `value`. Of an unordered fence: a peak (rewind.rs).
    pending: AtomicU64,
    /// Residues waited for: low half on `sequence`, high half on the page's event count.
    waiters: AtomicU64,
    /// The futex word.
    sequence: AtomicU32,
    /// For the device that writes the value: the waiters for values up to this one were woken. See
    /// [`Slot::announce`]. Of an unordered fence: its clock (rewind.rs).
    announced: AtomicU32,
    /// 0, or the errno that the fence failed with.
    error: AtomicU32,
    /// The value of a 32-bit fence. It is a word of its own, since the memory model gives no
    /// meaning to accesses of two sizes to the same bytes.
    value32: AtomicU32,
    /// For the device that writes the value: no interrupt is needed for a value up to this one. See
    /// [`Slot::monitor`]. Of an unordered fence that no device writes: another peak (rewind.rs).
    monitored: AtomicU64,
    /// See generation.rs.
    state: AtomicU64,
    /// 0, or the process that created the fence or is about to: see creator.rs.
    creator: AtomicU64,
}

/// The monitored value while nobody waits.
const UNMONITORED: u64 = u64::MAX;

/// The byte offset of a 32-bit value in its slot.
pub(crate) const VALUE32_OFFSET: usize = 36;

/// The byte offset of the monitored value in its slot.
pub(crate) const MONITORED_OFFSET: usize = 40;

/// What a registered waiter sleeps on.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum WaitTarget {
    /// The slot's own sequence.
    Slot,
    /// The page's event count.
    Page,
}

impl WaitTarget {
    /// The bits of `waiters` that stand for the residues.
    fn mask(self, residues: Residues) -> u64 {
        match self {
            WaitTarget::Slot => u64::from(residues),
            WaitTarget::Page => u64::from(residues) << 32,
        }
    }
}

impl Slot {
    // The life of a slot: C1 to C4, E1 to E3.

    /// Takes a free slot for a new fence at `value`. Nobody can open it before [`Slot::publish`].
    pub(crate) fn claim(&self, kind: Kind, value: u64, creator: Creator) -> Option<Generation> {
        if self.creator.load(Ordering::Relaxed) != 0 || !self.take(creator) {
            return None;
        }
        let free = self.state.load(Ordering::Relaxed);
        let generation = Generation::next(free, kind);
        let claimed = generation.filter(|generation| self.begin(free, *generation, value));
        if claimed.is_none() {
            // The counter is used up, or a peer wrote here.
            self.give_back(creator);
        }
        claimed
    }

    /// C1, if the slot names no process. Acquire: what the last one did comes before.
    pub(crate) fn take(&self, creator: Creator) -> bool {
        let (success, failure) = (Ordering::AcqRel, Ordering::Relaxed);
        self.creator.compare_exchange(0, creator.to_shared(), success, failure).is_ok()
    }

    /// C2 and C3, if the state is still `free`.
    pub(crate) fn begin(&self, free: u64, generation: Generation, value: u64) -> bool {
        // Release, below: a thread that reads a word of the new fence also sees that the old fence
        // has ended (`value`).
        if !self.exchange_state(free, generation.claimed()) {
            return false;
        }
        let (pending, monitored, announced) = match generation.is_unordered() {
            false => (value, UNMONITORED, generation.width().folded(value)),
            // No peak, and a clock that no wait has moved.
            true => (0, if generation.is_device() { UNMONITORED } else { 0 }, 0),
        };
        self.error.store(0, Ordering::Release);
        self.pending.store(pending, Ordering::Release);
        self.value.store(value, Ordering::Release);
        self.value32.store(value as u32, Ordering::Release);
        self.monitored.store(monitored, Ordering::Release);
        self.announced.store(announced, Ordering::Release);
        true
    }

    /// C4: lets others open the fence that `claim` prepared. False if this process was taken for
    /// dead, or a peer wrote here.
    pub(crate) fn publish(&self, generation: Generation) -> bool {
        self.exchange_state(generation.claimed(), generation.live())
    }

    /// Undoes a `claim` that was never published.
    pub(crate) fn unclaim(&self, generation: Generation, creator: Creator) {
        if self.exchange_state(generation.claimed(), generation.ended()) {
            self.give_back(creator);
        }
    }

    /// The fence is to live as long as its page, and not to end with its creator.
    pub(crate) fn keep(&self, creator: Creator) {
        self.hand_over(creator, Creator::PAGE);
    }

    /// The fence that lives here now.
    pub(crate) fn generation(&self) -> Option<Generation> {
        Generation::of_live(self.state.load(Ordering::Acquire))
    }

    /// Ends the fence. Its waiters learn that it is stale, and the slot is free for another one.
    /// `unwaited` is the sequence from before anybody could wait for the fence.
    pub(crate) fn retire(
        &self,
        generation: Generation,
        sink: EventSink<'_>,
        creator: Creator,
        unwaited: u32,
    ) {
        if self.end(generation) {
            sink.count_failure();
            rmw_before_load();
            if self.may_have_waiters(generation, sink, unwaited) {
                self.wake_all(sink);
            }
            self.give_back(creator);
        }
    }

    /// The end without E3: the slot still names the creator, and no fence takes it. `Stale` if the
    /// fence has ended.
    pub(crate) fn end_and_keep(&self, generation: Generation, sink: EventSink<'_>) -> Result<()> {
        if !self.end(generation) {
            return Err(Error::Stale);
        }
        self.wake_ended(sink);
        Ok(())
    }

    /// E3, after `end_and_keep`, unless a peer had the slot reclaimed and used again.
    pub(crate) fn release(&self, generation: Generation, creator: Creator) {
        if self.state.load(Ordering::Acquire) == generation.ended() {
            self.give_back(creator);
        }
    }

    /// Whether anybody may sleep for a fence that has ended.
    fn may_have_waiters(&self, generation: Generation, sink: EventSink<'_>, unwaited: u32) -> bool {
        generation.always_wakes()
            || generation.is_device()
            || self.waiters.load(Ordering::SeqCst) != 0
            || self.sequence() != unwaited
            || sink.has_unregistered_waiters()
    }

    /// E1.
    pub(crate) fn end(&self, generation: Generation) -> bool {
        self.exchange_state(generation.live(), generation.ended())
    }

    /// E2, or the second half of `set_error`.
    pub(crate) fn wake_ended(&self, sink: EventSink<'_>) {
        sink.count_failure();
        self.wake_all(sink);
    }

    /// E3. Release: what this process did comes before the next C1.
    fn give_back(&self, creator: Creator) {
        let (word, failure) = (creator.to_shared(), Ordering::Relaxed);
        let _ = self.creator.compare_exchange(word, 0, Ordering::Release, failure);
    }

    fn exchange_state(&self, from: u64, to: u64) -> bool {
        self.state.compare_exchange(from, to, Ordering::SeqCst, Ordering::Relaxed).is_ok()
    }

    /// Names another process, if the slot names `from`.
    pub(crate) fn hand_over(&self, from: Creator, to: Creator) -> bool {
        let (from, to) = (from.to_shared(), to.to_shared());
        self.creator.compare_exchange(from, to, Ordering::AcqRel, Ordering::Relaxed).is_ok()
    }

    // A slot whose creator died.

    /// The process that the slot names.
    pub(crate) fn creator(&self) -> Option<Creator> {
        Creator::from_shared(self.creator.load(Ordering::Acquire))
    }

    /// The signaler of a fence died: fails it. `Stale` if it has ended; then wakes its waiters,
    /// since the process may have died between E1 and E2. If the slot names `dead`, any process may
    /// reclaim it.
    pub(crate) fn fail_owner_died(
        &self,
        generation: Option<Generation>,
        sink: EventSink<'_>,
        dead: Option<Creator>,
    ) -> Result<()> {
        if let Some(dead) = dead {
            self.hand_over(dead, Creator::ABANDONED);
        }
        let fail = |generation| self.set_error(generation, sink, Error::OwnerDead.errno());
        let failed = generation.ok_or(Error::Stale).and_then(fail);
        if failed.is_err() && self.creator().is_some() {
            self.wake_ended(sink);
        }
        failed
    }

    /// Frees the slot of a process that died, and ends its fence. False if another process was
    /// first. The slot names this process meanwhile, in case that it is killed too.
    pub(crate) fn reclaim(&self, dead: Creator, sink: EventSink<'_>, creator: Creator) -> bool {
        if !self.hand_over(dead, creator) {
            return false;
        }
        let state = self.state.load(Ordering::Acquire);
        if !self.exchange_state(state, generation::freed(state)) {
            // A peer wrote here, or the creator lives.
            self.hand_over(creator, dead);
            return false;
        }
        self.wake_ended(sink);
        self.give_back(creator);
        true
    }

    /// `Stale` from the end of the fence on.
    pub(crate) fn check_live(&self, generation: Generation) -> Result<()> {
        if self.state.load(Ordering::SeqCst) == generation.live() {
            Ok(())
        } else {
            Err(Error::Stale)
        }
    }

    // Reading.

    /// The value. It stays readable after the end of the fence, until the slot is claimed again: a
    /// process that signals the last value and ends the fence has signaled. `Stale` from then on.
    ///
    /// Suppose that the value was written for a later fence of this slot. Then the load, an
    /// acquire, read from a release that follows the claim for that fence, so the state that is
    /// read next is another.
    #[inline]
    pub(crate) fn value(&self, generation: Generation) -> Result<u64> {
        let value = self.load_value(generation.width(), Ordering::SeqCst);
        self.check_unclaimed(generation)?;
        Ok(value)
    }

    /// The highest value that work was submitted for, or the value of an unordered fence. Readable
    /// as long as `value`.
    #[inline]
    pub(crate) fn pending(&self, generation: Generation) -> Result<u64> {
        if generation.is_unordered() {
            return self.value(generation);
        }
        let pending = self.pending.load(Ordering::SeqCst);
        self.check_unclaimed(generation)?;
        Ok(pending & generation.width().mask())
    }

    #[inline]
    fn check_unclaimed(&self, generation: Generation) -> Result<()> {
        let state = self.state.load(Ordering::SeqCst);
        if state == generation.live() || state == generation.ended() {
            Ok(())
        } else {
            Err(Error::Stale)
        }
    }

    /// The 64-bit value, ordered with nothing: whose it is, and what was written before it, has to
    /// be found out by `value`.
    pub(crate) fn value_hint(&self) -> u64 {
        self.value.load(Ordering::Relaxed)
    }

    #[inline(always)]
    fn load_value(&self, width: Width, order: Ordering) -> u64 {
        match width {
            Width::Bits64 => self.value.load(order),
            Width::Bits32 => self.value32.load(order).into(),
        }
    }

    /// S1, if the value is still `old`. Otherwise returns what the value is.
    #[inline(always)]
    fn exchange_value(&self, width: Width, old: u64, new: u64) -> std::result::Result<(), u64> {
        let (success, failure) = (Ordering::SeqCst, Ordering::SeqCst);
        match width {
            Width::Bits64 => self.value.compare_exchange_weak(old, new, success, failure).map(drop),
            Width::Bits32 => {
                match self.value32.compare_exchange_weak(old as u32, new as u32, success, failure) {
                    Ok(_) => Ok(()),
                    Err(now) => Err(now.into()),
                }
            }
        }
    }

    /// Whether a waiter is registered. One that timed out may have left its bit behind.
    #[cfg(not(loom))]
    pub(crate) fn has_registered_waiters(&self) -> bool {
        self.waiters.load(Ordering::Relaxed) != 0
    }

    /// The error that the fence carries. `Stale` if the fence ended.
    pub(crate) fn error(&self, generation: Generation) -> Result<Option<FenceErrno>> {
        let error = self.error.load(Ordering::SeqCst);
        self.check_live(generation)?;
        Ok(FenceErrno::from_shared(error))
    }

    /// `Ok` while the fence lives and carries no error.
    #[inline]
    pub(crate) fn check_usable(&self, generation: Generation) -> Result<()> {
        match self.error(generation)? {
            None => Ok(()),
            Some(errno) => Err(Error::of_failed_fence(errno)),
        }
    }

    // Writing: S1 to S5.

    /// Moves the value forward, and wakes the waiters for the values that it passes. The same value
    /// again changes nothing.
    #[inline(always)]
    pub(crate) fn signal(
        &self,
        generation: Generation,
        sink: EventSink<'_>,
        value: u64,
    ) -> Result<()> {
        // Each width has code of its own, without branches for the other.
        match generation.width() {
            Width::Bits64 => self.raise(Width::Bits64, generation, sink, value),
            Width::Bits32 => self.raise(Width::Bits32, generation, sink, value),
        }
    }

    #[inline(always)]
    fn raise(
        &self,
        width: Width,
        generation: Generation,
        sink: EventSink<'_>,
        value: u64,
    ) -> Result<()> {
        if !width.holds(value) {
            return Err(Error::Invalid);
        }
        let mut old = self.load_value(width, Ordering::Acquire);
        loop {
            // After reading `old`, hence the acquires. If the fence ends in between, the exchange
            // fails, unless the next fence of this slot is at the very same value. Slots are reused
            // in turn, which makes that unlikely (page.rs).
            self.check_usable(generation)?;
            if !width.is_before(old, value) {
                return if value == old { Ok(()) } else { Err(Error::Invalid) };
            }
            match self.exchange_value(width, old, value) {
                Ok(()) => break,
                Err(now) => old = now,
            }
        }
        rmw_before_load();
        self.wake(generation, sink, || width.passed(old, value));
        Ok(())
    }

    /// Leaves the time at which this process signals `value`, unless the fence has reached it,
    /// failed or ended. These are T2 and T3 of timestamps.rs; then comes `signal`. The clock was
    /// read before (T1).
    pub(crate) fn leave_time(
        &self,
        generation: Generation,
        value: u64,
        timestamps: &Timestamps,
        time: u64,
    ) {
        let width = generation.width();
        let old = self.load_value(width, Ordering::SeqCst);
        let is_before = width.holds(value) && width.is_before(old, value);
        if is_before && self.check_usable(generation).is_ok() {
            timestamps.leave(value, time);
        }
    }

    /// The latest time at which `value` was signaled, if it is known. The caller has seen the value
    /// reached.
    pub(crate) fn time_of(
        &self,
        generation: Generation,
        value: u64,
        timestamps: &Timestamps,
    ) -> Result<Option<u64>> {
        let time = timestamps.latest(value);
        self.check_unclaimed(generation)?;
        Ok(time)
    }

    /// Changes the value of an unordered fence, and wakes the waiters that this concerns. Returns
    /// the value that was there.
    ///
    /// These are S1 to S5, as for a signal, with R1 to R4 of rewind.rs if the value gets lower.
    #[inline(always)]
    pub(crate) fn update(
        &self,
        generation: Generation,
        sink: EventSink<'_>,
        change: Change,
    ) -> Result<u64> {
        let mut old = self.value.load(Ordering::SeqCst);
        let (new, time) = loop {
            self.check_usable(generation)?;
            let Some(new) = change.of(old) else { return Ok(old) };
            let time = if new < old { self.time_of_rewind(generation, old) } else { None };
            match self.exchange_value(Width::Bits64, old, new) {
                Ok(()) => break (new, time),
                Err(now) => old = now,
            }
        };
        if let Some(time) = time {
            self.peaks(generation).leave(old, time);
        }
        rmw_before_load();
        self.wake(generation, sink, || Width::crossed(old, new));
        Ok(old)
    }

    /// R2.
    #[inline]
    fn time_of_rewind(&self, generation: Generation, old: u64) -> Option<Moment> {
        rmw_before_load();
        self.peaks(generation).time_of_rewind(old, generation.always_wakes())
    }

    #[inline]
    fn peaks(&self, generation: Generation) -> Peaks<'_> {
        let second = if generation.is_device() { &self.pending } else { &self.monitored };
        Peaks { clock: &self.announced, words: [&self.pending, second] }
    }

    /// B1 of rewind.rs: a wait on an unordered fence begins. `ticks` if this waiter registers.
    pub(crate) fn begin_wait(&self, generation: Generation, ticks: bool) -> Moment {
        self.peaks(generation).begin_wait(ticks)
    }

    /// Whether an unordered fence has reached `value` since a wait began at `since`, and was
    /// rewound.
    pub(crate) fn was_reached(&self, generation: Generation, since: Moment, value: u64) -> bool {
        // What was written for the next fence of the slot does not count, as in `value`.
        self.peaks(generation).meet(since, value) && self.check_unclaimed(generation).is_ok()
    }

    /// Wakes all waiters, for a value that was written without `signal`: by a device, or by a
    /// process that died before it woke anybody.
    pub(crate) fn notify(&self, generation: Generation, sink: EventSink<'_>) -> Result<()> {
        self.check_live(generation)?;
        // As S3 clears the bits of the waiters that it wakes: a waiter whose value is not reached
        // sets both again.
        if generation.is_device() {
            self.monitored.store(UNMONITORED, Ordering::Relaxed);
        }
        self.wake_all(sink);
        Ok(())
    }

    /// The same after a device's interrupt, for the waiters that are registered for a value up to
    /// `value`, which the device has written. Returns whether there were any.
    ///
    /// These are S1 to S5 on behalf of the device. The first thread that notices `value` moves
    /// `announced` there, and looks for the residues that it passes. The fence orders the read of
    /// `value` before S2, as SeqCst does for S1. The fence in `monitor` orders W2 before W3.
    ///
    /// The values of an unordered fence come in any order, and a value that was announced before
    /// may be new to a waiter. So all that are registered are woken.
    pub(crate) fn announce(&self, generation: Generation, sink: EventSink<'_>, value: u64) -> bool {
        if generation.is_unordered() {
            return self.wake_waiters(generation, sink);
        }
        let width = generation.width();
        let further = |old| (width.unannounced(old, value) != 0).then_some(width.folded(value));
        // The common case first: the fence was not written.
        if further(self.announced.load(Ordering::Relaxed)).is_none()
            || self.check_live(generation).is_err()
        {
            return false;
        }
        let moved = self.announced.fetch_update(Ordering::SeqCst, Ordering::Relaxed, further);
        let Ok(old) = moved else { return false };
        if generation.always_wakes() {
            // No waiter registers. One that reads the new sequence reads `value` too.
            self.wake_all(sink);
            return true;
        }
        fence(Ordering::SeqCst);
        let residues = width.unannounced(old, value);
        let waiters = self.waiters.load(Ordering::SeqCst);
        let (of_slot, of_page) = (waiters as Residues, (waiters >> 32) as Residues);
        if (of_slot | of_page) & residues == 0 {
            return false;
        }
        self.wake_all_registered(generation, sink);
        true
    }

    /// Wakes every waiter that is registered, whatever it waits for: this process cannot read a
    /// device's value, or the waiters are to leave records. Returns whether there were any.
    pub(crate) fn wake_waiters(&self, generation: Generation, sink: EventSink<'_>) -> bool {
        fence(Ordering::SeqCst);
        if self.check_live(generation).is_err() {
            return false;
        }
        if generation.always_wakes() {
            self.wake_all(sink);
            return true;
        }
        let wakes = self.waiters.load(Ordering::SeqCst) != 0;
        if wakes {
            self.wake_all_registered(generation, sink);
        }
        wakes
    }

    /// Takes the monitored value back, then S3 to S5 for every waiter that is registered. Those
    /// whose value is not reached do both again, so that the monitored value stays right for them.
    fn wake_all_registered(&self, generation: Generation, sink: EventSink<'_>) {
        if generation.is_device() {
            self.monitored.store(UNMONITORED, Ordering::Relaxed);
        }
        self.wake_registered(sink, u64::MAX);
    }

    /// Tells the device that somebody waits for `value`. The device has to interrupt when it writes
    /// that value or a further one. The driver that receives the interrupt has to call `notify`.
    ///
    /// The order is that of WDDM's native fences: the waiter publishes the monitored value, *then*
    /// reads the value; the device writes the value, *then* reads the monitored value. So one of
    /// them sees the other. The caller has registered before, passes the value as last read
    /// (`last_value`), and reads the value after.
    pub(crate) fn monitor(&self, width: Width, value: u64, last_value: u64) {
        let below = value.wrapping_sub(1) & width.mask();
        // What was published for other waiters stays if it is lower, unless the value is beyond it:
        // then those waiters are done.
        let publish = |now: u64| {
            let is_idle = now == UNMONITORED || width.is_before(now, last_value);
            (is_idle || width.is_before(below, now)).then_some(below)
        };
        let _ = self.monitored.fetch_update(Ordering::SeqCst, Ordering::Relaxed, publish);
        fence(Ordering::SeqCst);
    }

    /// Records that work was submitted which will signal `value`.
    pub(crate) fn submit(
        &self,
        generation: Generation,
        sink: EventSink<'_>,
        value: u64,
    ) -> Result<()> {
        let width = generation.width();
        if !width.holds(value) {
            return Err(Error::Invalid);
        }
        self.check_usable(generation)?;
        let further = |old| width.is_before(old, value).then_some(value);
        if let Ok(old) = self.pending.fetch_update(Ordering::SeqCst, Ordering::Relaxed, further) {
            rmw_before_load();
            self.wake(generation, sink, || width.passed(old, value));
        }
        Ok(())
    }

    /// Fails the fence. The first error stays; another one only wakes once more.
    pub(crate) fn set_error(
        &self,
        generation: Generation,
        sink: EventSink<'_>,
        errno: FenceErrno,
    ) -> Result<()> {
        self.mark_failed(generation, errno)?;
        sink.count_failure();
        self.wake_all(sink);
        Ok(())
    }

    /// The first half of `set_error`: nobody wakes up yet. `wake_ended` is the other half.
    pub(crate) fn mark_failed(&self, generation: Generation, errno: FenceErrno) -> Result<()> {
        self.check_live(generation)?;
        let _ = self.error.compare_exchange(0, errno.get(), Ordering::SeqCst, Ordering::Relaxed);
        Ok(())
    }

    /// S2, and the rest if a waiter is registered.
    #[inline]
    fn wake(
        &self,
        generation: Generation,
        sink: EventSink<'_>,
        residues: impl FnOnce() -> Residues,
    ) {
        if generation.always_wakes() {
            return self.wake_all(sink);
        }
        let waiters = self.waiters.load(Ordering::SeqCst);
        if waiters == 0 {
            // The common case first: the residues are not computed then.
            return;
        }
        let residues = residues();
        let concerned = WaitTarget::Slot.mask(residues) | WaitTarget::Page.mask(residues);
        if waiters & concerned != 0 {
            self.wake_registered(sink, concerned);
        }
    }

    /// S3 to S5.
    #[cold]
    fn wake_registered(&self, sink: EventSink<'_>, concerned: u64) {
        let woken = self.clear_waiters(concerned);
        if let Some(bits) = NonZeroU32::new(woken as u32) {
            self.sequence.fetch_add(1, Ordering::Release);
            futex::wake(&self.sequence, bits);
        }
        if woken >> 32 != 0 {
            sink.publish();
        }
    }

    /// S3 to S5 for every residue, whether or not a waiter is registered. Errors, ends and `notify`
    /// are rare enough for that. They also wake the waiters whose bits a signaler cleared before it
    /// died without waking them.
    #[cold]
    fn wake_all(&self, sink: EventSink<'_>) {
        self.clear_waiters(u64::MAX);
        self.sequence.fetch_add(1, Ordering::Release);
        futex::wake(&self.sequence, NonZeroU32::MAX);
        sink.publish();
    }

    /// S2b and S3. Returns the bits that were set.
    pub(crate) fn clear_waiters(&self, concerned: u64) -> u64 {
        self.sequence.fetch_add(1, Ordering::Relaxed);
        self.waiters.fetch_and(!concerned, Ordering::AcqRel) & concerned
    }

    // Waiting: W1 to W4.

    /// W2: registers a waiter for `residues`. The caller has read the sequence of `target` before,
    /// and checks its condition after.
    #[inline]
    pub(crate) fn register_waiter(&self, target: WaitTarget, residues: Residues) {
        self.waiters.fetch_or(target.mask(residues), Ordering::SeqCst);
        rmw_before_load();
    }

    /// W1 and W2 for a wait on this slot alone. Returns the word to block on (W4) if the condition
    /// is still not met after this (W3). Without `residues` the waiter does not register: the fence
    /// always wakes.
    pub(crate) fn prepare_wait(&self, residues: Option<NonZeroU32>) -> Word<'_> {
        let sequence = self.sequence();
        if let Some(residues) = residues {
            self.register_waiter(WaitTarget::Slot, residues.get());
        }
        self.word(sequence)
    }

    /// W1 for a wait on this slot and others.
    pub(crate) fn sequence(&self) -> u32 {
        self.sequence.load(Ordering::Acquire)
    }

    /// The word to block on (W4), with the sequence that W1 read.
    pub(crate) fn word(&self, sequence: u32) -> Word<'_> {
        Word { word: &self.sequence, expected: sequence }
    }
}

/// What shared memory gives for free, the model checker has to make. And the model's device.
#[cfg(modeled)]
mod model {
    use super::*;

    impl Slot {
        pub(crate) fn new() -> Slot {
            let [sequence, announced, error, value32] = std::array::from_fn(|_| AtomicU32::new(0));
            let [value, pending, waiters, monitored, state, creator] =
                std::array::from_fn(|_| AtomicU64::new(0));
            Slot {
                value,
                pending,
                waiters,
                sequence,
                announced,
                error,
                value32,
                monitored,
                state,
                creator,
            }
        }

        /// A device's write is ordered with nothing.
        pub(crate) fn device_writes(&self, value: u64) {
            self.value.store(value, Ordering::Relaxed);
        }

        /// A device with conditional interrupts orders its write and its read of the monitored
        /// value.
        pub(crate) fn device_writes_and_would_interrupt(&self, value: u64) -> bool {
            self.device_writes(value);
            fence(Ordering::SeqCst);
            let monitored = self.monitored.load(Ordering::Relaxed);
            monitored != UNMONITORED && value > monitored
        }
    }
}

// The layout is shared between processes of 32 and 64 bits, and with devices.
#[cfg(not(modeled))]
const _: () = {
    use std::mem::{align_of, offset_of};
    assert!(size_of::<Slot>() == 64 && align_of::<Slot>() == 64);
    assert!(offset_of!(Slot, value) == 0 && offset_of!(Slot, pending) == 8);
    assert!(offset_of!(Slot, waiters) == 16 && offset_of!(Slot, sequence) == 24);
    assert!(offset_of!(Slot, announced) == 28 && offset_of!(Slot, error) == 32);
    assert!(offset_of!(Slot, value32) == VALUE32_OFFSET);
    assert!(offset_of!(Slot, monitored) == MONITORED_OFFSET);
    assert!(offset_of!(Slot, state) == 48 && offset_of!(Slot, creator) == 56);
};
