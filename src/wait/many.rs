//! Waiting: for one condition, for any or for all of many.

use crate::config;
use crate::error::{Error, Result};
use crate::fence::Fence;
use crate::fence::device_notifier;
use crate::shm::owner_death;
use crate::shm::page::Page;
use crate::shm::participant::Owner;
use crate::shm::slot::{self, Bed, Width};
use crate::shm::wait_table::{Note, Role, Said};
use crate::sys::futex::{self, Sleep, WAITV_MAX, Word};
use crate::sys::time::{self, Deadline};
use crate::util::atomic::Ordering;
use std::num::NonZeroU32;
use std::ops::ControlFlow;

/// Which of a fence's values counts.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Until {
    /// The value itself.
    Signaled,
    /// The pending value: work that will signal it was submitted (Mesa: VK_SYNC_WAIT_PENDING). Only
    /// with [`Test::Reached`].
    Submitted,
}

/// How a fence's value is compared with the condition's. What hardware waits can do: xe's
/// wait_user_fence, HSA's signals, CUDA's stream memory operations.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Test {
    /// At least the condition's; for a 32-bit fence, not behind it.
    Reached,
    /// Less than the condition's; for a 32-bit fence, behind it.
    Before,
    /// Equal.
    Equal,
    /// Not equal.
    Differs,
    /// Compared as plain numbers, under a mask: `(value & mask) op (condition's & mask)`.
    Masked { mask: u64, op: Op },
}

/// A comparison of two plain numbers.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Op {
    Ge,
    Gt,
    Eq,
    Ne,
    Lt,
    Le,
}

impl Op {
    fn holds(self, a: u64, b: u64) -> bool {
        match self {
            Op::Ge => a >= b,
            Op::Gt => a > b,
            Op::Eq => a == b,
            Op::Ne => a != b,
            Op::Lt => a < b,
            Op::Le => a <= b,
        }
    }
}

/// One entry of a wait.
#[derive(Clone, Copy)]
pub(crate) struct Condition<'a> {
    /// Whose value.
    pub(crate) fence: &'a Fence,
    /// What it is compared with.
    pub(crate) value: u64,
    pub(crate) test: Test,
    pub(crate) until: Until,
}

/// A condition without its fence, for who holds on to that in his own way.
#[derive(Clone, Copy)]
pub(crate) struct Demand {
    value: u64,
    test: Test,
    until: Until,
}

impl Demand {
    /// The condition, asked of `fence`, which it was made for.
    #[inline]
    pub(crate) fn of(self, fence: &Fence) -> Condition<'_> {
        Condition { fence, value: self.value, test: self.test, until: self.until }
    }
}

impl<'a> Condition<'a> {
    /// The everyday one: until the fence has reached the value. `Invalid` for a value that the
    /// fence cannot have.
    pub(crate) fn reached(fence: &'a Fence, value: u64) -> Result<Condition<'a>> {
        let condition = Condition { fence, value, test: Test::Reached, until: Until::Signaled };
        if fence.width().holds(value) { Ok(condition) } else { Err(Error::Invalid) }
    }

    /// `fence`'s value `op` `value`, under `mask` unless that is 0. `Invalid` for a value that the
    /// fence cannot have, and for one that it would have to exceed but cannot.
    pub(crate) fn new(
        fence: &'a Fence,
        op: Op,
        value: u64,
        mask: u64,
        until: Until,
    ) -> Result<Condition<'a>> {
        let width = fence.width();
        if !width.holds(value) {
            return Err(Error::Invalid);
        }
        // v > T is v >= T+1, and v <= T is v < T+1.
        let (test, value) = match (op, width.after(value)) {
            _ if mask != 0 => (Test::Masked { mask, op }, value),
            (Op::Ge, _) => (Test::Reached, value),
            (Op::Lt, _) => (Test::Before, value),
            (Op::Eq, _) => (Test::Equal, value),
            (Op::Ne, _) => (Test::Differs, value),
            (Op::Gt, after) => (Test::Reached, after.ok_or(Error::Invalid)?),
            (Op::Le, Some(after)) => (Test::Before, after),
            (Op::Le, None) => (Test::Reached, 0),
        };
        if until == Until::Submitted && test != Test::Reached {
            return Err(Error::Invalid);
        }
        Ok(Condition { fence, value, test, until })
    }

    /// What of the condition is not its fence.
    pub(crate) fn demand(&self) -> Demand {
        Demand { value: self.value, test: self.test, until: self.until }
    }

