// SPDX-License-Identifier: MIT
//! Pages, fences and blocking waits.

#![allow(clippy::panic, clippy::unwrap_used)]

mod common;

use common::{LONG, page_and_fence};
use std::fs::File;
use std::os::fd::{AsFd, AsRawFd};
use std::os::unix::net::UnixStream;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, Instant};
use umf::{
    Deadline, Device, Error, EventLoop, Fence, FenceFlags, GraphFormat, Notifier, Op, Page,
    PageFlags, Queue, Syncobj, Update, WaitFlags, WaitSet, Watch, wait_all, wait_any,
};

fn is_send_and_sync<T: Send + Sync>() {}

#[test]
fn handles_go_to_other_threads() {
    is_send_and_sync::<(Page, Fence, Notifier, Device, EventLoop, Watch, Syncobj, Queue)>();
    is_send_and_sync::<(WaitSet, umf::EntryId, umf::Ready)>();
    is_send_and_sync::<(umf::DispatchLoop, umf::Condition<'_>, umf::Signal<'_>, Error)>();
}

#[test]
fn the_linked_library_is_the_one_of_this_version() {
    assert_eq!(umf::version().0, umf::sys::UMF_VERSION_MAJOR);
    assert_eq!(umf::version().1, umf::sys::UMF_VERSION_MINOR);
    let caps = umf::caps().unwrap();
    assert_eq!(caps.max_fences, umf::sys::UMF_PAGE_MAX_FENCES);
    assert_eq!(caps.max_waits, umf::sys::UMF_WAIT_MAX);
    umf::set_spin(10, Duration::from_micros(50)).unwrap();
    assert_eq!(umf::set_spin(10, Duration::MAX), Err(Error::InvalidArgument));
}

#[test]
fn a_wait_set_reports_what_is_met_until_it_is_modified() {
    let (page, fence) = page_and_fence();
    let other = page.create_fence(0, FenceFlags::NONE).unwrap();
    let set = WaitSet::create().unwrap();
    let id = set.add(&fence.reaches(1), WaitFlags::NONE, 1).unwrap();
    let failing = set.add(&other.reaches(1), WaitFlags::NONE, 2).unwrap();
    assert_eq!(set.wait(8, Deadline::NOW), Err(Error::TimedOut));
    let signaler = fence.clone();
    let thread = thread::spawn(move || signaler.signal(1));
    for _ in 0..2 {
        let ready = set.wait(8, LONG).unwrap();
        assert_eq!((ready.len(), ready[0].id, ready[0].user_data), (1, id, 1));
        assert_eq!(ready[0].result, Ok(()));
    }
    thread.join().unwrap().unwrap();
    assert_eq!(set.modify(id, &fence.reaches(2), WaitFlags::NONE), Ok(()));
    other.set_error(Error::Failed).unwrap();
    let ready = set.wait(8, LONG).unwrap();
    assert_eq!((ready.len(), ready[0].id, ready[0].result), (1, failing, Err(Error::Failed)));
    assert_eq!(set.remove(failing), Ok(()));
    assert_eq!(set.remove(failing), Err(Error::NotFound));
    assert_eq!(set.modify(id, &other.reaches(1), WaitFlags::NONE), Err(Error::InvalidArgument));
    assert_eq!(set.wait(0, Deadline::NOW), Err(Error::InvalidArgument));
    // The system may promise so much memory, or not.
    assert!(set.wait(u32::MAX as usize, Deadline::NOW).is_err());
}

#[test]
fn a_trace_shows_the_signals_between_start_and_stop() {
    let path = std::env::temp_dir().join(format!("umf-trace-{}", std::process::id()));
    let (_page, fence) = page_and_fence();
    umf::start_trace(&path).unwrap();
    fence.signal(1).unwrap();
    umf::stop_trace();
    fence.signal(2).unwrap();
    let trace = std::fs::read_to_string(&path).unwrap();
    std::fs::remove_file(&path).unwrap();
    let index = fence.index();
    assert!(trace.starts_with("[\n") && trace.contains(&format!(":{index} = 1\"")), "{trace}");
    assert!(!trace.contains(&format!(":{index} = 2\"")), "{trace}");
    assert_eq!(umf::start_trace("/dev/null"), Err(Error::InvalidArgument));
}

