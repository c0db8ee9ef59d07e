//! A handle on one fence: value, signal, pending value, error.

use crate::error::{Error, FenceErrno, Result};
use crate::fence::device_notifier::Notifier;
use crate::fence::external_memory::{Lent, Memory};
use crate::fence::spin::SpinHistory;
#[cfg(not(loom))]
use crate::shm::owner_death;
use crate::shm::page::{Page, Place};
use crate::shm::participant::Owner;
use crate::shm::slot::{
    Bed, Kind, MONITORED_OFFSET, Residues, Rope, Slot, Tag, VALUE32_OFFSET, Width,
};
use crate::shm::wait_table::{Note, Role, Said};
use crate::util::atomic::{AtomicBool, AtomicU64, Ordering};
use crate::util::refs::Ref;
use rustix::process::{Pid, getpid};

/// A fence that is open in this process. There is one of these for each fence, however often it is
/// opened.
///
/// What every look takes comes first, in one cache line or two: lists of fences are looked through.
#[repr(C)]
pub(crate) struct Fence {
    place: Place,
    /// The highest value this process has seen. A peer may write a smaller one, or punch a hole
    /// where the value was; what was seen as signalled stays signalled.
    seen: AtomicU64,
    /// Which of the slot's fences this is: after its end, the slot's next fence is none of ours.
    tag: Tag,
    /// Whether this process may write to the page.
    is_writable: bool,
    /// Whether it may write the value too.
    is_signalable: bool,
    /// The process with whose last handle the fence ends, if it does and if it is this one: its
    /// creator. The child of a fork inherits the handle, not the fence.
    ends_with: Option<Pid>,
    /// Where the value is, if it is not in the slot.
    memory: Option<Memory>,
    /// Whether its signaller is known to be gone, where that cannot be written into the page.
    is_orphaned: AtomicBool,
    /// Whether spinning for this fence pays.
    pub(crate) spin: SpinHistory,
    /// How to hear of what a device writes.
    pub(crate) notifier: Notifier,
}

impl Fence {
    /// A new fence at `value` in a free slot of `page`. It ends with the last handle of this
    /// process.
    pub(crate) fn create(page: &Ref<Page>, kind: Kind, value: u64) -> Result<Ref<Fence>> {
        Fence::create_until(page, kind, value, Some(getpid()))
    }

    /// The same, but it lives as long as its page, whoever lets go of it.
    pub(crate) fn create_lasting(page: &Ref<Page>, kind: Kind, value: u64) -> Result<Ref<Fence>> {
        Fence::create_until(page, kind, value, None)
    }

    fn create_until(
        page: &Ref<Page>,
        kind: Kind,
        value: u64,
        ends_with: Option<Pid>,
    ) -> Result<Ref<Fence>> {
        if !kind.width.holds(value) {
            return Err(Error::Invalid);
        }
        Fence::create_at(page, kind, value, (ends_with, None))
    }

    /// A new fence whose value is in memory that a device writes, and is what it is there. The slot
    /// has the rest.
    pub(crate) fn create_in(page: &Ref<Page>, width: Width, lent: Lent) -> Result<Ref<Fence>> {
        let kind = Kind { width, device: true, elsewhere: true, ..Kind::PLAIN };
        Fence::create_at(page, kind, lent.load(width), (Some(getpid()), Some(lent)))
    }

    fn create_at(
        page: &Ref<Page>,
        kind: Kind,
        value: u64,
        (ends_with, lent): (Option<Pid>, Option<Lent>),
    ) -> Result<Ref<Fence>> {
        let (index, tag) = page.claim(kind, value)?;
        let place = Place::new(page, index)?;
        let mut is_new = false;
        let make = || {
            is_new = true;
            // Under the registry's lock: nobody in this process opens the fence before its creator
            // has it.
            place.slot().publish(tag);
            Ok(Fence {
                place: place.clone(),
                tag,
                is_signalable: lent.is_none(),
                memory: lent.map(Memory::new),
                is_writable: true,
                ends_with,
                is_orphaned: AtomicBool::new(false),
                seen: AtomicU64::new(value),
                spin: SpinHistory::new(),
                notifier: Notifier::new(),
            })
        };
        let fence = page
            .fences()
            .get_or_make(index, |fence| fence.tag == tag, make)
            .inspect_err(|_| place.slot().unclaim(tag))?;
        if !is_new {
            // A peer made the slot of a fence that lives here look free, and it was claimed once
            // more as the same one.
            place.slot().unclaim(tag);
            return Err(Error::PageFull);
        }
        Ok(fence)
    }

