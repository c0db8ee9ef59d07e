// SPDX-License-Identifier: MIT
//! A fence as this process has it open: value, signal, pending value, error.

#![forbid(unsafe_code)]

use super::attachments::Attachments;
use super::device_value::WrittenSlot;
use super::external_memory::{ExternalMemory, ExternalMemoryDesc};
use super::poll_interval::WaitTimePredictor;
use super::spin::SpinHistory;
use super::wait_record::{RecordPlace, WaitRecord};
use crate::error::{Error, FenceErrno, Result};
use crate::interrupt::{DeviceValue, Notifier, OwnedListening};
use crate::shm::change::Change;
use crate::shm::creator::Creator;
use crate::shm::event_count::EventSink;
use crate::shm::generation::{Generation, Kind, SignaledGeneration};
#[cfg(not(modeled))]
use crate::shm::names::{Name, Named};
use crate::shm::owner_death;
use crate::shm::page::{Page, SlotHandle};
use crate::shm::participant::Participant;
use crate::shm::residue::{Residues, Width};
use crate::shm::rewind::{self, Moment};
use crate::shm::slot::{MONITORED_OFFSET, Slot, VALUE32_OFFSET, WaitTarget};
use crate::shm::timestamps::Timestamps;
use crate::shm::wait_table::{RecordContents, Role};
use crate::sys::time;
use crate::trace::{self, Arrow, Point, Scope, Span, Subject};
use crate::util::atomic::{AtomicBool, AtomicU64, Ordering};
use crate::util::process_bound::ProcessBound;
use crate::util::refs::{OnceRef, Ref};
use crate::util::registry::Registry;
use std::sync::atomic;

/// A fence that is open in this process. There is one for each fence, however often it is opened.
///
/// The members that every check reads come first, in one cache line or two, since long lists of
/// fences are checked.
#[repr(C)]
pub(crate) struct Fence {
    slot: SlotHandle,
    /// The latch: the highest value that this process has seen. A peer may write a smaller one, or
    /// punch a hole where the value was; what was seen signaled stays signaled.
    latched: AtomicU64,
    /// Which of the slot's fences this is. After its end, the slot's next fence is another one.
    generation: Generation,
    /// Whether this process may write to the page.
    is_writable: bool,
    /// Whether it may write the value too.
    is_signalable: bool,
    /// Whether `signal` raises the value: it may be signaled, and only grows or wraps around.
    is_raised_by_signals: bool,
    /// Whether its signaler is known to be dead, if that cannot be written into the page.
    owner_died: AtomicBool,
    /// Whether `end` ended it: then the last handle only frees the slot.
    is_ended: AtomicBool,
    /// What a signal expects in the slot.
    signaled_generation: SignaledGeneration,
    /// The process whose last handle ends the fence: the creator, if this is it and the fence is
    /// not a lasting one. The child of a fork inherits the handle, not the fence.
    ends_with: Option<EndsWith>,
    /// The value, if it is not in the slot.
    memory: Option<Ref<ExternalMemory>>,
    /// Whether spinning for this fence pays.
    pub(crate) spin: SpinHistory,
    /// Where this process receives the interrupts of the device that writes it.
    notifier: OnceRef<Notifier>,
    /// When to poll for a device's value if there is no notifier.
    pub(crate) wait_times: WaitTimePredictor,
    /// The kernel fences that stand for values of this fence in this process.
    pub(super) attachments: Attachments,
}

/// What this process may do with a fence. See the members of the same names.
struct Rights {
    is_writable: bool,
    is_signalable: bool,
    ends_with: Option<EndsWith>,
}

/// What ends a fence: the last handle of this process.
struct EndsWith {
    process: ProcessBound,
    creator: Creator,
    /// The slot's sequence from before anybody could wait for the fence.
    unwaited: u32,
}

/// How long a fence lives.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Lifetime {
    /// Until its creator's last handle is gone.
    Creator,
    Page,
}

/// The open fences of this process, by page and slot.
static FENCES: Registry<Key, Fence> = Registry::new();

/// The page's id, and the slot's index.
type Key = ((u64, u64), u32);