    /// Whether it is met. The error if it is not, and never will be.
    #[inline]
    pub(crate) fn met(&self) -> Result<bool> {
        // What this process has seen reached needs no look at the shared memory.
        if self.test == Test::Reached && self.fence.has_seen(self.value) {
            return Ok(true);
        }
        self.met_by_now()
    }

    /// The same, by a look at the shared memory: apart, so that lists of what was seen reached are
    /// gone through quickly.
    #[inline(never)]
    fn met_by_now(&self) -> Result<bool> {
        // The everyday condition is told apart once, here and in `residues`: what follows a sleep
        // runs cold, and each choice costs.
        if self.test == Test::Reached && self.until == Until::Signaled {
            return self.fence.check(|value| !self.fence.width().is_before(value, self.value));
        }
        if self.until == Until::Submitted && self.fits(self.fence.pending_value()) {
            return Ok(true);
        }
        if self.fence.check(|value| self.fits(value))? {
            return Ok(true);
        }
        if self.is_past() { Err(Error::Past) } else { Ok(false) }
    }

    #[inline]
    fn fits(&self, value: u64) -> bool {
        let before = || self.fence.width().is_before(value, self.value);
        match self.test {
            Test::Reached => !before(),
            Test::Before => before(),
            Test::Equal => value == self.value,
            Test::Differs => value != self.value,
            Test::Masked { mask, op } => op.holds(value & mask, self.value & mask),
        }
    }

    /// Whether a value that only grows is beyond where the condition, which is not met, could be.
    fn is_past(&self) -> bool {
        let value = self.fence.value();
        self.fence.width() == Width::Bits64
            && match self.test {
                Test::Before => value >= self.value,
                Test::Equal => value > self.value,
                Test::Differs => value == u64::MAX,
                _ => false,
            }
    }

    /// The same as `met`, as a reason to stop waiting.
    fn settled(&self) -> ControlFlow<Result<()>> {
        match self.met() {
            Ok(false) => ControlFlow::Continue(()),
            Ok(true) => ControlFlow::Break(Ok(())),
            Err(error) => ControlFlow::Break(Err(error)),
        }
    }

    /// The residues of the values at which the condition, which is not met now, can become met: a
    /// signal wakes who waits for a value that it passes.
    fn residues(&self) -> slot::Residues {
        if self.test == Test::Reached {
            // The same as below, with fewer choices.
            return slot::residue(self.value);
        }
        match self.test {
            Test::Masked { .. } => slot::ALL,
            _ => slot::residue(self.first_value()),
        }
    }

    /// Of a value that only grows and that the condition is about: the first at which it, which is
    /// not met now, may become met. `None` where there is no such order: a value that goes round, a
    /// mask, a pending value.
    pub(crate) fn turning_point(&self) -> Option<u64> {
        let ordered = self.fence.width() == Width::Bits64 && self.until == Until::Signaled;
        (ordered && !matches!(self.test, Test::Masked { .. })).then(|| self.first_value())
    }

    /// The first value at which the condition, which is not met now, may become met.
    fn first_value(&self) -> u64 {
        match self.test {
            Test::Reached | Test::Equal => self.value,
            // A 64-bit value never; a 32-bit value falls behind T when it is 2^31 ahead of it.
            Test::Before => (self.value as u32).wrapping_add(1 << 31).into(),
            // It differs once it left T.
            Test::Differs => self.value.wrapping_add(1),
            Test::Masked { .. } => self.fence.value().wrapping_add(1),
        }
    }

    /// A note that `owner` cannot go on until this is met.
    pub(crate) fn note(&self, owner: Owner) -> Note {
        self.note_one_of(1, owner)
    }

    /// A note that `owner` cannot go on until one of `count` conditions is met, of which this is
    /// one.
    fn note_one_of(&self, count: usize, owner: Owner) -> Note {
        let role = if self.until == Until::Submitted { Role::WaitPending } else { Role::Wait };
        self.fence.note(owner, Said { role, of: count, value: self.first_value() })
    }

    /// Leaves word that somebody who listens to the bell waits for this. To be called before
    /// looking at the value.
    pub(crate) fn announce(&self) {
        self.fence.announce(Bed::Bell, self.residues());
        self.monitor();
    }

    /// Tells the device, if one writes the value, from where on somebody cares. To be called before
    /// looking at the value.
    fn monitor(&self) {
        if self.fence.is_device() {
            self.fence.monitor(self.first_value());
        }
    }
}

