// SPDX-License-Identifier: MIT
//! The registry and the references that it hands out, under loom: util/registry.rs and util/refs.rs
//! as they are, with their counts and the registry's mutex. An access to memory that is freed fails
//! (model/optional.rs).

use super::protocol::check;
use crate::error::Error;
use crate::util::optional::model_references;
use crate::util::refs::Ref;
use crate::util::registry::Registry;
use loom::cell::UnsafeCell;
use loom::thread;

loom::lazy_static! {
    static ref REGISTRY: Registry<u32, Entry> = Registry::modeled();
}

struct Entry {
    key: u32,
    number: u32,
    /// Read by those who have a reference, and written at the end.
    contents: UnsafeCell<()>,
}

impl Entry {
    fn new(key: u32, number: u32) -> Entry {
        Entry { key, number, contents: UnsafeCell::new(()) }
    }

    fn read(&self) {
        self.contents.with(|_| ());
    }
}

impl Drop for Entry {
    fn drop(&mut self) {
        self.contents.with_mut(|_| ());
        REGISTRY.forget(self.key, self);
    }
}

/// The entry of a key, which gets the number if it is made here.
fn open(key: u32, number: u32) -> Ref<Entry> {
    let entry = REGISTRY.get_or_make(key, |_| true, || Ok(Entry::new(key, number))).unwrap();
    entry.read();
    entry
}

fn check_references(model: impl Fn() + Sync + Send + 'static) {
    model_references();
    check(model);
}

#[test]
fn threads_that_open_and_close_a_key_share_no_entry_that_ended() {
    check_references(|| {
        let others = [1, 2].map(|number| thread::spawn(move || drop(open(7, number))));
        drop(open(7, 0));
        for other in others {
            other.join().unwrap();
        }
        assert!(REGISTRY.get(7).is_none());
    });
}

#[test]
fn a_key_that_is_open_has_one_entry() {
    check_references(|| {
        let first = open(7, 0);
        let other = thread::spawn(|| {
            let entry = open(7, 1);
            assert_eq!(entry.number, 0);
        });
        assert!(open(7, 2).is(&first));
        other.join().unwrap();
        drop(first);
        assert!(REGISTRY.get(7).is_none());
    });
}

#[test]
fn an_entry_that_ends_leaves_the_one_in_its_place_alone() {
    check_references(|| {
        let old = open(7, 0);
        let ends = thread::spawn(move || drop(old));
        let new = REGISTRY.get_or_make(7, |_| false, || Ok(Entry::new(7, 1))).unwrap();
        ends.join().unwrap();
        assert_eq!(new.number, 1);
        assert!(REGISTRY.get(7).is_some_and(|entry| entry.is(&new)));
    });
}

#[test]
fn a_list_of_all_entries_has_none_that_ended() {
    check_references(|| {
        let (kept, dropped) = (open(7, 0), open(8, 1));
        let ends = thread::spawn(move || drop(dropped));
        let all = REGISTRY.all().unwrap();
        all.iter().for_each(|entry| entry.read());
        assert!(all.iter().any(|entry| entry.is(&kept)) && all.len() <= 2);
        drop(all);
        ends.join().unwrap();
        assert!(REGISTRY.get(8).is_none());
    });
}

#[test]
fn an_entry_that_cannot_be_made_is_not_registered() {
    check_references(|| {
        let other = thread::spawn(|| drop(open(7, 1)));
        let failed = REGISTRY.get_or_make(7, |entry| entry.number == 2, || Err(Error::NoMemory));
        assert_eq!(failed.map(|entry| entry.number), Err(Error::NoMemory));
        other.join().unwrap();
        assert!(REGISTRY.get(7).is_none());
    });
}
