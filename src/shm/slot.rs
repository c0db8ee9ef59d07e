//! The 64 bytes of a fence, and the protocol that wakes its waiters.
//!
//! # The words
//!
//! The value is at offset 0, so that a device needs one address and nothing else. Futexes are 32
//! bits wide in every kernel, so the value itself cannot be the futex word: a jump by a multiple of
//! 2^32 between a waiter's check and its sleep would be slept through. Waiters sleep on a sequence
//! number beside it, and leave word of *what* they wait for: bit `T % 32` of `sleepers` says that
//! somebody waits for a value T of that residue. A signal that moves the value from `old` to `new`
//! concerns exactly the residues of old+1 ..= new, and wakes nobody else (FUTEX_WAKE_BITSET takes
//! the same 32 bits). The low half of `sleepers` speaks of sleepers on this slot's own sequence,
//! the high half of those who wait for many fences and sleep on the page's [`Bell`].
//!
//! # Why no wake-up is lost
//!
//! ```text
//!   signal                                   wait for T
//!   S1  value: old -> new      (RMW)         W1  s = sequence
//!   S2  read sleepers                        W2  set bit in sleepers    (RMW)
//!       none of ours: done                   W3  read value: new >= T?  done
//!   S3  clear our bits                       W4  FUTEX_WAIT(sequence == s, bit)
//!   S4  sequence += 1                            then again from W1
//!   S5  FUTEX_WAKE(sequence, bits)
//! ```
//!
//! *Either the waiter sees the value, or the signaller sees the bit.* S1, S2, W2 and W3 are SeqCst,
//! so there is one order of all four. If W2 comes before S2, the signaller sees the bit. Otherwise
//! S1 < S2 < W2 < W3, and the waiter sees the value. (A device's write is no S1 of ours: `notify`
//! does not ask, as said below.)
//!
//! *If the signaller sees the bit, the waiter does not sleep on.* Let S3 be the first clearing of
//! this waiter's bit after its W2. Had W1 read the sequence of S4 or a later one, then by release
//! (S4) and acquire (W1) S3 would come before W2. So `s` is older than S4: either FUTEX_WAIT finds
//! the sequence changed, or the waiter is in the kernel's queue before S5 looks there, with a bit
//! that S5 names. It starts over and looks at the value.
//!
//! *If another signaller cleared the bit first*, S3 of that one comes before S2 or S3 of ours in
//! the order of `sleepers`, and the waiter it wakes sets its bit again with an RMW that reads from
//! ours: it sees our value in W3.
//!
//! *An aliasing waiter* (T+32) may lose its bit to a signal that does not concern it. It shares the
//! bit, so S5 wakes it too, and it sets the bit again. That is the price of 32 bits: a useless
//! wake-up, never a missed one.
//!
//! What remains, as with every futex: a waiter that is descheduled between W1 and W4 for exactly
//! 2^32 wake-ups of its slot would sleep through the last. At one per microsecond that is 71
//! minutes off the processor, to the wake-up.
//!
//! Timeouts and interrupted sleeps leave a bit behind, at the price of one needless FUTEX_WAKE
//! later.
//!
//! Errors, the end of a fence and `notify` concern every residue, and wake without asking who
//! sleeps: S3, S4, S5, and the bell. So who waits for *all* of many fences can sleep for one of
//! them and still hear of the failure of another, and who was about to be woken by a process that
//! died between S3 and S5 is woken after all.
//!
//! # What a peer can do
//!
//! Every word here may be written by a hostile process at any time. None is used as an index, a
//! length or an address, so all it can do is to wake, delay or deceive the waiters of its own
//! fences.

use crate::error::{Error, FenceErrno, Result};
use crate::sys::futex::{self, Sleep, Word};
use crate::sys::time::Deadline;
use crate::util::atomic::{AtomicU32, AtomicU64, Ordering, fence};
use std::num::NonZeroU32;