impl Fence {
    /// A new fence at `value` in a free slot of `page`. It ends with the last handle of this
    /// process.
    pub(crate) fn create(page: &Ref<Page>, kind: Kind, value: u64) -> Result<Ref<Fence>> {
        Fence::create_for(page, kind, value, Lifetime::Creator)
    }

    /// A new fence that lives as long as its page, whatever becomes of its handles.
    pub(crate) fn create_lasting(page: &Ref<Page>, kind: Kind, value: u64) -> Result<Ref<Fence>> {
        Fence::create_for(page, kind, value, Lifetime::Page)
    }

    fn create_for(
        page: &Ref<Page>,
        kind: Kind,
        value: u64,
        lifetime: Lifetime,
    ) -> Result<Ref<Fence>> {
        if !kind.width.holds(value) || kind.unordered && kind.width != Width::Bits64 {
            return Err(Error::Invalid);
        }
        Fence::create_at(page, kind, value, (lifetime, None))
    }

    /// A new fence whose value a device writes to external memory. The fence starts at the value
    /// that is there. Everything else is in the slot.
    pub(crate) fn create_in(
        page: &Ref<Page>,
        kind: Kind,
        desc: ExternalMemoryDesc,
    ) -> Result<Ref<Fence>> {
        let kind = Kind { device: true, external_value: true, ..kind };
        let value = desc.load(kind.width).ok_or(Error::Invalid)?;
        Fence::create_at(page, kind, value, (Lifetime::Creator, Some(desc)))
    }

    fn create_at(
        page: &Ref<Page>,
        kind: Kind,
        value: u64,
        (lifetime, desc): (Lifetime, Option<ExternalMemoryDesc>),
    ) -> Result<Ref<Fence>> {
        let creator = Creator::this_process();
        let (index, generation) = page.claim(kind, value, creator)?;
        let slot = SlotHandle::new(page, index)?;
        let unwaited = slot.slot().sequence();
        let mut is_new = false;
        let make = || {
            let memory = ExternalMemory::of(desc)?;
            // Under the registry's lock: nobody in this process opens the fence before its creator
            // has it.
            is_new = slot.slot().publish(generation);
            if !is_new {
                return Err(Error::Full);
            }
            if lifetime == Lifetime::Page {
                slot.slot().keep(creator);
            }
            let is_ending = lifetime == Lifetime::Creator;
            let process = ProcessBound::new();
            let ends_with = is_ending.then_some(EndsWith { process, creator, unwaited });
            let rights = Rights { is_writable: true, is_signalable: memory.is_none(), ends_with };
            Ok(Fence::new(slot.clone(), generation, value, memory, rights))
        };
        let fence = FENCES
            .get_or_make((page.id(), index), |fence| fence.generation == generation, make)
            .inspect_err(|_| slot.slot().unclaim(generation, creator))?;
        if !is_new {
            // A peer made the slot of a fence that lives here look free, and it was claimed again
            // in the same generation.
            slot.slot().unclaim(generation, creator);
            return Err(Error::Full);
        }
        fence.take_notifier_of_page();
        Ok(fence)
    }

    fn new(
        slot: SlotHandle,
        generation: Generation,
        value: u64,
        memory: Option<Ref<ExternalMemory>>,
        rights: Rights,
    ) -> Fence {
        let is_raised_by_signals = rights.is_signalable && !generation.is_unordered();
        let leaves_times = is_raised_by_signals && slot.page().has_timestamps();
        Fence {
            slot,
            latched: AtomicU64::new(value),
            generation,
            is_writable: rights.is_writable,
            is_signalable: rights.is_signalable,
            is_raised_by_signals,
            signaled_generation: SignaledGeneration::new(
                generation,
                leaves_times || trace::is_on(),
            ),
            ends_with: rights.ends_with,
            memory,
            owner_died: AtomicBool::new(false),
            is_ended: AtomicBool::new(false),
            spin: SpinHistory::new(),
            notifier: OnceRef::new(),
            wait_times: WaitTimePredictor::new(),
            attachments: Attachments::new(),
        }
    }

    /// The fence that lives in slot `index` now. `NotFound` if none does. `NotSupported` if its
    /// value is external, and the fence not open in this process.
    pub(crate) fn open(page: &Ref<Page>, index: u32) -> Result<Ref<Fence>> {
        let (slot, generation) = Fence::find(page, index)?;
        Fence::open_at(page, slot, generation, &mut None)
    }

