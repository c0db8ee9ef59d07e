// SPDX-License-Identifier: MIT
//! Conversions in both directions: a fence becomes a sync_file, and a sync_file signals a fence.
//!
//!     convert [DRM_DEVICE]        without a device, it takes /dev/udmabuf

use std::process::ExitCode;
use std::sync::mpsc::channel;
use std::{env, error, fs::File, time::Duration};
use umf::{Deadline, Device, Error, EventLoop, FenceFlags, Page, PageFlags};

fn main() -> Result<ExitCode, Box<dyn error::Error>> {
    let drm = env::args().nth(1).map(File::open).transpose()?;
    let device = drm.as_ref().map(Device::create).transpose()?;
    let page = Page::create(64, PageFlags::NONE)?;
    let rendered = page.create_fence(0, FenceFlags::NONE)?;
    let shown = page.create_fence(0, FenceFlags::NONE)?;

    // No kernel fence waits for a userspace fence: before the value is reached, none is made.
    match rendered.export_sync_file(1, device.as_ref(), Deadline::NOW) {
        Err(Error::TimedOut) => {}
        Err(Error::NotSupported) => {
            println!("no device with syncobjs, and no /dev/udmabuf");
            return Ok(ExitCode::from(77));
        }
        other => return Err(format!("a sync_file before the signal: {other:?}").into()),
    }
    rendered.signal(1)?;
    let sync_file = rendered.export_sync_file(1, device.as_ref(), Deadline::NOW)?;
    println!("fence to sync_file: done");

    // The loop signals the fence when the sync_file signals. A blocking call would be
    // Fence::import_sync_file().
    let event_loop = EventLoop::with_thread()?;
    let (imported, result) = channel();
    event_loop.import_sync_file(&shown, 7, sync_file, move |result| {
        let _ = imported.send(result);
    })?;
    result.recv_timeout(Duration::from_secs(5))??;
    println!("sync_file to fence: value {}", shown.value());
    Ok(ExitCode::SUCCESS)
}