/// A fence in shared memory. All zero is a free slot.
#[repr(C, align(64))]
pub(crate) struct Slot {
    value: AtomicU64,
    /// The highest value that work was submitted for. Means something only while it is above
    /// `value`.
    pending: AtomicU64,
    /// Residues waited for: low half on `sequence`, high half on the page's bell.
    sleepers: AtomicU64,
    /// The futex word.
    sequence: AtomicU32,
    /// Generation, kind and life: see [`Tag`].
    state: AtomicU32,
    /// 0, or the errno that the fence failed with.
    error: AtomicU32,
    /// The value of a 32-bit fence. A word of its own: accesses of two sizes to the same bytes have
    /// no meaning in the memory model.
    value32: AtomicU32,
    /// For the device that writes the value: it need not interrupt for a value up to this one. See
    /// [`Slot::monitor`].
    monitored: AtomicU64,
    reserved: [AtomicU32; 4],
}

/// The monitored value when nobody waits.
const NOBODY: u64 = u64::MAX;

/// Where in its slot a 32-bit fence's value lies.
pub(crate) const VALUE32_OFFSET: usize = 36;

/// Where in its slot the monitored value lies.
pub(crate) const MONITORED_OFFSET: usize = 40;

/// The doorbell of a page: what who waits for many of its fences sleeps on.
///
/// It also remembers who rang last, so that who waits for 100,000 fences need not look at each
/// after every ring. Waiters keep their own place in this log, so it serves any number of them, and
/// nobody clears anything. A waiter that finds less than it needs (too many rings since it last
/// listened, an entry that is not written yet, or that a peer garbled) looks at all its fences.
#[repr(C, align(64))]
pub(crate) struct Bell {
    /// The futex word: how many rings there were, modulo 2^32.
    sequence: AtomicU32,
    /// How many fences of the page failed or ended, modulo 2^32.
    failures: AtomicU32,
    reserved: [AtomicU32; 14],
    /// Ring r is told at r % LOG: r + 1 in the high half, so that an empty log tells of none, and
    /// the slot that rang in the low.
    log: [AtomicU64; LOG],
}

/// How many rings a bell remembers. The model checker has two, and so sees the log overflow too.
const LOG: usize = if cfg!(loom) { 2 } else { 256 };

/// A slot's way to ring: its page's bell, and what it is called there.
#[derive(Clone, Copy)]
pub(crate) struct Rope<'a> {
    pub(crate) bell: &'a Bell,
    pub(crate) index: u32,
}

/// Which fence of a slot's many lives is meant: the slot's state word while that fence lives.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Tag(u32);

/// The two low bits of a state word; then comes the kind, and above it the generation.
const FREE: u32 = 0;
const CLAIMED: u32 = 1;
const LIVE: u32 = 2;
const LIFE: u32 = 3;
const IS_32_BIT: u32 = 4;
const IS_DEVICE: u32 = 8;
const SHOUTS: u32 = 16;
const IS_ELSEWHERE: u32 = 32;
const KIND: u32 = IS_32_BIT | IS_DEVICE | SHOUTS | IS_ELSEWHERE;
const GENERATION: u32 = 64;

impl Tag {
    #[inline]
    pub(crate) fn width(self) -> Width {
        if self.0 & IS_32_BIT == 0 { Width::Bits64 } else { Width::Bits32 }
    }

    /// 64 bits wide, and in the slot.
    #[inline]
    pub(crate) fn is_everyday(self) -> bool {
        self.0 & (IS_32_BIT | IS_ELSEWHERE) == 0
    }

    /// As it is written down in shared memory ...
    pub(crate) fn to_shared(self) -> u32 {
        self.0
    }

    /// ... and read there, where a peer may have written anything: it is some fence's tag if it is
    /// that of a slot.
    pub(crate) fn from_shared(word: u32) -> Tag {
        Tag(word)
    }

    /// The slot's state word between the end of this fence and the claim of the next.
    fn ended(self) -> u32 {
        (self.0 & !(LIFE | KIND)).wrapping_add(GENERATION) | FREE
    }

    /// Whether a device writes the value, without waking anybody: always where it is elsewhere,
    /// whatever a peer wrote.
    #[inline]
    pub(crate) fn is_device(self) -> bool {
        self.0 & (IS_DEVICE | IS_ELSEWHERE) != 0
    }

    /// Whether its signals wake without asking who sleeps: see [`Kind::shouts`].
    #[inline]
    pub(crate) fn shouts(self) -> bool {
        self.0 & SHOUTS != 0
    }