    /// The fence in slot `index` whose value is external, and in this process at what `describe`
    /// returns for its width. `Invalid` for any other fence. If the fence is open already, the
    /// memory is released at once.
    pub(crate) fn open_in(
        page: &Ref<Page>,
        index: u32,
        describe: impl FnOnce(Width) -> Result<ExternalMemoryDesc>,
    ) -> Result<Ref<Fence>> {
        let (slot, generation) = Fence::find(page, index)?;
        if !generation.has_external_value() {
            return Err(Error::Invalid);
        }
        let mut desc = Some(describe(generation.width())?);
        let fence = Fence::open_at(page, slot, generation, &mut desc)?;
        drop(desc.map(ExternalMemory::new));
        Ok(fence)
    }

    /// The fence in slot `index` if this process has it open.
    #[cfg(not(loom))]
    pub(crate) fn find_open(page: &Page, index: u32) -> Option<Ref<Fence>> {
        FENCES.get((page.id(), index))
    }

    fn find(page: &Ref<Page>, index: u32) -> Result<(SlotHandle, Generation)> {
        let slot = SlotHandle::new(page, index)?;
        let generation = slot.slot().generation().ok_or(Error::NotFound)?;
        Ok((slot, generation))
    }

    /// Takes `desc` if it makes a new handle of it.
    fn open_at(
        page: &Ref<Page>,
        slot: SlotHandle,
        generation: Generation,
        desc: &mut Option<ExternalMemoryDesc>,
    ) -> Result<Ref<Fence>> {
        let key = (page.id(), slot.index());
        let external = match desc {
            Some(desc) => Some(desc.load(generation.width()).ok_or(Error::Invalid)?),
            None => None,
        };
        // The slot may hold another fence by now.
        let value = slot.slot().value(generation).map_err(|_| Error::NotFound)?;
        let value = external.unwrap_or(value);
        let make = || {
            if generation.has_external_value() && desc.is_none() {
                return Err(Error::NotSupported);
            }
            let memory = ExternalMemory::of(*desc)?;
            *desc = None;
            let is_writable = page.is_writable();
            let is_signalable = is_writable && !generation.has_external_value();
            let rights = Rights { is_writable, is_signalable, ends_with: None };
            Ok(Fence::new(slot.clone(), generation, value, memory, rights))
        };
        let fence = FENCES.get_or_make(key, |fence| fence.generation == generation, make)?;
        fence.take_notifier_of_page();
        Ok(fence)
    }

    /// The index of its slot.
    pub(crate) fn index(&self) -> u32 {
        self.slot.index()
    }

    /// The byte offset of its value in the page. `None` if the value is external.
    pub(crate) fn offset(&self) -> Option<u64> {
        let within = match self.width() {
            _ if self.memory.is_some() => return None,
            Width::Bits64 => 0,
            Width::Bits32 => VALUE32_OFFSET as u64,
        };
        Some(self.slot.offset() + within)
    }

    pub(crate) fn page(&self) -> &Page {
        self.slot.page()
    }

    /// The same, as a reference that can be handed to C.
    pub(crate) fn page_ref(&self) -> &Ref<Page> {
        self.slot.page_ref()
    }

    /// A reference to the page, for callers that keep it longer than the fence.
    pub(crate) fn shared_page(&self) -> Ref<Page> {
        self.slot.shared_page()
    }

    /// The slot, for callers that keep it longer than the fence.
    pub(crate) fn slot_handle(&self) -> SlotHandle {
        self.slot.clone()
    }

    /// Whether a device writes the value, without waking anybody.
    #[inline]
    pub(crate) fn is_device(&self) -> bool {
        self.generation.is_device()
    }

    /// Whether its waits have to poll: a device writes the value, and no notifier of this process
    /// hears the interrupts.
    #[inline]
    pub(crate) fn must_poll(&self) -> bool {
        self.is_device() && self.notifier().is_none()
    }

    /// Its notifier, which may be one of the process that this one was forked from.
    pub(crate) fn notifier_of_any_process(&self) -> Option<&Notifier> {
        self.notifier.get()
    }