#[test]
fn a_log_handler_is_dropped_when_another_takes_its_place() {
    let counted = Arc::new(());
    let clone = counted.clone();
    umf::set_log_handler(move |_| assert_eq!(Arc::strong_count(&clone), 2)).unwrap();
    assert_eq!(Arc::strong_count(&counted), 2);
    umf::reset_log_handler().unwrap();
    assert_eq!(Arc::strong_count(&counted), 1);
}

#[test]
fn blocking_waits_can_be_recorded_in_a_page_that_may_be_written() {
    let (page, _fence) = page_and_fence();
    page.record_waits(true).unwrap();
    page.record_waits(false).unwrap();
    let seen = Page::inspect(page.export().unwrap()).unwrap();
    assert_eq!(seen.record_waits(true), Err(Error::AccessDenied));
}

#[test]
fn the_last_handle_ends_the_fence() {
    let (page, fence) = page_and_fence();
    let index = fence.index();
    let second = fence.clone();
    drop(fence);
    second.signal(3).unwrap();
    assert_eq!(page.open_fence(index).unwrap().value(), 3);
    drop(second);
    assert_eq!(page.open_fence(index).unwrap_err(), Error::NotFound);
}

#[test]
fn a_fence_that_ended_keeps_its_slot() {
    let page = Page::create(1, PageFlags::NONE).unwrap();
    let fence = page.create_fence(0, FenceFlags::DEVICE).unwrap();
    fence.end().unwrap();
    assert_eq!(fence.end().unwrap_err(), Error::Stale);
    assert_eq!(page.create_fence(0, FenceFlags::NONE).unwrap_err(), Error::NoSpace);
    drop(fence);
    page.create_fence(0, FenceFlags::NONE).unwrap();
}

#[test]
fn a_deadline_needs_a_kernel_fence() {
    let (_page, fence) = page_and_fence();
    let soon = Duration::from_millis(1);
    assert_eq!(fence.set_deadline(1, soon).unwrap_err(), Error::NotFound);
    fence.signal(1).unwrap();
    fence.set_deadline(1, soon).unwrap();
}

#[test]
fn pages_and_fences_have_names() {
    let (page, fence) = page_and_fence();
    assert_eq!((page.name(), page.query_name(fence.index())), (Ok(None), Ok(None)));
    page.set_name("frames").unwrap();
    fence.set_name(&"x".repeat(100)).unwrap();
    assert_eq!(page.name().unwrap().unwrap(), "frames");
    assert_eq!(page.query_name(fence.index()).unwrap().unwrap(), "x".repeat(55));
    fence.set_name("\"é").unwrap();
    assert_eq!(page.query_name(fence.index()).unwrap().unwrap(), "???");
}

#[test]
fn a_page_fails_as_a_whole() {
    let (page, fence) = page_and_fence();
    let other = page.create_fence(0, FenceFlags::NONE).unwrap();
    page.set_error(Error::DeviceGone).unwrap();
    for fence in [fence, other] {
        assert_eq!(fence.error().unwrap(), Some(Error::DeviceGone));
    }
}

#[test]
fn a_value_is_in_the_memory_of_its_page() {
    let (page, fence) = page_and_fence();
    let memory = page.writable_memory().unwrap();
    let offset = usize::try_from(fence.offset().unwrap()).unwrap();
    assert_eq!(page.memory().unwrap(), memory);
    assert!(memory.len() >= offset + 8);
    // SAFETY: The value lies in the memory, which lives as long as `page`. It is an atomic word.
    let value = unsafe { memory.cast::<u8>().add(offset).cast::<AtomicU64>().as_ref() };
    value.store(4, Ordering::Release);
    assert!(fence.is_reached(4).unwrap());
    let inspected = Page::inspect(page.export().unwrap()).unwrap();
    assert_eq!(inspected.writable_memory().unwrap_err(), Error::AccessDenied);
}