    /// Whether the value is not in the slot: see [`Kind::elsewhere`].
    #[inline]
    pub(crate) fn is_elsewhere(self) -> bool {
        self.0 & IS_ELSEWHERE != 0
    }
}

/// What a fence is created as.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Kind {
    pub(crate) width: Width,
    pub(crate) device: bool,
    /// Its waiters may not write to the page, so they leave no word: every signal does S4 and S5,
    /// for all. What is proved above holds the more.
    pub(crate) shouts: bool,
    /// The value is in memory that a driver mapped (`memory`), and the slot's own means nothing.
    pub(crate) elsewhere: bool,
}

impl Kind {
    /// 64 bits wide, and signalled by programs.
    pub(crate) const PLAIN: Kind =
        Kind { width: Width::Bits64, device: false, shouts: false, elsewhere: false };

    fn bits(self) -> u32 {
        let width = if self.width == Width::Bits32 { IS_32_BIT } else { 0 };
        let writer =
            if self.device { IS_DEVICE } else { 0 } | if self.elsewhere { IS_ELSEWHERE } else { 0 };
        width | writer | if self.shouts { SHOUTS } else { 0 }
    }
}

/// How wide a fence's value is, and so what "further" means.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Width {
    /// Grows, and ends at `u64::MAX`.
    Bits64,
    /// Goes round, as hardware's sequence numbers do: of two values, that one is further which is
    /// ahead of the other by less than 2^31.
    Bits32,
}

impl Width {
    /// Whether a fence of this width can have the value.
    pub(crate) fn holds(self, value: u64) -> bool {
        self == Width::Bits64 || value <= u64::from(u32::MAX)
    }

    /// The bits that a value can have.
    fn mask(self) -> u64 {
        match self {
            Width::Bits64 => u64::MAX,
            Width::Bits32 => u32::MAX.into(),
        }
    }

    /// The value that comes after `value`, if one does.
    pub(crate) fn after(self, value: u64) -> Option<u64> {
        match self {
            Width::Bits64 => value.checked_add(1),
            Width::Bits32 => Some((value as u32).wrapping_add(1).into()),
        }
    }

    /// Whether a fence that stands at `value` has yet to go on to reach `target`.
    #[inline]
    pub(crate) fn is_before(self, value: u64, target: u64) -> bool {
        match self {
            Width::Bits64 => value < target,
            Width::Bits32 => (value as u32).wrapping_sub(target as u32) as i32 <= -1,
        }
    }

    /// The residues of old+1 ..= new, where `new` is further than `old`.
    #[inline]
    fn passed(self, old: u64, new: u64) -> Residues {
        match self {
            Width::Bits64 => passed(old, new),
            // 2^32 is a multiple of 32, so residues go round with the values.
            Width::Bits32 => {
                passed(old, old.wrapping_add(u64::from((new as u32).wrapping_sub(old as u32))))
            }
        }
    }
}

/// A set of residues: bit r stands for every value v with v % 32 == r.
pub(crate) type Residues = u32;
pub(crate) const ALL: Residues = u32::MAX;

/// The residue of one value.
pub(crate) fn residue(value: u64) -> Residues {
    1 << (value % 32)
}

/// The residues of old+1 ..= new.
fn passed(old: u64, new: u64) -> Residues {
    match new.wrapping_sub(old) {
        0 => 0,
        steps @ 1..32 => ((1u32 << steps) - 1).rotate_left((old.wrapping_add(1) % 32) as u32),
        _ => ALL,
    }
}

/// Whose sleep an entry in `sleepers` speaks of.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Bed {
    /// The slot's own sequence.
    Slot,
    /// The page's bell.
    Bell,
}

impl Bed {
    fn mask(self, residues: Residues) -> u64 {
        match self {
            Bed::Slot => u64::from(residues),
            Bed::Bell => u64::from(residues) << 32,
        }
    }
}

/// Makes a SeqCst RMW come before a SeqCst load after it, which C11 says it does anyway, at no
/// cost. loom treats SeqCst accesses as AcqRel and knows only SeqCst fences: there, one stands for
/// that order.
#[inline(always)]
fn rmw_before_load() {
    #[cfg(loom)]
    fence(Ordering::SeqCst);
}

impl Slot {
    // The life of a slot.