    /// The fence that lives in slot `index` now. `NotFound` if none does; `NotSupported` if its
    /// value is elsewhere, and the fence not open here.
    pub(crate) fn open(page: &Ref<Page>, index: u32) -> Result<Ref<Fence>> {
        let (place, tag) = Fence::find(page, index)?;
        Fence::open_at(page, place, tag, &mut None)
    }

    /// The fence whose value is elsewhere, and here at what `lend` makes of its width. `Invalid`
    /// for any other. Takes nothing of a fence that is open already, and gives back at once what it
    /// lends.
    pub(crate) fn open_in(
        page: &Ref<Page>,
        index: u32,
        lend: impl FnOnce(Width) -> Result<Lent>,
    ) -> Result<Ref<Fence>> {
        let (place, tag) = Fence::find(page, index)?;
        if !tag.is_elsewhere() {
            return Err(Error::Invalid);
        }
        let mut lent = Some(lend(tag.width())?);
        let fence = Fence::open_at(page, place, tag, &mut lent)?;
        drop(lent.map(Memory::new));
        Ok(fence)
    }

    fn find(page: &Ref<Page>, index: u32) -> Result<(Place, Tag)> {
        let place = Place::new(page, index)?;
        let tag = place.slot().tag().ok_or(Error::NotFound)?;
        Ok((place, tag))
    }

    /// Takes `lent` if it makes a handle of it.
    fn open_at(
        page: &Ref<Page>,
        place: Place,
        tag: Tag,
        lent: &mut Option<Lent>,
    ) -> Result<Ref<Fence>> {
        let index = place.index();
        let elsewhere = lent.as_ref().map(|lent| lent.load(tag.width()));
        // The slot may have become another's by now.
        let value = place.slot().value(tag).map_err(|_| Error::NotFound)?;
        let value = elsewhere.unwrap_or(value);
        let make = || {
            if tag.is_elsewhere() && lent.is_none() {
                return Err(Error::NotSupported);
            }
            Ok(Fence {
                place: place.clone(),
                tag,
                memory: lent.take().map(Memory::new),
                is_writable: page.is_writable(),
                is_signalable: page.is_writable() && !tag.is_elsewhere(),
                ends_with: None,
                is_orphaned: AtomicBool::new(false),
                seen: AtomicU64::new(value),
                spin: SpinHistory::new(),
                notifier: Notifier::new(),
            })
        };
        page.fences().get_or_make(index, |fence| fence.tag == tag, make)
    }

    /// Which slot of its page the fence lives in.
    pub(crate) fn index(&self) -> u32 {
        self.place.index()
    }

    /// The byte offset of its value in the page, if it is there.
    pub(crate) fn offset(&self) -> Option<u64> {
        let within = match self.width() {
            _ if self.memory.is_some() => return None,
            Width::Bits64 => 0,
            Width::Bits32 => VALUE32_OFFSET as u64,
        };
        Some(self.place.offset() + within)
    }

    pub(crate) fn page(&self) -> &Page {
        self.place.page()
    }

    /// The page, for who holds on to it longer than to the fence.
    #[cfg(not(loom))]
    pub(crate) fn shared_page(&self) -> Ref<Page> {
        self.place.shared_page()
    }

    /// Whether a device writes the value, without waking anybody.
    #[inline]
    pub(crate) fn is_device(&self) -> bool {
        self.tag.is_device()
    }

    /// The byte offset of the monitored value in the page.
    pub(crate) fn monitored_offset(&self) -> u64 {
        self.place.offset() + MONITORED_OFFSET as u64
    }

