// SPDX-License-Identifier: MIT
//! A notifier: one place where a device's interrupts arrive, for any number of fences.
//!
//! A device writes values and wakes nobody. After an interrupt, somebody has to look which values
//! were written, and to wake the waiters as a CPU's signal does. A waiter has two things to sleep
//! for, the interrupt and the futexes of signals and errors, and no call sleeps for both. So the
//! notifier has a thread, which sleeps for the one that the waiter does not:
//!
//! - The *leader* is a waiter that sleeps at the source of interrupts. The thread *guards* it: it
//!   sleeps on the event count of the leader's page, and wakes the leader for what happens there.
//!   An interrupt then costs one wake-up.
//! - All others are *followers*. They sleep on futexes as ever, and signals of programs reach them
//!   as ever. The thread *listens*: it sleeps at the source, and rings for them.
//!
//! A waiter leads only while it is the only one, and unless the last such wait ended by a signal:
//! then it sleeps where it expects to be woken. If nobody waits, the thread is parked, and a device
//! may interrupt as often as it likes.
//!
//! # Why nothing is lost
//!
//! ```text
//!   follower                          leader                        thread
//!   N1  followers += 1                L1  leads = 1                 P1  state = what it will do
//!   N2  leads or not listening:       L2  followers > 0: follow     P2  followers > 0: listen
//!       wake the thread               L3  an interrupt was taken since  leads: guard
//!                                         the check: check again        neither: park
//!                                     L4  not guarded: ask for it
//!                                     L5  sleep at the source
//!                                     L6  count an interrupt as taken
//!                                     L7  leads = 0
//! ```
//!
//! All of these are sequentially consistent. Of N1 and L1, the later one sees the other: either the
//! leader follows, or the follower wakes the thread, which wakes the leader and listens. Of N1 or
//! L1 and P1, the later one sees the other too: the thread sees the waiter, or the waiter wakes the
//! thread.
//!
//! The source keeps an interrupt until a thread takes it: a descriptor stays readable. If there are
//! followers, the notifier's thread then calls [`DeviceValue::announce`] for each fence, also if
//! the leader took the interrupt. The proof of slot.rs covers the rest. The leader checks its own
//! condition in any case.
//!
//! A waiter that checked its condition and does not lead yet is no follower. If an earlier leader
//! takes an interrupt then, nobody tells the waiter. So leaders count the interrupts that they
//! take (L6), and a waiter reads that number before it checks. Its L1 reads the L7 of the earlier
//! leader, so its L3 reads that leader's L6 too. If the number is the same, the waiter checked
//! after L6, and saw what the device wrote before the interrupt.
//!
//! The leader read the event count before it registered (W1), and the thread sleeps on that number
//! (W4) in its stead. L4 makes sure of that: the thread tells the number that it sleeps on.
//!
//! # What was measured
//!
//! Lateness of a wait after the interrupt, against a bare poll() of its descriptor, in one run
//! (c-tests/device/notifier_latency.c): a leader 1.04 to 1.13 times, a follower 1.9 times. To
//! follow alone was simpler; the second wake-up is why waiters lead.

use super::rest::Debt;
use super::source::{Arrival, InterruptSource};
use crate::error::{Error, Result};
use crate::sys::futex::{self, Sleep, WaitList, Word};
use crate::sys::thread::{Run, Thread};
use crate::sys::time::{self, Deadline};
use crate::util::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering, fence};
use crate::util::key_map::KeyMap;
use crate::util::mutex::modeled::{Guard, Mutex};
use crate::util::process_bound::ProcessBound;
use crate::util::refs::Ref;
use std::ffi::CStr;
use std::num::NonZeroU32;
use std::sync::OnceLock;

/// A value that a device writes. Implemented by the fences.
pub(crate) trait DeviceValue: Send + Sync {
    /// Wakes the waiters for what the device wrote since the last call. Returns whether it woke
    /// any. The caller has issued a SeqCst fence since it received the interrupt.
    fn announce(&self) -> bool;
}

/// The futex word of the signals of a page's fences: the event count. Implemented by its memory.
pub(crate) trait SignalWord: Send + Sync {
    fn word(&self) -> &AtomicU32;
}