    /// Takes a free slot for a new fence at `value`. Nobody can open it before [`Slot::publish`].
    pub(crate) fn claim(&self, kind: Kind, value: u64) -> Option<Tag> {
        let free = self.state.load(Ordering::Relaxed);
        if free & LIFE != FREE {
            return None;
        }
        // Release, below: who reads the new fence's words sees that the old fence's time is over
        // (`value`).
        self.state
            .compare_exchange(free, free | CLAIMED, Ordering::AcqRel, Ordering::Relaxed)
            .ok()?;
        self.error.store(0, Ordering::Release);
        self.pending.store(value, Ordering::Release);
        self.value.store(value, Ordering::Release);
        self.value32.store(value as u32, Ordering::Release);
        self.monitored.store(NOBODY, Ordering::Release);
        Some(Tag(free & !KIND | kind.bits() | LIVE))
    }

    /// Lets others open the fence that `claim` prepared.
    pub(crate) fn publish(&self, tag: Tag) {
        self.state.store(tag.0, Ordering::Release);
    }

    /// Undoes a `claim` that was never published.
    pub(crate) fn unclaim(&self, tag: Tag) {
        // Another generation: the value of the fence before is gone, which its handles may still
        // look at (`value`).
        self.state.store(tag.ended(), Ordering::Release);
    }

    /// The fence that lives here now, if one does.
    pub(crate) fn tag(&self) -> Option<Tag> {
        let state = self.state.load(Ordering::Acquire);
        (state & LIFE == LIVE).then_some(Tag(state))
    }

    /// Ends the fence: its waiters learn that it is stale, and the slot is free for another
    /// generation.
    pub(crate) fn retire(&self, tag: Tag, rope: Rope<'_>) {
        if self
            .state
            .compare_exchange(tag.0, tag.ended(), Ordering::SeqCst, Ordering::Relaxed)
            .is_ok()
        {
            rope.bell.count_failure();
            self.wake_everybody(rope);
        }
    }

    /// `Stale` from the end of the fence on.
    pub(crate) fn check_life(&self, tag: Tag) -> Result<()> {
        if self.state.load(Ordering::SeqCst) == tag.0 { Ok(()) } else { Err(Error::Stale) }
    }

    // Reading.

    /// The value: also after the end of the fence, until the slot is another's, for who signals the
    /// last value and ends the fence has signalled. Then `Stale`.
    ///
    /// Had what is read been written for a later fence of this slot, then the load (an acquire)
    /// would have read from a release that follows that fence's claim, and the state after it would
    /// be another.
    #[inline]
    pub(crate) fn value(&self, tag: Tag) -> Result<u64> {
        let value = self.load_value(tag.width(), Ordering::SeqCst);
        self.check_unclaimed(tag)?;
        Ok(value)
    }

    /// The furthest value that work was submitted for; as long as `value`.
    #[inline]
    pub(crate) fn pending(&self, tag: Tag) -> Result<u64> {
        let pending = self.pending.load(Ordering::SeqCst);
        self.check_unclaimed(tag)?;
        Ok(pending & tag.width().mask())
    }

    #[inline]
    fn check_unclaimed(&self, tag: Tag) -> Result<()> {
        let state = self.state.load(Ordering::SeqCst);
        if state == tag.0 || state == tag.ended() { Ok(()) } else { Err(Error::Stale) }
    }

    #[inline(always)]
    fn load_value(&self, width: Width, order: Ordering) -> u64 {
        match width {
            Width::Bits64 => self.value.load(order),
            Width::Bits32 => self.value32.load(order).into(),
        }
    }

