// SPDX-License-Identifier: MIT
//! When each condition of a wait for many began: see shm/rewind.rs.

use super::condition::{Condition, Conditions};
use crate::error::Result;
use crate::shm::rewind::{self, Moment};
use crate::sys::list::List;

/// The conditions of a wait that has begun.
pub(super) struct Begun<'a, C> {
    conditions: &'a C,
    /// One for each condition, up to the last one on an unordered fence. Without memory, those at
    /// the end are met by present values alone.
    moments: List<Moment, SHORT, MOST>,
}

/// Lists up to this long need no memory.
const SHORT: usize = 8;

/// As many as a wait has.
const MOST: usize = 1 << 20;

impl<'a, C: Conditions> Begun<'a, C> {
    pub(super) fn new(conditions: &'a C) -> Result<Begun<'a, C>> {
        let mut moments = List::new();
        for index in 0..conditions.count() {
            if conditions.get(index)?.fence.is_unordered() {
                begin(conditions, index, &mut moments)?;
            }
        }
        Ok(Begun { conditions, moments })
    }
}

/// Notes that the condition at `index` begins. The ones before it that have no moment need none.
#[cold]
fn begin(
    conditions: &impl Conditions,
    index: usize,
    moments: &mut List<Moment, SHORT, MOST>,
) -> Result<()> {
    let begun = conditions.get(index)?.begin().since;
    while moments.as_slice().len() < index && moments.push(rewind::NEVER).is_ok() {}
    if moments.as_slice().len() == index {
        let _ = moments.push(begun);
    }
    Ok(())
}

impl<C: Conditions> Conditions for Begun<'_, C> {
    fn count(&self) -> usize {
        self.conditions.count()
    }

    #[inline]
    fn get(&self, index: usize) -> Result<Condition<'_>> {
        let since = self.moments.as_slice().get(index).copied().unwrap_or(rewind::NEVER);
        Ok(Condition { since, ..self.conditions.get(index)? })
    }
}