/// The object behind a C handle. The last reference ends the thread.
pub(crate) struct Notifier {
    shared: Ref<Shared>,
    thread: Option<Thread>,
    creator: ProcessBound,
}

struct Shared {
    /// Set before the first `enter`.
    source: OnceLock<InterruptSource>,
    values: Mutex<Values>,
    /// The number of waits that do not lead, and of fences with watches.
    followers: AtomicU64,
    leads: AtomicBool,
    /// How many interrupts leaders took.
    taken: AtomicU32,
    /// Where the thread sleeps, or is about to: one of the constants below.
    state: AtomicU32,
    /// The word that the thread sleeps on for the leader, by its address, and what it held.
    guarded: AtomicU64,
    guarded_value: AtomicU32,
    /// What the leader wants guarded instead.
    request: Mutex<Option<Guarded>>,
    /// A futex word, incremented to wake the thread unless it listens.
    control: AtomicU32,
    /// Whether a leader took an interrupt that followers have to hear of.
    announce_due: AtomicBool,
    /// Whether the last wait that was alone ended by a signal.
    expects_signal: AtomicBool,
    is_broken: AtomicBool,
    /// When to check the values although no interrupt arrived, within `CHECK_NS`.
    check_after_ns: AtomicU64,
    ended: AtomicBool,
    /// Whether the thread is in a sleep that nothing ends before its deadline.
    is_stuck: AtomicBool,
}

/// The thread is parked, or guards the leader.
const ON_FUTEX: u32 = 0;
/// It sleeps at the source.
const LISTENS: u32 = 1;
/// It does something, and looks around next.
const BUSY: u32 = 2;

/// What the thread sleeps on for the leader: a word, and what that held (W1).
struct Guarded {
    word: Ref<dyn SignalWord>,
    value: u32,
}

/// How the sleep of a leader ended.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Led {
    /// The device interrupted.
    Interrupt,
    /// Nothing was heard for long: the device may have written all the same.
    Silence,
    /// Something else happened: a signal, the deadline, or nothing.
    Other,
    /// The waiter has to follow.
    No,
}

/// The fences, by their address.
#[derive(Default)]
struct Values {
    /// In the order in which they were added, as far as none was removed: neighbors in a page are
    /// read one after the other.
    list: Vec<(usize, Ref<dyn DeviceValue>)>,
    positions: KeyMap<usize, usize>,
    /// The position of one whose waiters the last interrupt woke, as the next one may: it is read
    /// first, so that they need not wait until all others are read.
    woken: usize,
}

impl Values {
    /// Adds a fence. Returns the one that had its address.
    fn add(
        &mut self,
        key: usize,
        value: Ref<dyn DeviceValue>,
    ) -> Result<Option<Ref<dyn DeviceValue>>> {
        let known = self.positions.get(&key).and_then(|at| self.list.get_mut(*at));
        if let Some(known) = known {
            return Ok(Some(std::mem::replace(&mut known.1, value)));
        }
        self.list.try_reserve(1).map_err(|_| Error::NoMemory)?;
        self.positions.try_reserve(1).map_err(|_| Error::NoMemory)?;
        self.positions.insert(key, self.list.len());
        self.list.push((key, value));
        Ok(None)
    }

    fn remove(&mut self, key: usize) -> Option<Ref<dyn DeviceValue>> {
        let at = self.positions.remove(&key)?;
        let (_, removed) = self.list.swap_remove(at);
        if let Some((moved, _)) = self.list.get(at) {
            self.positions.insert(*moved, at);
        }
        if self.list.is_empty() {
            *self = Values::default();
        }
        Some(removed)
    }

    /// Wakes the waiters of each fence for what the device wrote. Returns whether it woke any.
    fn announce(&mut self) -> bool {
        let mut woke = self.list.get(self.woken).is_some_and(|(_, value)| value.announce());
        for (at, (_, value)) in self.list.iter().enumerate() {
            if value.announce() {
                (self.woken, woke) = (at, true);
            }
        }
        woke
    }
}

/// Has the notifier listen while it lives: somebody waits.
pub(crate) struct Listening<'a>(&'a Notifier);

/// The same, with a reference.
pub(crate) struct OwnedListening(Ref<Notifier>);

