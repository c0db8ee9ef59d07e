// SPDX-License-Identifier: MIT
//! A fence that a device writes. The device is a thread here: it writes the value into the page,
//! and knows nothing else of the library. The interrupt handler of its driver wakes the waiters.

use rustix::mm::{MapFlags, ProtFlags, mmap, munmap};
use std::error::Error;
use std::sync::atomic::{AtomicU64, Ordering};
use std::{ptr, thread};
use umf::{Deadline, FenceFlags, Page, PageFlags};

fn main() -> Result<(), Box<dyn Error>> {
    let page = Page::create(64, PageFlags::NONE)?;
    let fence = page.create_fence(0, FenceFlags::DEVICE)?;

    // A GPU maps the page by Page::export_dma_buf(), or imports this mapping.
    let fd = page.export()?;
    let size = usize::try_from(rustix::fs::fstat(&fd)?.st_size)?;
    let offset = usize::try_from(fence.offset().ok_or("the value is not in the page")?)?;
    // SAFETY: A new mapping takes no memory that is in use.
    let mapping = unsafe {
        let both = ProtFlags::READ | ProtFlags::WRITE;
        mmap(ptr::null_mut(), size, both, MapFlags::SHARED, &fd, 0)?
    };
    // SAFETY: The offset is that of an aligned 8-byte value in the page, which is mapped until the
    // end of this function. All processes access it atomically.
    let value = unsafe { AtomicU64::from_ptr(mapping.cast::<u8>().add(offset).cast()) };

    // A device does not raise the pending value. The driver does, when it submits.
    fence.submit(1)?;
    thread::scope(|scope| {
        scope.spawn(|| {
            // The results of its work are visible before the value is.
            value.store(1, Ordering::Release);
            fence.notify() // what the driver does after the interrupt
        });
        fence.wait(1, Deadline::NEVER)
    })?;
    println!("the device wrote {}", fence.value());
    // SAFETY: Nothing refers to the mapping any more.
    unsafe { munmap(mapping, size)? };
    Ok(())
}