#[test]
fn a_fence_keeps_its_page() {
    let (page, fence) = page_and_fence();
    drop(page);
    fence.signal(1).unwrap();
    assert!(fence.is_reached(1).unwrap());
}

#[test]
fn a_handle_passes_through_c() {
    let (_page, fence) = page_and_fence();
    let raw = fence.into_raw();
    // SAFETY: The pointer is a fence with a reference, which goes to the new handle.
    let fence = unsafe { Fence::from_raw(raw) };
    assert_eq!(fence.as_raw(), raw.as_ptr());
    fence.signal(1).unwrap();
}

#[test]
fn an_exported_page_is_the_same_page() {
    let (page, fence) = page_and_fence();
    let fd = page.export().unwrap();
    let imported = Page::import(&fd).unwrap();
    assert_eq!(imported.fence_count(), 8);
    imported.open_fence(fence.index()).unwrap().signal(5).unwrap();
    assert_eq!(fence.value(), 5);
    assert_eq!(fence.page().as_raw(), page.as_raw());
    assert_eq!(Page::import_limited(&fd, 7).unwrap_err(), Error::TooLarge);
    assert!(Page::import_limited(&fd, 8).is_ok());
    // SAFETY: The call asks about a descriptor, whichever it is.
    let flags = unsafe { libc::fcntl(fd.as_raw_fd(), libc::F_GETFD) };
    assert_eq!(flags & libc::FD_CLOEXEC, libc::FD_CLOEXEC);
}

#[test]
fn errors_are_those_of_the_library() {
    assert_eq!(Page::create(0, PageFlags::NONE).unwrap_err(), Error::InvalidArgument);
    let null = File::open("/dev/null").unwrap();
    assert_eq!(Page::import(&null).unwrap_err(), Error::InvalidArgument);
    assert_eq!(Device::create(&null).unwrap_err(), Error::InvalidArgument);
    let (_page, fence) = page_and_fence();
    fence.signal(2).unwrap();
    assert_eq!(fence.signal(1), Err(Error::InvalidArgument));
    assert_eq!(fence.wait(3, Deadline::NOW), Err(Error::TimedOut));
    assert_eq!(fence.attach_sync_file(3, &null), Err(Error::InvalidArgument));
    assert_eq!(fence.import_sync_file(3, &null, Deadline::NOW), Err(Error::InvalidArgument));
    let error = std::io::Error::from(Error::TimedOut);
    assert_eq!(error.raw_os_error(), Some(libc::ETIME));
}

#[test]
fn every_errno_comes_back() {
    for errno in 1..=4095 {
        assert_eq!(Error::from_errno(errno).errno(), errno);
    }
}

#[test]
fn a_failed_fence_tells_its_error() {
    let (_page, fence) = page_and_fence();
    assert_eq!(fence.error(), Ok(None));
    fence.set_error(Error::Other(libc::ENXIO)).unwrap();
    assert_eq!(fence.error(), Ok(Some(Error::Other(libc::ENXIO))));
    assert_eq!(fence.wait(1, Deadline::NEVER), Err(Error::Failed));
    assert_eq!(fence.set_error(Error::Other(0)), Err(Error::InvalidArgument));
}