/// Waits for one condition.
pub(crate) fn one(condition: Condition<'_>, deadline: Deadline) -> Result<()> {
    if condition.met()? {
        return Ok(());
    }
    if deadline == Deadline::POLL {
        return Err(Error::TimedOut);
    }
    let spin = &condition.fence.spin;
    if let Some(answer) = spin.spin(deadline, || condition.settled().break_value()) {
        return answer;
    }
    spin.sample(|| asleep(condition, deadline))
}

/// Waits for one condition without spinning. How long a device takes is learnt for the next time.
fn asleep(condition: Condition<'_>, deadline: Deadline) -> Result<()> {
    let fence = condition.fence;
    let may_be_sliced = fence.is_device() || !fence.page().is_writable();
    let began = if may_be_sliced { time::now() } else { 0 };
    asleep_since(began, condition, deadline)?;
    if fence.is_device() {
        fence.notifier.pace.learn(time::now() - began);
    }
    Ok(())
}

/// The same, for a wait that began at `began`, which counts where it is cut into slices. The
/// condition is looked at once more after the deadline, so a signal has the last word.
fn asleep_since(began: u64, condition: Condition<'_>, deadline: Deadline) -> Result<()> {
    let _note = note_wait(&condition);
    let fence = condition.fence;
    let residues = if fence.hears_waiters() {
        NonZeroU32::new(condition.residues()).or(Some(NonZeroU32::MAX))
    } else {
        None
    };
    let may_be_orphaned = !fence.page().is_writable();
    let mut notifier_rests = false;
    loop {
        let is_deaf = may_be_orphaned && !futex::has_waitv();
        let orphans = if may_be_orphaned && !is_deaf {
            owner_death::word(owner_death::heard())
        } else {
            None
        };
        let sliced = fence.is_device() || is_deaf;
        let slice = || fence.notifier.pace.slice(began, time::now());
        let until = if sliced { deadline.min(slice()) } else { deadline };
        let mut led = Ok(false);
        let mut answer = None;
        let slept = fence.slot().sleep(residues, orphans, until, || {
            condition.monitor();
            answer = condition.settled().break_value();
            if answer.is_none() && fence.is_device() && !notifier_rests {
                led = fence.notifier.lead(condition.first_value(), deadline);
            }
            answer.is_none() && led == Ok(false)
        });
        let slept = match slept {
            Err(error) if orphans.is_some() && futex::lost_waitv(error) => Sleep::Woken,
            slept => slept?,
        };
        if let Some(answer) = answer {
            return answer;
        }
        if led == Ok(true) {
            // The others sleep for what the one who was there has heard; and one of them is there
            // next. If the fence has ended, they were woken for that.
            let _ = fence.pass_on();
        }
        // What is ready at once, again and again, must not keep us busy: it is left alone for a
        // slice.
        notifier_rests = led != Ok(false) && until.ns() > time::now();
        // Before announcing oneself again: a bit that nobody needs costs the next signal a system
        // call.
        if let Some(answer) = condition.settled().break_value() {
            return answer;
        }
        led?;
        // Also after a wake-up: a peer that wakes us all the time must not keep us.
        if (slept == Sleep::TimedOut && until == deadline) || deadline.has_passed() {
            return Err(Error::TimedOut);
        }
    }
}

/// Tells who asks for the wait-for graph that this thread waits, if the user wants to see that.
fn note_wait(condition: &Condition<'_>) -> Option<Note> {
    config::is_debug().then(|| condition.note(Owner::this_thread()))
}

/// The most alternatives that a wait notes.
const MOST_NOTED: usize = 8;

/// The same for who waits for any of many.
fn note_waits(conditions: &impl Conditions) -> Result<[Option<Note>; MOST_NOTED]> {
    let mut notes = [const { None }; MOST_NOTED];
    if config::is_debug() {
        let owner = Owner::this_thread();
        for (index, note) in notes.iter_mut().enumerate().take(conditions.count()) {
            *note = Some(conditions.get(index)?.note_one_of(conditions.count(), owner));
        }
    }
    Ok(notes)
}

/// A list of conditions that are looked up one at a time: what C hands over needs no copy.
pub(crate) trait Conditions {
    /// How many there are; at least one.
    fn count(&self) -> usize;
    /// The condition at `index`, below `count`.
    fn get(&self, index: usize) -> Result<Condition<'_>>;
}