    /// Its notifier, if it has one and this process is not the child of a fork that inherited it.
    pub(crate) fn notifier(&self) -> Option<&Notifier> {
        self.notifier.get().filter(|notifier| notifier.is_ours())
    }

    /// Has its notifier listen until the result is dropped.
    pub(crate) fn listen_owned(&self) -> Option<OwnedListening> {
        let notifier = self.notifier.clone_ref().filter(|notifier| notifier.is_ours())?;
        Some(Notifier::listen_owned(notifier))
    }

    /// Sets the notifier. `Invalid` for a fence that no device writes, `Already` if it has another
    /// one of this process.
    pub(crate) fn set_notifier(&self, notifier: &Ref<Notifier>) -> Result<()> {
        if !self.is_device() {
            return Err(Error::Invalid);
        }
        self.check_writable()?;
        if !notifier.is_ours() {
            return Err(Error::Stale);
        }
        if self.notifier.holds(notifier) {
            return Ok(());
        }
        self.add_to(notifier)?;
        let set = self.notifier.set(notifier.clone(), |current| !current.is_ours());
        if set.is_err() && !self.notifier.holds(notifier) {
            notifier.remove(self.notifier_key());
            return Err(Error::Already);
        }
        Ok(())
    }

    fn add_to(&self, notifier: &Notifier) -> Result<()> {
        let make = || {
            let (slot, generation) = (self.slot.clone(), self.generation);
            Ok(WrittenSlot { slot, generation, memory: self.memory.clone() })
        };
        let value = Ref::try_new(make)?.unsize::<dyn DeviceValue>(|value| value);
        notifier.add(self.notifier_key(), value)
    }

    fn notifier_key(&self) -> usize {
        std::ptr::from_ref(self) as usize
    }

    /// A new handle gets the notifier of its page. Without memory for that, its waits poll.
    fn take_notifier_of_page(&self) {
        if let Some(notifier) = self.page().notifier().filter(|_| self.is_device()) {
            let _ = self.set_notifier(&notifier);
        }
    }

    /// Sets the notifier of a page: of each fence that is open and has none, and of those that will
    /// be opened. `Already` if it has another one of this process.
    #[cfg(not(modeled))]
    pub(crate) fn set_page_notifier(page: &Page, notifier: &Ref<Notifier>) -> Result<()> {
        if !page.is_writable() {
            return Err(Error::Denied);
        }
        if !notifier.is_ours() {
            return Err(Error::Stale);
        }
        page.set_notifier(notifier)?;
        // A fence that is opened from now on finds the page's notifier.
        let mut fences = FENCES.all()?;
        fences.retain(|fence| std::ptr::eq(fence.page(), page) && fence.must_poll());
        // Without memory for one of them, the waits of that fence poll.
        for fence in &fences {
            let _ = fence.set_notifier(notifier);
        }
        Ok(())
    }

    /// The byte offset of the monitored value in the page. `None` if waiters cannot write it: then
    /// the device has to interrupt for each value.
    pub(crate) fn monitored_offset(&self) -> Option<u64> {
        let is_kept = !self.generation.always_wakes();
        is_kept.then(|| self.slot.offset() + MONITORED_OFFSET as u64)
    }

    /// Whether waiters register. If not, its signals always wake. A peer can forge a fence for
    /// which neither holds, but harms only the waiters of that fence.
    #[inline]
    pub(crate) fn accepts_waiters(&self) -> bool {
        self.is_writable && !self.generation.always_wakes()
    }

    /// `Denied` for a fence that this process may only wait for.
    #[inline]
    pub(crate) fn check_writable(&self) -> Result<()> {
        if self.is_writable { Ok(()) } else { Err(Error::Denied) }
    }

    /// `Denied` for a fence whose value this process may not write. It may be a device's alone.
    #[inline]
    pub(crate) fn check_signalable(&self) -> Result<()> {
        if self.is_signalable { Ok(()) } else { Err(Error::Denied) }
    }

    /// Has the signals of all fences recorded, after recording was switched on. Fences that are
    /// opened from now on find that out by themselves.
    #[cfg(not(modeled))]
    pub(crate) fn trace_signals() -> Result<()> {
        for fence in FENCES.all()? {
            fence.trace_signal();
        }
        Ok(())
    }