    /// Whether waiters leave word of what they wait for. If not, the fence shouts; or whoever made
    /// it so that it does neither lets down those who wait for it.
    #[inline]
    pub(crate) fn hears_waiters(&self) -> bool {
        self.is_writable && !self.tag.shouts()
    }

    /// `Denied` for what others may only wait for.
    #[inline]
    pub(crate) fn check_writable(&self) -> Result<()> {
        if self.is_writable { Ok(()) } else { Err(Error::Denied) }
    }

    /// The same for the value, which may be a device's alone to write.
    #[inline]
    pub(crate) fn check_signalable(&self) -> Result<()> {
        if self.is_signalable { Ok(()) } else { Err(Error::Denied) }
    }

    /// Leaves word that somebody waits: see [`Slot::announce`].
    #[inline]
    pub(crate) fn announce(&self, bed: Bed, residues: Residues) {
        if self.hears_waiters() {
            self.slot().announce(bed, residues);
        }
    }

    /// Tells the device that somebody waits for `value`: see [`Slot::monitor`].
    pub(crate) fn monitor(&self, value: u64) {
        if !self.is_writable {
            return;
        }
        self.slot().monitor(self.width(), value, self.read().unwrap_or(0));
    }

    #[inline]
    fn rope(&self) -> Rope<'_> {
        Rope { bell: self.page().bell(), index: self.index() }
    }

    #[inline]
    pub(crate) fn slot(&self) -> &Slot {
        self.place.slot()
    }

    #[cfg(loom)]
    pub(crate) fn tag(&self) -> Tag {
        self.tag
    }

    /// Whether this is the fence that some process noted.
    #[cfg(not(loom))]
    pub(crate) fn is_of(&self, tag: Tag) -> bool {
        self.tag == tag
    }

    /// Whether the value has 64 bits and grows, or 32 and goes round.
    #[inline]
    pub(crate) fn width(&self) -> Width {
        self.tag.width()
    }

    /// The value, or the highest that this process has seen if that is more.
    #[inline]
    pub(crate) fn value(&self) -> u64 {
        // The everyday fence takes one question; each choice costs.
        if self.tag.is_everyday() {
            self.latch(self.slot().value(self.tag))
        } else {
            self.unusual_value()
        }
    }

    #[cold]
    fn unusual_value(&self) -> u64 {
        match self.read() {
            Ok(value) if !self.latches() => value,
            read => self.latch(read),
        }
    }

    /// Holds on to what was read, and tells what holds: also after the end of the fence, what was
    /// seen stays.
    #[inline(always)]
    fn latch(&self, read: Result<u64>) -> u64 {
        // Acquire, and Release below: who relies on what another thread saw also sees what the
        // signaller did before.
        let seen = self.seen.load(Ordering::Acquire);
        match read {
            Ok(value) if value > seen => {
                self.seen.fetch_max(value, Ordering::AcqRel);
                value
            }
            _ => seen,
        }
    }

    /// The value as it is now, wherever it is. `Stale` for what may be another fence's.
    #[inline]
    fn read(&self) -> Result<u64> {
        match &self.memory {
            None => self.slot().value(self.tag),
            Some(memory) => {
                let value = memory.load(self.width());
                // From its end on, the memory may be used for anything.
                self.slot().check_life(self.tag)?;
                Ok(value)
            }
        }
    }

    /// Whether this process has seen `value` reached: latched, whatever is written later.
    #[inline]
    pub(crate) fn has_seen(&self, value: u64) -> bool {
        self.latches() && self.seen.load(Ordering::Acquire) >= value
    }

    /// What `check` would say of a value reached, where that takes the fewest looks: false means
    /// that it takes more.
    #[inline]
    pub(crate) fn is_plainly_reached(&self, value: u64) -> bool {
        self.tag.is_everyday() && self.value() >= value
    }

    /// A value that goes round cannot be latched: that it is behind what was seen may mean that a
    /// peer took it back, or that it went on by more than 2^31 while nobody here looked.
    #[inline]
    fn latches(&self) -> bool {
        self.width() == Width::Bits64
    }

    /// Whether the value is as `fits` asks. If it is not, and will go no further, says why.
    #[inline]
    pub(crate) fn check(&self, fits: impl Fn(u64) -> bool) -> Result<bool> {
        if fits(self.value()) {
            return Ok(true);
        }
        let error = match self.error() {
            Ok(None) => return Ok(false),
            Ok(Some(errno)) => Error::of_failed_fence(errno),
            Err(stale) => stale,
        };
        // Looked at after the error and the end: a signal that came before them still counts.
        if fits(self.value()) { Ok(true) } else { Err(error) }
    }

    /// Signals `value`. `Invalid` if the fence is beyond it; the error's if the fence failed;
    /// `Denied` if it is not ours to signal.
    #[inline]
    pub(crate) fn signal(&self, value: u64) -> Result<()> {
        self.check_signalable()?;
        self.slot().signal(self.tag, self.rope(), value)
    }

    /// Wakes the waiters of a fence whose value a device wrote.
    pub(crate) fn notify(&self) -> Result<()> {
        self.check_writable()?;
        self.slot().notify(self.tag, self.rope())
    }

    /// Wakes the other waiters of a fence whose device this one has heard.
    pub(crate) fn pass_on(&self) -> Result<()> {
        self.check_writable()?;
        self.slot().pass_on(self.tag, self.rope())
    }

    /// Says that work was submitted which will signal `value`.
    pub(crate) fn submit(&self, value: u64) -> Result<()> {
        self.check_writable()?;
        self.slot().submit(self.tag, self.rope(), value)
    }

    /// The furthest value that is reached or that work was submitted for.
    pub(crate) fn pending_value(&self) -> u64 {
        let value = self.value();
        match self.slot().pending(self.tag) {
            Ok(pending) if self.width().is_before(value, pending) => pending,
            _ => value,
        }
    }

    /// Leaves a note for whoever asks why nothing goes on: see `ledger`. It stands while it lives.
    pub(crate) fn note(&self, owner: Owner, said: Said) -> Note {
        Note::leave(&self.place, self.tag, owner, said)
    }

    /// A note that `owner` cannot go on until the fence has reached `value`.
    #[cfg(all(test, not(loom)))]
    pub(crate) fn note_wait(&self, owner: Owner, value: u64) -> Note {
        self.note(owner, Said { role: Role::Wait, of: 1, value })
    }

    /// A note that `owner` will signal the fence up to `value`.
    pub(crate) fn note_promise(&self, owner: Owner, value: u64) -> Note {
        self.note(owner, Said { role: Role::Promise, of: 1, value })
    }

    /// Fails the fence for every waiter in every process. The first error stays.
    pub(crate) fn set_error(&self, errno: FenceErrno) -> Result<()> {
        self.check_writable()?;
        self.slot().set_error(self.tag, self.rope(), errno)
    }

    /// Who owed it is gone: fails it for everybody, or where only its creator may write, for this
    /// process.
    #[cfg(not(loom))]
    pub(crate) fn orphan(&self) -> Result<()> {
        if self.is_writable {
            return self.set_error(Error::OwnerDead.errno());
        }
        // O1 (orphans.rs).
        self.is_orphaned.store(true, Ordering::Release);
        owner_death::tell();
        Ok(())
    }

    /// The error that the fence carries, or would if it could be written down.
    pub(crate) fn error(&self) -> Result<Option<FenceErrno>> {
        let is_orphaned = || {
            !self.is_writable
                && (self.is_orphaned.load(Ordering::Acquire) || self.page().is_orphaned())
        };
        Ok(self.slot().error(self.tag)?.or_else(|| is_orphaned().then(|| Error::OwnerDead.errno())))
    }
}

impl Drop for Fence {
    fn drop(&mut self) {
        self.page().fences().forget(self.index(), self);
        if self.ends_with == Some(getpid()) {
            self.slot().retire(self.tag, self.rope());
        }
    }
}