/// Waits until one of the conditions is met, and tells which. One that is met counts before one
/// that cannot be met any more, which ends the wait with its error.
///
/// All are looked at, and announced to, once. After that the bells tell who rang, and only those
/// are looked at again: what the others were told still stands in their slots, for a signal that
/// takes an announcement away rings.
pub(crate) fn any(conditions: &impl Conditions, deadline: Deadline) -> Result<usize> {
    if let Some(answer) = look_at_all(conditions, Announce::No)? {
        return answer;
    }
    if deadline == Deadline::POLL {
        return Err(Error::TimedOut);
    }
    let mut bells = Bells::of(conditions)?;
    bells.listen();
    if let Some(answer) = look_at_all(conditions, Announce::Yes)? {
        return answer;
    }
    let index = Index::of(conditions, &bells)?;
    let _notes = note_waits(conditions)?;
    loop {
        let rest = bells.sleep(deadline)?;
        if rest == Rest::Over {
            break;
        }
        let mut look = Look::default();
        let known = rest != Rest::Slice && bells.look_at_who_rang(conditions, &index, &mut look)?;
        if !known && look.met.is_none() {
            bells.listen();
            look.at_all(conditions, Announce::Yes)?;
        }
        if look.met.is_none() && look.failure.is_some() {
            // Another may be met and have had no time, or no way, to ring. That counts before a
            // failure.
            look.at_all(conditions, Announce::No)?;
        }
        if let Some(answer) = look.answer() {
            return answer;
        }
    }
    look_at_all(conditions, Announce::No)?.unwrap_or(Err(Error::TimedOut))
}

/// Whether a look at a condition also leaves word that somebody waits for it.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Announce {
    Yes,
    No,
}

/// What was found among conditions of which one is enough.
#[derive(Default)]
struct Look {
    met: Option<usize>,
    failure: Option<Error>,
}

impl Look {
    /// Looks at each condition until one is met.
    fn at_all(&mut self, conditions: &impl Conditions, announce: Announce) -> Result<()> {
        for index in 0..conditions.count() {
            if self.met.is_some() {
                break;
            }
            let condition = conditions.get(index)?;
            if announce == Announce::Yes {
                condition.announce();
            }
            self.at(index, condition);
        }
        Ok(())
    }

    /// Looks at a condition that was announced before, and if it is still not met, announces it
    /// again. A bit that nobody needs costs the next signal a system call.
    fn again_at(&mut self, index: usize, condition: Condition<'_>) {
        if !self.at(index, condition) {
            condition.announce();
            self.at(index, condition);
        }
    }

    fn at(&mut self, index: usize, condition: Condition<'_>) -> bool {
        match condition.met() {
            Ok(true) => self.met = Some(index),
            Ok(false) => return false,
            Err(error) => self.failure = self.failure.or(Some(error)),
        }
        true
    }

    fn answer(self) -> Option<Result<usize>> {
        self.met.map(Ok).or(self.failure.map(Err))
    }
}

fn look_at_all(conditions: &impl Conditions, announce: Announce) -> Result<Option<Result<usize>>> {
    let mut look = Look::default();
    look.at_all(conditions, announce)?;
    Ok(look.answer())
}

/// Which conditions are about a slot.
enum Index {
    /// Found by going through all of them: short lists, and what to do without memory.
    Scan,
    /// (number of the page in [`Bells`], slot, number of the condition), sorted.
    Sorted(Vec<(usize, u32, usize)>),
}

/// Lists up to this long need no memory.
const SCAN_MAX: usize = 128;

impl Index {
    fn of(conditions: &impl Conditions, bells: &Bells<'_>) -> Result<Index> {
        let mut entries = Vec::new();
        // A crowd of pages is looked at as a whole anyway.
        if conditions.count() <= SCAN_MAX
            || bells.crowded
            || entries.try_reserve_exact(conditions.count()).is_err()
        {
            return Ok(Index::Scan);
        }
        for number in 0..conditions.count() {
            let fence = conditions.get(number)?.fence;
            entries.push((
                bells.number_of(fence.page()).ok_or(Error::Unexpected)?,
                fence.index(),
                number,
            ));
        }
        entries.sort_unstable();
        Ok(Index::Sorted(entries))
    }

    /// Whether asking it for what may be hundreds of slots takes less than looking at everything
    /// once.
    fn is_quick(&self, count: usize) -> bool {
        matches!(self, Index::Sorted(_)) || count <= SCAN_MAX
    }