/// When to check the values although no interrupt arrived, while somebody waits. Each time that one
/// was missed, the interval becomes an eighth, and with each interrupt that woke somebody, twice as
/// long.
const CHECK_NS: std::ops::RangeInclusive<u64> = 4_000_000..=20_000_000_000;

impl Notifier {
    /// Makes a notifier without fences, and starts its thread. Calls `source` last: if this fails,
    /// nothing of the driver's is owned.
    pub(crate) fn new(source: impl FnOnce() -> InterruptSource) -> Result<Ref<Notifier>> {
        let shared = Ref::try_new(|| {
            Ok(Shared {
                source: OnceLock::new(),
                values: Mutex::new(Values::default()),
                followers: AtomicU64::new(0),
                leads: AtomicBool::new(false),
                taken: AtomicU32::new(0),
                state: AtomicU32::new(BUSY),
                guarded: AtomicU64::new(0),
                guarded_value: AtomicU32::new(0),
                request: Mutex::new(None),
                control: AtomicU32::new(0),
                announce_due: AtomicBool::new(false),
                expects_signal: AtomicBool::new(false),
                is_broken: AtomicBool::new(false),
                check_after_ns: AtomicU64::new(*CHECK_NS.end()),
                ended: AtomicBool::new(false),
                is_stuck: AtomicBool::new(false),
            })
        })?;
        let notifier = Ref::try_new(|| {
            let thread = Some(Thread::start(shared.clone())?);
            Ok(Notifier { shared, thread, creator: ProcessBound::new() })
        })?;
        let _ = notifier.shared.source.set(source());
        Ok(notifier)
    }

    /// Whether this process made it, and not a parent that it was forked from, whose thread the
    /// child has not.
    pub(crate) fn is_ours(&self) -> bool {
        self.creator.is_ours()
    }

    /// Adds a fence, under its address.
    pub(crate) fn add(&self, key: usize, value: Ref<dyn DeviceValue>) -> Result<()> {
        // Dropped after the lock.
        let _before;
        let mut values = self.shared.values();
        _before = values.add(key, value)?;
        Ok(())
    }

    /// Removes a fence.
    pub(crate) fn remove(&self, key: usize) {
        // Dropped after the lock.
        let _removed;
        let mut values = if self.is_ours() {
            self.shared.values()
        } else {
            // In the child of a fork a thread that does not exist may hold it. The fence is leaked.
            let Some(values) = self.shared.values.try_lock() else { return };
            values
        };
        _removed = values.remove(key);
    }

    /// Has the thread listen until `leave` is called. Async-signal-safe, as is `leave`.
    pub(crate) fn enter(&self) {
        self.shared.enter();
    }

    pub(crate) fn leave(&self) {
        self.shared.leave();
    }

    /// Whether a waiter had better lead than follow, as far as is known. Async-signal-safe.
    pub(crate) fn may_lead(&self) -> bool {
        let shared = &self.shared;
        shared.source.get().is_some_and(InterruptSource::can_end_sleep)
            && !shared.has_followers()
            && !shared.expects_signal.load(Ordering::Relaxed)
            && !shared.is_broken.load(Ordering::Relaxed)
            && futex::has_harmless_waitv() == Some(true)
    }

    /// Sleeps at the source until an interrupt or a signal, for a waiter that is alone and does not
    /// expect a signal. `word` held `value` before the waiter registered for the page's signals,
    /// and `taken` was read before it checked its condition. Async-signal-safe.
    pub(crate) fn lead(
        &self,
        signals: impl FnOnce() -> Ref<dyn SignalWord>,
        word: &AtomicU32,
        value: u32,
        taken: u32,
        deadline: Deadline,
    ) -> Led {
        self.shared.lead(signals, std::ptr::from_ref(word) as usize, value, taken, deadline)
    }

    /// How many interrupts leaders took, modulo 2^32.
    pub(crate) fn taken(&self) -> u32 {
        self.shared.taken.load(Ordering::SeqCst)
    }

    /// The device wrote, and no interrupt announced it.
    pub(crate) fn missed_interrupt(&self) {
        self.shared.missed_interrupt();
    }