    /// S1, if the value is still `old`; else what it is.
    #[inline(always)]
    fn exchange_value(&self, width: Width, old: u64, new: u64) -> std::result::Result<(), u64> {
        let (success, failure) = (Ordering::SeqCst, Ordering::Acquire);
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

    /// The error that the fence carries. `Stale` if the fence ended.
    pub(crate) fn error(&self, tag: Tag) -> Result<Option<FenceErrno>> {
        let error = self.error.load(Ordering::SeqCst);
        self.check_life(tag)?;
        Ok(FenceErrno::from_shared(error))
    }

    /// `Ok` while the fence lives and carries no error.
    #[inline]
    fn check_sound(&self, tag: Tag) -> Result<()> {
        match self.error(tag)? {
            None => Ok(()),
            Some(errno) => Err(Error::of_failed_fence(errno)),
        }
    }

    // Writing. S1 to S5 of the argument above.

    /// Moves the value forward and wakes who waited for a value on the way. The same value again
    /// changes nothing.
    #[inline]
    pub(crate) fn signal(&self, tag: Tag, rope: Rope<'_>, value: u64) -> Result<()> {
        let width = tag.width();
        if !width.holds(value) {
            return Err(Error::Invalid);
        }
        let mut old = self.load_value(width, Ordering::Acquire);
        loop {
            // After reading `old`, hence the acquires: a fence that ended in between has the
            // exchange fail, unless the next fence of this slot is at the very same value. Slots
            // are reused in turn to make that remote (page.rs).
            self.check_sound(tag)?;
            if !width.is_before(old, value) {
                return if value == old { Ok(()) } else { Err(Error::Invalid) };
            }
            match self.exchange_value(width, old, value) {
                Ok(()) => break,
                Err(now) => old = now,
            }
        }
        rmw_before_load();
        self.wake(tag, rope, width.passed(old, value));
        Ok(())
    }

    /// Wakes everybody, for a value that was written without `signal`: by a device, or by a process
    /// that died before it came to waking.
    pub(crate) fn notify(&self, tag: Tag, rope: Rope<'_>) -> Result<()> {
        self.check_life(tag)?;
        // As S3 clears the bits of those it is about to wake: who is not met sets both again.
        self.monitored.store(NOBODY, Ordering::Relaxed);
        self.wake_everybody(rope);
        Ok(())
    }

    /// The same by a waiter that has heard the device, for those who left word. S3 alone will do
    /// for S2: who comes after it in the order of `sleepers` reads from it, and so sees what was
    /// written before the device was heard.
    pub(crate) fn pass_on(&self, tag: Tag, rope: Rope<'_>) -> Result<()> {
        self.check_life(tag)?;
        self.monitored.store(NOBODY, Ordering::Relaxed);
        self.wake_sleepers(rope, u64::MAX);
        Ok(())
    }

    /// Tells the device that somebody waits for `value`: that it has to interrupt when it writes
    /// that or more, and whoever hears the interrupt has to `notify`.
    ///
    /// The order is that of WDDM's native fences: the waiter publishes the monitored value, *then*
    /// looks at the value; the device writes the value, *then* looks at the monitored value. So one
    /// of them sees the other. The caller has announced itself before, tells what the value was
    /// lately, and looks at it after.
    pub(crate) fn monitor(&self, width: Width, value: u64, lately: u64) {
        let below = value.wrapping_sub(1) & width.mask();
        // What was published for others stays if it is lower, unless the value is beyond it: then
        // they are met.
        let publish = |now: u64| {
            let idle = now == NOBODY || width.is_before(now, lately);
            (idle || width.is_before(below, now)).then_some(below)
        };
        let _ = self.monitored.fetch_update(Ordering::SeqCst, Ordering::Relaxed, publish);
        fence(Ordering::SeqCst);
    }

    /// Says that work was submitted which will signal `value`.
    pub(crate) fn submit(&self, tag: Tag, rope: Rope<'_>, value: u64) -> Result<()> {
        let width = tag.width();
        if !width.holds(value) {
            return Err(Error::Invalid);
        }
        self.check_sound(tag)?;
        let further = |old| width.is_before(old, value).then_some(value);
        if let Ok(old) = self.pending.fetch_update(Ordering::SeqCst, Ordering::Relaxed, further) {
            rmw_before_load();
            self.wake(tag, rope, width.passed(old, value));
        }
        Ok(())
    }

    /// Fails the fence. The first error stays; another only wakes once more.
    pub(crate) fn set_error(&self, tag: Tag, rope: Rope<'_>, errno: FenceErrno) -> Result<()> {
        self.check_life(tag)?;
        let _ = self.error.compare_exchange(0, errno.get(), Ordering::SeqCst, Ordering::Relaxed);
        rope.bell.count_failure();
        self.wake_everybody(rope);
        Ok(())
    }

    #[inline]
    fn wake(&self, tag: Tag, rope: Rope<'_>, residues: Residues) {
        if tag.shouts() {
            return self.wake_everybody(rope);
        }
        let concerned = Bed::Slot.mask(residues) | Bed::Bell.mask(residues);
        if self.sleepers.load(Ordering::SeqCst) & concerned != 0 {
            self.wake_sleepers(rope, concerned);
        }
    }

    #[cold]
    fn wake_sleepers(&self, rope: Rope<'_>, concerned: u64) {
        let woken = self.sleepers.fetch_and(!concerned, Ordering::AcqRel) & concerned;
        if let Some(bits) = NonZeroU32::new(woken as u32) {
            self.sequence.fetch_add(1, Ordering::Release);
            futex::wake(&self.sequence, bits);
        }
        if woken >> 32 != 0 {
            rope.bell.ring(rope.index);
        }
    }

    /// S3 to S5 for every residue, without looking whether anybody left word. Errors, ends and
    /// `notify` are rare, so they can afford it; and they wake those whose bits a signaller took
    /// away and then died, before it woke them.
    #[cold]
    fn wake_everybody(&self, rope: Rope<'_>) {
        self.sleepers.fetch_and(0, Ordering::AcqRel);
        self.sequence.fetch_add(1, Ordering::Release);
        futex::wake(&self.sequence, NonZeroU32::MAX);
        rope.bell.ring(rope.index);
    }

    // Waiting. W1 to W4.

    /// W2: leaves word that somebody in `bed` waits for `residues`. The caller read that bed's
    /// sequence before, and looks at what it waits for after.
    #[inline]
    pub(crate) fn announce(&self, bed: Bed, residues: Residues) {
        self.sleepers.fetch_or(bed.mask(residues), Ordering::SeqCst);
        rmw_before_load();
    }

    /// W1 to W4, once: sleeps unless `look`, which is W3, says not to. Who is woken starts over. No
    /// `residues` leave no word: the fence shouts. `besides` is slept on too, where there is
    /// futex_waitv.
    pub(crate) fn sleep(
        &self,
        residues: Option<NonZeroU32>,
        besides: Option<Word<'_>>,
        deadline: Deadline,
        look: impl FnOnce() -> bool,
    ) -> Result<Sleep> {
        let seen = self.sequence.load(Ordering::Acquire);
        if let Some(residues) = residues {
            self.announce(Bed::Slot, residues.get());
        }
        let residues = residues.unwrap_or(NonZeroU32::MAX);
        if look() {
            let own = Word { word: &self.sequence, expected: seen };
            match besides {
                None => futex::wait(own.word, own.expected, residues, deadline),
                Some(besides) => futex::wait_many([own, besides].into_iter(), deadline),
            }
        } else {
            Ok(Sleep::Woken)
        }
    }
}

impl Bell {
    /// The word to sleep on. Read it before announcing oneself to any slot.
    pub(crate) fn sequence(&self) -> &AtomicU32 {
        &self.sequence
    }