    /// Has the signals of this fence recorded, if events are.
    #[cold]
    fn trace_signal(&self) {
        if self.leaves_times() {
            // Each signal looks for itself.
            return;
        }
        self.signaled_generation.set(self.generation, false);
        // If recording is switched on at this moment, that thread or this one sees it.
        atomic::fence(Ordering::SeqCst);
        if trace::is_on() {
            self.signaled_generation.set(self.generation, true);
        }
    }

    /// A value of this fence, as traces name it.
    pub(crate) fn point(&self, value: u64) -> Point {
        let ((_, page), slot) = (self.page().id(), self.index());
        Point { page, slot, generation: self.generation.count(), value }
    }

    /// Registers a waiter: see [`Slot::register_waiter`].
    #[inline]
    pub(crate) fn register_waiter(&self, target: WaitTarget, residues: Residues) {
        if self.accepts_waiters() {
            self.slot().register_waiter(target, residues);
        }
    }

    /// Tells the device that somebody waits for `value`: see [`Slot::monitor`].
    pub(crate) fn monitor(&self, value: u64) {
        if !self.accepts_waiters() {
            return;
        }
        // Any value may concern the waiter of an unordered fence: the device interrupts for all.
        let value = if self.is_unordered() { 1 } else { value };
        self.slot().monitor(self.width(), value, self.read().unwrap_or(0));
    }