    /// Has the thread listen until the result is dropped.
    pub(crate) fn listen(&self) -> Listening<'_> {
        self.enter();
        Listening(self)
    }

    /// The same, for callers that keep the result longer.
    pub(crate) fn listen_owned(this: Ref<Notifier>) -> OwnedListening {
        this.shared.enter();
        OwnedListening(this)
    }
}

impl Drop for Notifier {
    fn drop(&mut self) {
        // The child of a fork has no such thread, and leaks what belongs to it.
        let Some(thread) = self.thread.take().filter(|_| self.is_ours()) else { return };
        self.shared.ended.store(true, Ordering::SeqCst);
        self.shared.wake();
        let source = self.shared.source.get();
        source.inspect(|source| source.end_sleep());
        // A driver's function may take until its deadline. The thread then releases it.
        let wait = !self.shared.is_stuck.load(Ordering::SeqCst) && !thread.is_current();
        thread.end(wait);
    }
}

impl Drop for Listening<'_> {
    fn drop(&mut self) {
        self.0.shared.leave();
    }
}

impl Drop for OwnedListening {
    fn drop(&mut self) {
        self.0.shared.leave();
    }
}

impl Shared {
    fn values(&self) -> Guard<'_, Values> {
        self.values.lock()
    }

    /// N1 and N2.
    fn enter(&self) {
        self.followers.fetch_add(1, Ordering::SeqCst);
        fence(Ordering::SeqCst);
        if self.state.load(Ordering::SeqCst) == ON_FUTEX {
            self.wake();
        }
    }

    fn leave(&self) {
        self.followers.fetch_sub(1, Ordering::SeqCst);
    }

    /// Whether the thread has to listen.
    fn is_needed(&self) -> bool {
        self.has_followers() || self.announce_due.load(Ordering::SeqCst)
    }

    fn has_followers(&self) -> bool {
        self.followers.load(Ordering::SeqCst) > 0
    }

    /// L1 to L7. The word held `value` before the leader registered (W1).
    fn lead(
        &self,
        word: impl FnOnce() -> Ref<dyn SignalWord>,
        address: usize,
        value: u32,
        taken: u32,
        deadline: Deadline,
    ) -> Led {
        let Some(source) = self.source.get().filter(|source| source.can_end_sleep()) else {
            return Led::No;
        };
        if self.leads.swap(true, Ordering::SeqCst) {
            return Led::No;
        }
        fence(Ordering::SeqCst);
        let led = if self.has_followers() {
            Led::No
        } else if self.taken.load(Ordering::SeqCst) != taken {
            Led::Other
        } else if !self.is_guarded(word, address, value) {
            Led::No
        } else {
            let silence = Deadline::NEVER.within(self.check_after_ns.load(Ordering::Relaxed));
            match source.lead(deadline.min(silence)) {
                Arrival::Interrupt => {
                    self.taken.fetch_add(1, Ordering::SeqCst);
                    Led::Interrupt
                }
                Arrival::Woken => {
                    self.expects_signal.store(true, Ordering::Relaxed);
                    Led::Other
                }
                Arrival::Nothing if silence.has_passed() => {
                    // The thread checks from now on.
                    self.expects_signal.store(true, Ordering::Relaxed);
                    Led::Silence
                }
                Arrival::Nothing => Led::Other,
                Arrival::Broken => {
                    self.is_broken.store(true, Ordering::SeqCst);
                    Led::No
                }
            }
        };
        self.leads.store(false, Ordering::SeqCst);
        fence(Ordering::SeqCst);
        if led == Led::Interrupt && self.has_followers() {
            // Not here: a wait may run in a signal handler, and `values` may be locked.
            self.announce_due.store(true, Ordering::SeqCst);
            fence(Ordering::SeqCst);
            self.rouse();
        }
        led
    }

    /// L4: whether the thread sleeps on the word for the leader, or will.
    fn is_guarded(
        &self,
        word: impl FnOnce() -> Ref<dyn SignalWord>,
        address: usize,
        value: u32,
    ) -> bool {
        // In a signal handler, or beside a thread that is slow to take the last request. With that
        // taken, the thread has left its last sleep, or sleeps on what is asked for here.
        let Some(mut request) = self.request.try_lock() else { return false };
        if request.is_some() {
            return false;
        }
        let is_it = self.state.load(Ordering::SeqCst) == ON_FUTEX
            && self.guarded.load(Ordering::SeqCst) == address as u64
            && self.guarded_value.load(Ordering::SeqCst) == value;
        if is_it {
            return true;
        }
        *request = Some(Guarded { word: word(), value });
        drop(request);
        fence(Ordering::SeqCst);
        self.rouse();
        true
    }

    /// Has the thread look around.
    fn rouse(&self) {
        self.wake();
        if let (LISTENS, Some(source)) = (self.state.load(Ordering::SeqCst), self.source.get()) {
            source.end_sleep();
        }
    }

    /// Wakes the thread unless it listens.
    fn wake(&self) {
        self.control.fetch_add(1, Ordering::Release);
        futex::wake(&self.control, NonZeroU32::MAX);
    }

    fn has_ended(&self) -> bool {
        self.ended.load(Ordering::SeqCst)
    }

    /// P1 and P2 of a thread that has nothing to listen to: guards the leader, or parks.
    fn guard(&self, guarded: &mut Option<Guarded>) {
        let seen = self.control.load(Ordering::Acquire);
        // A leader that has the lock wakes this thread next. A signal handler may have jumped out
        // of it; then nobody leads any more.
        if let Some(request) = self.request.try_lock().and_then(|mut request| request.take()) {
            *guarded = Some(request);
        }
        let (address, value) = guarded.as_ref().map_or((0, 0), |guarded| {
            (std::ptr::from_ref(guarded.word.word()) as usize as u64, guarded.value)
        });
        self.guarded_value.store(value, Ordering::SeqCst);
        self.guarded.store(address, Ordering::SeqCst);
        self.state.store(ON_FUTEX, Ordering::SeqCst);
        fence(Ordering::SeqCst);
        if !self.is_needed() && !self.has_ended() {
            let control = Word { word: &self.control, expected: seen };
            let slept = match guarded {
                Some(guarded) if futex::has_waitv() => {
                    let word = Word { word: guarded.word.word(), expected: guarded.value };
                    let mut list = WaitList::new();
                    list.push(control)
                        .and_then(|()| list.push(word))
                        .and_then(|()| futex::wait_many(&list, Deadline::NEVER))
                }
                Some(_) => {
                    // A sandbox forbids futex_waitv since the leader looked. Nobody leads any more.
                    *guarded = None;
                    self.wake_leader();
                    Ok(Sleep::Interrupted)
                }
                None => futex::wait(&self.control, seen, NonZeroU32::MAX, Deadline::NEVER),
            };
            if slept.is_err_and(|error| !futex::lost_waitv(error)) {
                futex::sleep_briefly(Deadline::NEVER);
            }
        }
        self.state.store(BUSY, Ordering::SeqCst);
        self.guarded.store(0, Ordering::SeqCst);
        fence(Ordering::SeqCst);
        if let Some(of_leader) = guarded {
            let value = of_leader.word.word().load(Ordering::Acquire);
            if value == of_leader.value {
                return;
            }
            if self.leads.load(Ordering::SeqCst) {
                self.wake_leader();
                of_leader.value = value;
            } else {
                *guarded = None;
            }
        }
    }

    fn wake_leader(&self) {
        if let Some(source) = self.source.get() {
            source.wake_leader();
        }
    }

    /// P1 and P2 of a thread that listens: sleeps until an interrupt arrives.
    fn listen(&self, source: &InterruptSource, deadline: Deadline) -> Arrival {
        self.state.store(LISTENS, Ordering::SeqCst);
        fence(Ordering::SeqCst);
        if self.leads.load(Ordering::SeqCst) {
            // It is not alone any more.
            self.wake_leader();
        }
        let arrival = if self.announce_due.swap(false, Ordering::SeqCst) {
            Arrival::Interrupt
        } else if self.has_followers() && !self.has_ended() {
            self.sleep_at(source, deadline)
        } else {
            Arrival::Nothing
        };
        self.state.store(BUSY, Ordering::SeqCst);
        arrival
    }

    /// Sleeps until `wake` is called after `control` was `seen`.
    fn rest(&self, seen: u32, deadline: Deadline) {
        if futex::wait(&self.control, seen, NonZeroU32::MAX, deadline).is_err() {
            futex::sleep_briefly(deadline);
        }
    }

    /// Sleeps until an interrupt arrives.
    fn sleep_at(&self, source: &InterruptSource, deadline: Deadline) -> Arrival {
        if source.can_end_sleep() {
            return source.wait(deadline);
        }
        self.is_stuck.store(true, Ordering::SeqCst);
        // Either this sees the end, or the end sees that the thread is stuck.
        let arrival = if self.has_ended() { Arrival::Nothing } else { source.wait(deadline) };
        self.is_stuck.store(false, Ordering::SeqCst);
        arrival
    }

    fn missed_interrupt(&self) {
        let next = self.check_after_ns.load(Ordering::Relaxed) / 8;
        self.check_after_ns.store(next.max(*CHECK_NS.start()), Ordering::Relaxed);
    }

    /// An interrupt woke somebody.
    fn got_interrupt(&self) {
        let next = self.check_after_ns.load(Ordering::Relaxed).saturating_mul(2);
        self.check_after_ns.store(next.min(*CHECK_NS.end()), Ordering::Relaxed);
    }

    /// Wakes the waiters for all that the device wrote. Returns whether it woke any.
    fn announce(&self) -> bool {
        fence(Ordering::SeqCst);
        self.values().announce()
    }
}