#[test]
fn a_signal_ends_waits_for_one_any_and_all() {
    let (page, first) = page_and_fence();
    let second = page.create_fence(0, FenceFlags::NONE).unwrap();
    let conditions = [first.reaches(1), second.reaches(1)];
    thread::scope(|scope| {
        let one = scope.spawn(|| second.wait(1, LONG));
        let any = scope.spawn(|| wait_any(&conditions, WaitFlags::NONE, LONG));
        let all = scope.spawn(|| wait_all(&conditions, WaitFlags::NONE, Instant::now() + LONG));
        second.signal(1).unwrap();
        assert_eq!(one.join().unwrap(), Ok(()));
        assert_eq!(any.join().unwrap(), Ok(1));
        first.signal(1).unwrap();
        assert_eq!(all.join().unwrap(), Ok(()));
    });
}

#[test]
fn conditions_have_operators_and_masks() {
    let (_page, fence) = page_and_fence();
    fence.signal(0x15).unwrap();
    let met = |condition| wait_all(&[condition], WaitFlags::NONE, Deadline::NOW);
    assert_eq!(met(fence.reaches(0x15).with_op(Op::Eq)), Ok(()));
    assert_eq!(met(fence.reaches(0x15).with_op(Op::Gt)), Err(Error::TimedOut));
    assert_eq!(met(fence.reaches(0x15).with_op(Op::Ne)), Err(Error::TimedOut));
    assert_eq!(met(fence.reaches(0x15).with_op(Op::Lt)), Err(Error::OutOfRange));
    assert_eq!(met(fence.reaches(0x15).with_op(Op::Le)), Ok(()));
    assert_eq!(met(fence.reaches(0x05).with_op(Op::Eq).with_mask(0xf)), Ok(()));
    assert_eq!(wait_any(&[], WaitFlags::NONE, Deadline::NOW), Err(Error::InvalidArgument));
}

#[test]
fn an_unordered_fence_takes_any_value_and_is_compared_as_asked() {
    let page = Page::create(1, PageFlags::NONE).unwrap();
    let fence = page.create_fence(7, FenceFlags::UNORDERED).unwrap();
    assert_eq!(fence.update(Update::Subtract(8)), Ok(7));
    let met = |condition| wait_all(&[condition], WaitFlags::NONE, Deadline::NOW);
    assert_eq!(met(fence.reaches(0).with_op(Op::Lt).signed()), Ok(()));
    assert_eq!(met(fence.reaches(0).signed().with_op(Op::Ge)), Err(Error::TimedOut));
    assert_eq!(fence.update(Update::Exchange(0b1100)), Ok(u64::MAX));
    assert_eq!(fence.update(Update::And(0b0110)), Ok(0b1100));
    assert_eq!(fence.update(Update::Or(0b0011)), Ok(0b0100));
    assert_eq!(fence.update(Update::Xor(0b0001)), Ok(0b0111));
    assert_eq!(fence.update(Update::Add(4)), Ok(0b0110));
    assert_eq!(fence.update(Update::CompareExchange { expected: 9, new: 1 }), Ok(10));
    assert_eq!(fence.update(Update::CompareExchange { expected: 10, new: 1 }), Ok(10));
    assert_eq!(fence.signal(0), Ok(()));
    assert_eq!((fence.value(), fence.submit(3)), (0, Err(Error::InvalidArgument)));
    let (_page, ordered) = page_and_fence();
    assert_eq!(ordered.update(Update::Add(1)), Err(Error::InvalidArgument));
}

#[test]
fn a_wait_for_the_pending_value_ends_at_submission() {
    let (_page, fence) = page_and_fence();
    let submitted = || wait_all(&[fence.reaches(1)], WaitFlags::PENDING, Deadline::NOW);
    assert_eq!(submitted(), Err(Error::TimedOut));
    fence.submit(1).unwrap();
    assert_eq!(submitted(), Ok(()));
    assert_eq!((fence.value(), fence.pending_value()), (0, 1));
}

#[test]
fn a_read_only_page_refuses_its_importers_alone() {
    let page = Page::create(1, PageFlags::SINGLE_WRITER).unwrap();
    assert_eq!(page.flags(), PageFlags::SINGLE_WRITER);
    page.create_fence(0, FenceFlags::NONE).unwrap().signal(1).unwrap();
    assert_eq!(page.export_dma_buf().unwrap_err(), Error::AccessDenied);
    assert_eq!(page.reclaim(), Ok(0));
}

