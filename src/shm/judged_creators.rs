// SPDX-License-Identifier: MIT
//! Which of the processes that the slots of a page name are known to be dead.

#![forbid(unsafe_code)]

use super::creator::Creator;
use crate::error::{Error, Result};

/// The most processes that one call of `reclaim` asks the kernel about. A peer can name another one
/// in each slot.
const MOST_QUESTIONS: usize = 4096;

/// The processes that one call of `reclaim` asked about, sorted, and whether each is dead.
pub(super) struct JudgedCreators {
    answers: Vec<(Creator, bool)>,
}

impl JudgedCreators {
    /// For a page of so many fences.
    pub(super) fn new(fence_count: u32) -> Result<JudgedCreators> {
        let mut answers = Vec::new();
        let most = MOST_QUESTIONS.min(fence_count as usize);
        answers.try_reserve_exact(most).map_err(|_| Error::NoMemory)?;
        Ok(JudgedCreators { answers })
    }

    pub(super) fn is_dead(&mut self, creator: Creator) -> bool {
        let place = match self.answers.binary_search_by_key(&creator, |(known, _)| *known) {
            Ok(place) => return self.answers.get(place).is_some_and(|(_, is_dead)| *is_dead),
            Err(place) => place,
        };
        if self.answers.len() == self.answers.capacity() {
            return creator == Creator::ABANDONED;
        }
        let is_dead = creator.is_dead();
        self.answers.insert(place, (creator, is_dead));
        is_dead
    }
}

#[cfg(test)]
mod tests {
    use super::super::layout::MAX_FENCES;
    use super::*;
    use crate::sys::process::{self, Identity};

    #[test]
    fn a_reclaim_asks_about_a_limited_number_of_processes() -> Result<()> {
        let (this, _) = process::identity();
        // Each name of a living process is another one.
        let living = |number| Creator::of(Identity { start_time: number, ..this });
        let dead = |number: u32| Creator::of(Identity { pid: (1 << 22) - number, ..this });
        let knows_itself = this.namespace != 0;
        let mut judged = JudgedCreators::new(MAX_FENCES)?;
        assert_eq!(judged.is_dead(dead(1)), knows_itself);
        let most = judged.answers.capacity() as u64;
        assert!(most < 1 << 14 && (1..most).all(|number| !judged.is_dead(living(number))));
        // It remembers these, and asks about no more.
        assert_eq!((judged.is_dead(dead(1)), judged.is_dead(living(1))), (knows_itself, false));
        assert!(!judged.is_dead(dead(2)) && judged.is_dead(Creator::ABANDONED));
        assert_eq!(JudgedCreators::new(1)?.is_dead(dead(2)), knows_itself);
        Ok(())
    }
}