    /// The slots that rang since `heard`, up to and without `now`, both read from the sequence,
    /// with acquire. `None` if that cannot be told. A slot may appear twice, and what a peer wrote
    /// may appear too.
    pub(crate) fn rang(&self, heard: u32, now: u32) -> Option<impl Iterator<Item = Option<u32>>> {
        let count = now.wrapping_sub(heard);
        if count as usize > LOG {
            return None;
        }
        Some((0..count).map(move |step| {
            let ring = heard.wrapping_add(step);
            let told = self.log.get(ring as usize % LOG)?.load(Ordering::Acquire);
            ((told >> 32) as u32 == ring.wrapping_add(1)).then_some(told as u32)
        }))
    }

    /// Changes when a fence of the page fails or ends.
    pub(crate) fn failures(&self) -> u32 {
        self.failures.load(Ordering::SeqCst)
    }

    /// S4 and S5 for those who wait for many fences. A waiter that comes between the two lines of
    /// S4 finds the ring and no entry, and looks at everything.
    fn ring(&self, index: u32) {
        let ring = self.sequence.fetch_add(1, Ordering::Release);
        if let Some(told) = self.log.get(ring as usize % LOG) {
            told.store(u64::from(ring.wrapping_add(1)) << 32 | u64::from(index), Ordering::Release);
        }
        futex::wake(&self.sequence, NonZeroU32::MAX);
    }