    #[inline]
    fn sink(&self) -> EventSink<'_> {
        self.slot.sink()
    }

    #[inline]
    pub(crate) fn slot(&self) -> &Slot {
        self.slot.slot()
    }

    #[cfg(loom)]
    pub(crate) fn generation(&self) -> Generation {
        self.generation
    }

    /// Whether this is the fence of that generation in its slot.
    #[cfg(not(loom))]
    pub(crate) fn is_generation(&self, generation: Generation) -> bool {
        self.generation == generation
    }

    /// Whether the value has 64 bits and grows, or has 32 bits and wraps.
    #[inline]
    pub(crate) fn width(&self) -> Width {
        self.generation.width()
    }

    /// Whether any value may be stored: nothing is latched, and comparisons are of plain numbers.
    #[inline]
    pub(crate) fn is_unordered(&self) -> bool {
        self.generation.is_unordered()
    }

    /// The value, or the latched value if that is higher.
    #[inline]
    pub(crate) fn value(&self) -> u64 {
        // The common kind takes one test; each branch costs.
        if self.generation.is_common() {
            self.latch(self.slot().value(self.generation))
        } else {
            self.value_slow()
        }
    }

    #[cold]
    fn value_slow(&self) -> u64 {
        match self.read() {
            Ok(value) if !self.latches() => value,
            read => self.latch(read),
        }
    }

    /// Latches what was read, and returns the latched value. It stays readable after the end of the
    /// fence.
    #[inline(always)]
    fn latch(&self, read: Result<u64>) -> u64 {
        // Acquire, and Release below: a thread that relies on what another thread saw also sees
        // what the signaler wrote before.
        let latched = self.latched.load(Ordering::Acquire);
        match read {
            Ok(value) if value > latched => {
                self.latched.fetch_max(value, Ordering::AcqRel);
                value
            }
            _ => latched,
        }
    }

    /// The value as it is now, wherever it is. `Stale` for what may be another fence's.
    #[inline]
    fn read(&self) -> Result<u64> {
        match &self.memory {
            None => self.slot().value(self.generation),
            Some(memory) => {
                // A lost device has written nothing. The latched value stays.
                let value = memory.load(self.width()).ok_or(Error::Stale)?;
                // After the end of the fence, the memory may be used for anything.
                self.slot().check_live(self.generation)?;
                Ok(value)
            }
        }
    }

    /// Whether this process has seen `value` reached. Nothing that is written later changes that.
    #[inline]
    pub(crate) fn is_latched(&self, value: u64) -> bool {
        self.latches() && self.latched.load(Ordering::Acquire) >= value
    }

    /// Whether the value has 64 bits, only grows and lies in the slot.
    #[inline]
    pub(crate) fn is_common(&self) -> bool {
        self.generation.is_common()
    }

    /// What `check` would say of a value that is reached, with the fewest loads. False means that
    /// `check` has to be asked.
    #[inline]
    pub(crate) fn is_reached_inline(&self, value: u64) -> bool {
        self.is_common() && self.value() >= value
    }

    /// What `check` would say of a value that [`Fence::is_reached_inline`] has just not found
    /// reached. False means that `check` has to be asked.
    #[inline]
    pub(crate) fn is_unreached_inline(&self) -> bool {
        // A process that cannot write to the page may know of a death that the slot does not.
        self.is_writable
            && self.generation.is_common()
            && self.slot().check_usable(self.generation).is_ok()
    }

    /// A value that wraps cannot be latched, nor one without order. If a 32-bit value is behind
    /// what was seen, a peer may have taken it back, or it advanced by more than 2^31 while nobody
    /// here checked.
    #[inline]
    fn latches(&self) -> bool {
        self.generation.only_grows()
    }

    /// Returns whether the predicate holds for the value, or the error of a fence that failed or
    /// ended before it did.
    #[inline]
    pub(crate) fn check(&self, holds: impl Fn(u64) -> bool) -> Result<bool> {
        if holds(self.value()) {
            return Ok(true);
        }
        let error = match self.error() {
            Ok(None) => return Ok(false),
            Ok(Some(errno)) => Error::of_failed_fence(errno),
            Err(stale) => stale,
        };
        // Read after the error and the end: a signal that came before them still counts.
        if holds(self.value()) { Ok(true) } else { Err(error) }
    }

    /// Signals `value`. `Invalid` if the fence is beyond it; the fence's error if it failed;
    /// `Denied` if this process may not signal it. A fence without order stores the value.
    #[inline]
    pub(crate) fn signal(&self, value: u64) -> Result<()> {
        if !self.is_raised_by_signals {
            return self.store(value);
        }
        match self.slot().signal(self.signaled_generation.get(), self.sink(), value) {
            Err(Error::Stale) => self.signal_again(value),
            result => result,
        }
    }

    /// Signals and records that, if this is why the slot did not have what the signal expected.
    #[cold]
    #[inline(never)]
    fn signal_again(&self, value: u64) -> Result<()> {
        self.check_recorded()?;
        self.signal_at(value, time::now())
    }

    /// `Stale` unless signals are to be recorded, or were until now.
    fn check_recorded(&self) -> Result<()> {
        if self.signaled_generation.get() == self.generation {
            return Err(Error::Stale);
        }
        if !trace::is_on() {
            // Not any more.
            self.trace_signal();
        }
        Ok(())
    }

    /// Signals `value`, whose work was done at `done`, if that is known.
    pub(crate) fn signal_done(&self, value: u64, done: Option<u64>) -> Result<()> {
        if !self.leaves_times() {
            return self.signal(value);
        }
        // 0: the kernel does not tell. A time of the future is that of another clock.
        let now = time::now();
        self.signal_at(value, done.filter(|done| *done != 0 && *done <= now).unwrap_or(now))
    }

    /// Signals `value` of a fence with order, and leaves a time that was read before.
    pub(crate) fn signal_at(&self, value: u64, time: u64) -> Result<()> {
        self.traced("signal", " = ", value, Point::arrow, || {
            if let Some(timestamps) = self.timestamps() {
                self.slot().leave_time(self.generation, value, timestamps, time);
            }
            self.slot().signal(self.generation, self.sink(), value)
        })
    }

    /// Whether signals of this process leave their times.
    pub(crate) fn leaves_times(&self) -> bool {
        self.is_raised_by_signals && self.timestamps().is_some()
    }

    /// Where its signals leave their times. `None` in a page without room for them, and for an
    /// unordered fence: which of its values a time is of would not be clear.
    fn timestamps(&self) -> Option<&Timestamps> {
        self.page().timestamps(self.index()).filter(|_| !self.is_unordered())
    }

    /// When `value` was signaled, in nanoseconds of CLOCK_MONOTONIC. `NotFound` if that is not
    /// known, or if the value is not reached.
    pub(crate) fn timestamp(&self, value: u64) -> Result<u64> {
        if !self.width().holds(value) {
            return Err(Error::Invalid);
        }
        let timestamps = self.timestamps().ok_or(Error::NotFound)?;
        if self.width().is_before(self.value(), value) {
            return Err(Error::NotFound);
        }
        let time = self.slot().time_of(self.generation, value, timestamps)?;
        // A time of the future is that of a peer with another clock, or made up.
        time.filter(|time| *time <= time::now()).ok_or(Error::NotFound)
    }

    /// Does what wakes waiters, and records it. The arrow leads to the ends of their waits.
    fn traced(
        &self,
        name: &'static str,
        between: &'static str,
        value: u64,
        arrow: impl FnOnce(&Point) -> u64,
        act: impl FnOnce() -> Result<()>,
    ) -> Result<()> {
        let span = Span::begin();
        let result = act();
        if let Some(span) = span {
            let point = self.point(value);
            let arrow = result.map_or(Arrow::None, |()| Arrow::Begins(arrow(&point)));
            span.end(&Subject::Fence(name, between, point), arrow, result);
        }
        result
    }

    /// The rest of `signal`, for fences without order and those that may not be signaled.
    #[inline(never)]
    fn store(&self, value: u64) -> Result<()> {
        self.change("signal", Change::Store(value)).map(drop)
    }

    /// Changes the value. Returns the value that was there. `Invalid` for a fence with order;
    /// errors as of `signal`.
    #[inline]
    pub(crate) fn update(&self, change: Change) -> Result<u64> {
        if !self.is_unordered() {
            return Err(Error::Invalid);
        }
        self.change("update", change)
    }

    #[inline(always)]
    fn change(&self, name: &'static str, change: Change) -> Result<u64> {
        self.check_signalable()?;
        match self.slot().update(self.signaled_generation.get(), self.sink(), change) {
            Err(Error::Stale) => self.change_again(name, change),
            result => result,
        }
    }

    /// As `signal_again`. An arrow begins here if a value is stored.
    #[cold]
    #[inline(never)]
    fn change_again(&self, name: &'static str, change: Change) -> Result<u64> {
        self.check_recorded()?;
        let span = Span::begin();
        let result = self.slot().update(self.generation, self.sink(), change);
        if let Some(span) = span {
            let old = result.unwrap_or_else(|_| self.value());
            let new = change.of(old);
            let point = self.point(new.unwrap_or(old));
            let is_stored = result.is_ok() && new.is_some();
            let arrow = if is_stored { Arrow::Begins(point.arrow()) } else { Arrow::None };
            span.end(&Subject::Fence(name, " = ", point), arrow, result.map(drop));
        }
        result
    }

    /// A wait for the fence begins. From now on it is met by values that are gone when its thread
    /// looks: see rewind.rs. Other fences than unordered ones need no such thing.
    #[inline]
    pub(crate) fn begin_wait(&self) -> Moment {
        if self.is_unordered() { self.begin_unordered() } else { rewind::NEVER }
    }

    #[cold]
    fn begin_unordered(&self) -> Moment {
        self.slot().begin_wait(self.generation, self.accepts_waiters())
    }

    /// Whether an unordered fence has reached `value` since a wait began, and was rewound.
    pub(crate) fn was_reached(&self, since: Moment, value: u64) -> bool {
        since != rewind::NEVER && self.slot().was_reached(self.generation, since, value)
    }

    /// Wakes the waiters of a fence whose value a device wrote.
    pub(crate) fn notify(&self) -> Result<()> {
        self.check_writable()?;
        let _scope = Scope::new(|| Subject::Fence("notify", " = ", self.point(self.value())));
        self.slot().notify(self.generation, self.sink())
    }

    /// Records that work was submitted which will signal `value`. `Invalid` for an unordered fence,
    /// which has no pending value.
    pub(crate) fn submit(&self, value: u64) -> Result<()> {
        if self.is_unordered() {
            return Err(Error::Invalid);
        }
        self.check_writable()?;
        self.slot().submit(self.generation, self.sink(), value)
    }

    /// The highest value that is reached or that work was submitted for. The value of an unordered
    /// fence.
    pub(crate) fn pending_value(&self) -> u64 {
        let value = self.value();
        if self.is_unordered() {
            return value;
        }
        match self.slot().pending(self.generation) {
            Ok(pending) if self.width().is_before(value, pending) => pending,
            _ => value,
        }
    }

    /// Writes a wait record about this fence. It is valid until it is dropped.
    pub(crate) fn record(&self, participant: Participant, contents: RecordContents) -> WaitRecord {
        WaitRecord::new(&self.slot, self.generation, participant, contents)
    }

    /// The same for a caller that keeps only the place, and releases it.
    pub(crate) fn write_record(
        &self,
        participant: Participant,
        contents: RecordContents,
    ) -> RecordPlace {
        RecordPlace::write(&self.slot, self.generation, participant, contents)
    }

    /// Records that `participant` waits until the fence reaches `value`.
    #[cfg(all(test, not(modeled)))]
    pub(crate) fn record_wait(&self, participant: Participant, value: u64) -> WaitRecord {
        self.record(participant, RecordContents { role: Role::Wait, alternatives: 1, value })
    }

    /// Records that `participant` will signal the fence up to `value`.
    pub(crate) fn record_signal(&self, participant: Participant, value: u64) -> WaitRecord {
        self.record(participant, RecordContents { role: Role::Signal, alternatives: 1, value })
    }

    /// The same, without a place in the wait table until it is retried.
    #[cfg(not(loom))]
    pub(crate) fn record_signal_dropped(&self, participant: Participant, value: u64) -> WaitRecord {
        let contents = RecordContents { role: Role::Signal, alternatives: 1, value };
        WaitRecord::dropped(&self.slot, self.generation, participant, contents)
    }

    /// Fails the fence for every waiter in every process. The first error stays.
    pub(crate) fn set_error(&self, errno: FenceErrno) -> Result<()> {
        self.check_writable()?;
        self.traced("fail", " with ", errno.get().into(), Point::failure_arrow, || {
            self.slot().set_error(self.generation, self.sink(), errno)
        })
    }

    /// Names the fence, for tools and reports.
    #[cfg(not(modeled))]
    pub(crate) fn set_name(&self, name: Name) -> Result<()> {
        self.check_writable()?;
        self.slot().check_live(self.generation)?;
        self.page().set_name(Named::Fence(self.index(), self.generation), name)
    }

    /// `None` unless this process created the fence and its last handle here ends it.
    fn ends_with(&self) -> Option<&EndsWith> {
        self.ends_with.as_ref().filter(|ends_with| ends_with.process.is_ours())
    }

    /// Ends the fence now. Its slot stays in use until the last handle is gone. `Denied` if this
    /// process does not end the fence, `Stale` if it has ended.
    pub(crate) fn end(&self) -> Result<()> {
        self.ends_with().ok_or(Error::Denied)?;
        self.slot().end_and_keep(self.generation, self.sink())?;
        // Only the thread that ended the fence in its slot comes here.
        self.is_ended.store(true, Ordering::Release);
        Ok(())
    }

    /// The signaler died. Fails the fence for every process, or, if only its creator may write to
    /// the page, for this process. If it is known which process `dead` was, and that process
    /// created the fence, the slot can be reclaimed. `Stale` if the fence has ended.
    pub(crate) fn fail_owner_died(&self, dead: Option<Creator>) -> Result<()> {
        if self.is_writable {
            return self.slot().fail_owner_died(Some(self.generation), self.sink(), dead);
        }
        // O1 (owner_death.rs).
        self.owner_died.store(true, Ordering::Release);
        owner_death::announce();
        Ok(())
    }

    /// The error that the fence carries, or would carry if this process could write it.
    pub(crate) fn error(&self) -> Result<Option<FenceErrno>> {
        let owner_died = || {
            !self.is_writable
                && (self.owner_died.load(Ordering::Acquire) || self.page().owner_died())
        };
        let error = self.slot().error(self.generation)?;
        Ok(error.or_else(|| owner_died().then(|| Error::OwnerDead.errno())))
    }
}

impl Drop for Fence {
    fn drop(&mut self) {
        FENCES.forget((self.page().id(), self.index()), self);
        if let Some(notifier) = self.notifier.get() {
            notifier.remove(self.notifier_key());
        }
        match self.ends_with() {
            Some(EndsWith { creator, .. }) if self.is_ended.load(Ordering::Acquire) => {
                self.slot().release(self.generation, *creator);
            }
            Some(EndsWith { creator, unwaited, .. }) => {
                self.slot().retire(self.generation, self.sink(), *creator, *unwaited);
            }
            None => {}
        }
    }
}