impl Run for Shared {
    const NAME: &CStr = c"umf-notifier";

    fn run(&self) {
        let mut debt = Debt::default();
        let mut guarded = None;
        while !self.has_ended() {
            let (true, Some(source)) = (self.is_needed(), self.source.get()) else {
                self.guard(&mut guarded);
                continue;
            };
            let seen = self.control.load(Ordering::Acquire);
            let arrival = if self.is_broken.load(Ordering::Relaxed) {
                self.rest(seen, Deadline::NEVER.within(*CHECK_NS.start()));
                Arrival::Nothing
            } else {
                let silence = self.check_after_ns.load(Ordering::Relaxed);
                self.listen(source, Deadline::NEVER.within(silence))
            };
            if arrival == Arrival::Broken {
                self.is_broken.store(true, Ordering::SeqCst);
            }
            let start = time::now();
            let woke = self.announce();
            if woke {
                self.expects_signal.store(false, Ordering::Relaxed);
            }
            match (arrival, woke) {
                (Arrival::Interrupt, true) => self.got_interrupt(),
                (Arrival::Interrupt, false) => {
                    let now = time::now();
                    debt.waste(start, now);
                    if let Some(end) = debt.rests_until(now) {
                        self.rest(seen, Deadline::at(end));
                    }
                }
                (Arrival::Nothing, true) => self.missed_interrupt(),
                (Arrival::Woken | Arrival::Broken, true) | (_, false) => {}
            }
        }
    }
}