#[test]
fn a_page_with_timestamps_knows_when_a_value_was_signaled() {
    let page = Page::create(1, PageFlags::TIMESTAMPS).unwrap();
    assert_eq!(page.flags(), PageFlags::TIMESTAMPS);
    let fence = page.create_fence(0, FenceFlags::NONE).unwrap();
    assert_eq!(fence.timestamp(1), Err(Error::NotFound));
    fence.signal(1).unwrap();
    fence.signal(2).unwrap();
    assert!(fence.timestamp(1).unwrap() <= fence.timestamp(2).unwrap());
}

#[test]
fn a_drivers_memory_is_released_once() {
    let page = Page::create(2, PageFlags::NONE).unwrap();
    let memory = Arc::new(AtomicU64::new(4));
    let kept = Arc::clone(&memory);
    // SAFETY: The value lives as long as `kept`, which goes when the library has released it.
    let fence = unsafe {
        page.create_fence_in(memory.as_ptr().cast(), FenceFlags::NONE, move || drop(kept))
    }
    .unwrap();
    assert_eq!((fence.value(), fence.offset()), (4, None));
    memory.store(5, Ordering::Release);
    fence.notify().unwrap();
    assert_eq!(fence.wait(5, LONG), Ok(()));
    assert_eq!(page.open_fence(fence.index()).map(|fence| fence.value()), Ok(5));
    assert_eq!(Arc::strong_count(&memory), 2);
    drop(fence);
    assert_eq!(Arc::strong_count(&memory), 1);

    let kept = Arc::clone(&memory);
    // SAFETY: The call refuses the pointer.
    let refused =
        unsafe { page.create_fence_in(std::ptr::null(), FenceFlags::NONE, move || drop(kept)) };
    assert_eq!(refused.unwrap_err(), Error::InvalidArgument);
    assert_eq!(Arc::strong_count(&memory), 1);
}

#[test]
fn a_wait_sleeps_until_the_notifier_hears_the_device() {
    let page = Page::create(1, PageFlags::NONE).unwrap();
    let memory = Arc::new(AtomicU64::new(0));
    let (kept, device) = (Arc::clone(&memory), Arc::clone(&memory));
    // SAFETY: The value lives as long as `kept`, which goes when the library has released it.
    let fence = unsafe {
        page.create_fence_in(memory.as_ptr().cast(), FenceFlags::NONE, move || drop(kept))
    }
    .unwrap();
    let notifier = Notifier::create(move |_| device.store(1, Ordering::Release)).unwrap();
    assert_eq!(fence.set_notifier(&notifier), Ok(()));
    assert_eq!(page.set_notifier(&notifier), Ok(()));
    assert_eq!(fence.wait(1, LONG), Ok(()));
    assert_eq!(page.notify(), Ok(()));

    let null = File::open("/dev/null").unwrap();
    assert_eq!(Notifier::create_fd(null.as_fd()).unwrap_err(), Error::InvalidArgument);
    let (reader, _writer) = UnixStream::pair().unwrap();
    reader.set_nonblocking(true).unwrap();
    let other = Notifier::create_fd(reader.as_fd()).unwrap();
    assert_eq!(fence.set_notifier(&other), Err(Error::Already));
    drop((notifier, fence, page));
    while Arc::strong_count(&memory) > 1 {
        std::thread::yield_now();
    }
}

#[test]
fn the_graph_is_written() {
    let (mut reader, writer) = UnixStream::pair().unwrap();
    let deadlocks = umf::write_graph(&writer, GraphFormat::Dot).unwrap();
    drop(writer);
    let text = std::io::read_to_string(&mut reader).unwrap();
    assert_eq!(deadlocks, 0);
    assert!(text.starts_with("digraph"), "{text}");
}