    /// Has `look` look at every condition about a slot of a page.
    fn look_at(
        &self,
        (number, page): (usize, &Page),
        slot: u32,
        conditions: &impl Conditions,
        look: &mut Look,
    ) -> Result<()> {
        match self {
            Index::Scan => {
                for entry in 0..conditions.count() {
                    let condition = conditions.get(entry)?;
                    if condition.fence.index() == slot && std::ptr::eq(condition.fence.page(), page)
                    {
                        look.again_at(entry, condition);
                    }
                }
            }
            Index::Sorted(entries) => {
                let first = entries.partition_point(|entry| (entry.0, entry.1) < (number, slot));
                for entry in entries
                    .iter()
                    .skip(first)
                    .take_while(|entry| (entry.0, entry.1) == (number, slot))
                {
                    look.again_at(entry.2, conditions.get(entry.2)?);
                }
            }
        }
        Ok(())
    }
}

/// Waits until each of the conditions was met. One that cannot be met any more ends the wait with
/// its error, whichever it is.
///
/// The wait goes through the list once, and announces itself only to the fence it has got to: those
/// behind it may go on without waking anybody. What is reached stays reached; of other conditions
/// it counts how they are when their turn comes. Failures ring the bell unasked.
pub(crate) fn all(conditions: &impl Conditions, deadline: Deadline) -> Result<()> {
    let count = conditions.count();
    let first_unmet = |from: usize| -> Result<usize> {
        for index in from..count {
            if !conditions.get(index)?.met()? {
                return Ok(index);
            }
        }
        Ok(count)
    };
    let any_failure =
        |from: usize| (from..count).try_for_each(|index| conditions.get(index)?.met().map(drop));

    let mut at = first_unmet(0)?;
    any_failure(at)?;
    if at == count {
        return Ok(());
    }
    if deadline == Deadline::POLL {
        return Err(Error::TimedOut);
    }
    let mut bells = Bells::of(conditions)?;
    let mut noted = None;
    while at < count {
        if bells.listen() {
            any_failure(at)?;
        }
        let condition = conditions.get(at)?;
        if condition.met()? {
            // Met before it was announced: nobody needs to be woken for it.
            at = first_unmet(at + 1)?;
            continue;
        }
        condition.announce();
        if condition.met()? {
            at = first_unmet(at + 1)?;
            continue;
        }
        if noted.as_ref().is_none_or(|(noted_at, _)| *noted_at != at) {
            // The old note first: it may be its record that the new one takes.
            drop(noted.take());
            noted = Some((at, note_wait(&condition)));
        }
        if bells.sleep(deadline)? == Rest::Over {
            return if first_unmet(at)? == count { Ok(()) } else { Err(Error::TimedOut) };
        }
    }
    Ok(())
}

/// The bells of the pages whose fences a wait is for.
struct Bells<'a> {
    rung: [Option<Rung<'a>>; WAITV_MAX],
    count: usize,
    /// The pages are more than one sleep can listen to.
    crowded: bool,
    /// Not everything that is waited for rings: a crowd, or a fence that a device writes.
    sliced: bool,
    /// One of the pages cannot be written to; and what was read before looking at its fences.
    may_be_orphaned: bool,
    orphans: u32,
    began: u64,
}

/// How a sleep on bells ended.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Rest {
    /// A bell rang.
    Rang,
    /// It is time to look at what does not ring.
    Slice,
    /// The deadline passed.
    Over,
}

/// A bell, and what was read there before looking at the fences.
struct Rung<'a> {
    page: &'a Page,
    sequence: u32,
    failures: u32,
}