#[cfg(all(test, not(modeled)))]
mod tests {
    use super::*;
    use std::sync::Mutex;

    /// A fence whose name is written down when it is read. The device has written "b".
    struct Named(&'static str, Ref<Mutex<String>>);

    impl DeviceValue for Named {
        fn announce(&self) -> bool {
            self.1.lock().is_ok_and(|mut read| {
                read.push_str(self.0);
                read.ends_with('b')
            })
        }
    }

    #[test]
    fn the_fence_whose_waiters_were_woken_is_read_first_and_all_are_read() -> Result<()> {
        let read = Ref::try_new(|| Ok(Mutex::new(String::new())))?;
        let mut values = Values::default();
        for (key, name) in ["a", "b", "c"].into_iter().enumerate() {
            let value = Ref::try_new(|| Ok(Named(name, read.clone())))?;
            values.add(key, value.unsize::<dyn DeviceValue>(|value| value))?;
        }
        let reads = |values: &mut Values| {
            read.lock().map(|mut read| read.clear()).ok();
            values.announce();
            read.lock().map(|read| read.clone()).unwrap_or_default()
        };
        assert_eq!(reads(&mut values), "aabc");
        assert_eq!(reads(&mut values), "babc");
        values.remove(2);
        values.remove(1);
        assert_eq!(reads(&mut values), "a");
        Ok(())
    }
}