    /// Has everybody look up who sleeps on this bell, for nothing that happened to a slot.
    #[cfg(not(loom))]
    pub(crate) fn stir(&self) {
        self.ring(u32::MAX);
    }

    /// Before the ring that tells of it.
    fn count_failure(&self) {
        self.failures.fetch_add(1, Ordering::SeqCst);
    }
}

/// What shared memory gives for free, the model checker has to make, and do.
#[cfg(loom)]
mod model {
    use super::*;

    fn words<const N: usize>() -> [AtomicU32; N] {
        std::array::from_fn(|_| AtomicU32::new(0))
    }

    impl Slot {
        pub(crate) fn new() -> Slot {
            let [sequence, state, error, value32] = words();
            let [value, pending, sleepers, monitored] = std::array::from_fn(|_| AtomicU64::new(0));
            Slot {
                value,
                pending,
                sleepers,
                sequence,
                state,
                error,
                value32,
                monitored,
                reserved: words(),
            }
        }

        /// A device's write is ordered with nothing.
        pub(crate) fn device_writes(&self, value: u64) {
            self.value.store(value, Ordering::Relaxed);
        }

        /// Unless the device itself takes care, as one with conditional interrupts does.
        pub(crate) fn device_writes_and_would_interrupt(&self, value: u64) -> bool {
            self.device_writes(value);
            fence(Ordering::SeqCst);
            let monitored = self.monitored.load(Ordering::Relaxed);
            monitored != NOBODY && value > monitored
        }
    }

    impl Bell {
        pub(crate) fn new() -> Bell {
            let [sequence, failures] = words();
            Bell {
                sequence,
                failures,
                reserved: words(),
                log: std::array::from_fn(|_| AtomicU64::new(0)),
            }
        }
    }
}

#[cfg(not(loom))]
const _: () = {
    use std::mem::{align_of, offset_of, size_of};
    // The layout is shared between processes of 32 and 64 bits, and the value's place with devices.
    assert!(
        size_of::<Slot>() == 64 && align_of::<Slot>() == 64 && size_of::<Bell>() == 64 + 8 * LOG
    );
    assert!(
        offset_of!(Slot, value) == 0
            && offset_of!(Slot, pending) == 8
            && offset_of!(Slot, sleepers) == 16
    );
    assert!(
        offset_of!(Slot, value32) == VALUE32_OFFSET
            && offset_of!(Slot, monitored) == MONITORED_OFFSET
    );
    assert!(
        offset_of!(Slot, sequence) == 24
            && offset_of!(Slot, state) == 28
            && offset_of!(Slot, error) == 32
    );
};

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;

    #[test]
    fn a_signal_concerns_exactly_the_residues_of_the_values_it_passes() {
        let starts = (0..70).chain((1 << 32) - 40..(1 << 32) + 40).chain(u64::MAX - 70..=u64::MAX);
        for old in starts {
            for steps in 0..=70.min(u64::MAX - old) {
                let new = old + steps;
                let expected = (1..=steps).fold(0, |set, step| set | residue(old + step));
                assert_eq!(passed(old, new), expected, "{old} to {new}");
            }
        }
    }

    #[test]
    fn a_32_bit_fence_concerns_the_same_residues_across_its_wrap() {
        let width = Width::Bits32;
        for old in (u32::MAX - 40..=u32::MAX).map(u64::from) {
            for steps in 1..70 {
                let new = u64::from((old as u32).wrapping_add(steps));
                assert!(width.is_before(old, new) && !width.is_before(new, old));
                let expected =
                    (1..=u64::from(steps)).fold(0, |set, step| set | residue(old + step));
                assert_eq!(width.passed(old, new), expected, "{old} to {new}");
            }
        }
        assert!(
            !width.is_before(7, 7)
                && width.is_before(0, 0x7fff_ffff)
                && !width.is_before(0, 0x8000_0001)
        );
    }

    #[test]
    fn a_jump_concerns_every_residue() {
        for jump in [32, 1 << 32, 3 << 32, u64::MAX] {
            assert_eq!(passed(0, jump), ALL);
        }
    }
}