impl<'a> Bells<'a> {
    fn of(conditions: &'a impl Conditions) -> Result<Bells<'a>> {
        let most = if futex::has_waitv() { WAITV_MAX } else { 1 };
        let began = time::now();
        let mut bells = Bells {
            rung: [const { None }; WAITV_MAX],
            count: 0,
            crowded: false,
            sliced: false,
            may_be_orphaned: false,
            orphans: 0,
            began,
        };
        for index in 0..conditions.count() {
            let fence = conditions.get(index)?.fence;
            bells.sliced |= fence.is_device();
            let page = fence.page();
            bells.may_be_orphaned |= !page.is_writable();
            // Most recently added first: neighbours in a list tend to share their page.
            if bells
                .rung
                .iter()
                .take(bells.count)
                .flatten()
                .rev()
                .any(|rung| std::ptr::eq(rung.page, page))
            {
                continue;
            }
            match bells.rung.get_mut(bells.count) {
                Some(free) if bells.count < most => {
                    *free = Some(Rung { page, sequence: 0, failures: 0 });
                    bells.count += 1;
                }
                _ => (bells.crowded, bells.sliced) = (true, true),
            }
        }
        Ok(bells)
    }

    /// W1 for every bell. To be called before announcing oneself to any slot. Tells whether a fence
    /// of these pages may have failed since the last time.
    fn listen(&mut self) -> bool {
        let mut failed = self.crowded | self.hear_of_orphans();
        for rung in self.rung.iter_mut().flatten() {
            rung.sequence = rung.page.bell().sequence().load(Ordering::Acquire);
            let failures = rung.page.bell().failures();
            failed |= failures != rung.failures;
            rung.failures = failures;
        }
        failed
    }

    /// Listens again, and looks at the conditions about the slots that rang since the last time.
    /// False if the bells cannot tell which those are.
    fn look_at_who_rang(
        &mut self,
        conditions: &impl Conditions,
        index: &Index,
        look: &mut Look,
    ) -> Result<bool> {
        if self.crowded || !index.is_quick(conditions.count()) {
            return Ok(false);
        }
        let mut known = !self.hear_of_orphans();
        for (number, rung) in self.rung.iter_mut().flatten().enumerate() {
            let heard = rung.sequence;
            // W1 for this page: before announcing to any of its slots again.
            rung.sequence = rung.page.bell().sequence().load(Ordering::Acquire);
            match rung.page.bell().rang(heard, rung.sequence) {
                None => known = false,
                Some(rings) => {
                    for slot in rings {
                        match slot {
                            None => known = false,
                            Some(slot) => {
                                index.look_at((number, rung.page), slot, conditions, look)?
                            }
                        }
                    }
                }
            }
        }
        Ok(known)
    }

    /// W1 of orphans.rs. Tells whether a fence of these pages may have lost its signaller since the
    /// last time.
    fn hear_of_orphans(&mut self) -> bool {
        let heard = if self.may_be_orphaned { owner_death::heard() } else { 0 };
        std::mem::replace(&mut self.orphans, heard) != heard
    }

    fn number_of(&self, page: &Page) -> Option<usize> {
        self.rung.iter().flatten().position(|rung| std::ptr::eq(rung.page, page))
    }

    /// Sleeps until one of the bells rang since `listen`.
    ///
    /// A kernel before 5.16 (or a sandbox) without futex_waitv and several pages, or more than 128
    /// pages: nothing can sleep on all of them. Nor can anything sleep for a device that wakes
    /// nobody. Then the sleep is cut into slices.
    fn sleep(&mut self, deadline: Deadline) -> Result<Rest> {
        let has_waitv = futex::has_waitv();
        // The sleep has to have room for one word more.
        let is_deaf = self.may_be_orphaned && (self.count == WAITV_MAX || !has_waitv);
        let sliced = self.sliced || is_deaf;
        let until = if sliced {
            deadline.min(device_notifier::slice(self.began, time::now()))
        } else {
            deadline
        };
        Ok(match self.sleep_listening(has_waitv, until)? {
            Sleep::TimedOut if until == deadline => Rest::Over,
            // Also after a wake-up: a peer that wakes us all the time must not keep us.
            _ if deadline.has_passed() => Rest::Over,
            Sleep::Woken => Rest::Rang,
            Sleep::TimedOut => Rest::Slice,
        })
    }

    fn sleep_listening(&mut self, has_waitv: bool, deadline: Deadline) -> Result<Sleep> {
        let word =
            |rung: &Rung<'a>| Word { word: rung.page.bell().sequence(), expected: rung.sequence };
        let orphans = if self.may_be_orphaned { owner_death::word(self.orphans) } else { None };
        let mut words = self.rung.iter().flatten().map(word).chain(orphans);
        if self.count > 1 && !self.crowded && !has_waitv {
            return Ok(self.lost_waitv());
        }
        if (self.count == 1 && orphans.is_none()) || !has_waitv {
            let only = words.next().ok_or(Error::Unexpected)?;
            return futex::wait(only.word, only.expected, NonZeroU32::MAX, deadline);
        }
        match futex::wait_many(words, deadline) {
            Err(error) if futex::lost_waitv(error) => Ok(self.lost_waitv()),
            slept => slept,
        }
    }

    /// A sandbox has closed around us, or around another thread, since we asked: look at
    /// everything, and go on without.
    fn lost_waitv(&mut self) -> Sleep {
        (self.crowded, self.sliced) = (true, true);
        Sleep::Woken
    }
}
