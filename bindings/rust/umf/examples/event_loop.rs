// SPDX-License-Identifier: MIT
//! A compositor's event loop. The library's descriptor is one of many in an epoll set: a surface is
//! shown when its fence is reached, and no thread blocks.

use rustix::event::{Timespec, epoll};
use std::process::{Command, Stdio};
use std::sync::mpsc::channel;
use std::{env, error::Error, io};
use umf::{DispatchLoop, FenceFlags, Page, PageFlags, WaitFlags};

const LOOP: epoll::EventData = epoll::EventData::new_u64(1);

/// The client renders one frame, and fails the other.
fn render(page: &Page) -> umf::Result<()> {
    page.open_fence(0)?.signal(1)?;
    page.open_fence(1)?.set_error(umf::Error::Failed)
}

fn main() -> Result<(), Box<dyn Error>> {
    if env::args().len() > 1 {
        return Ok(render(&Page::import(io::stdin())?)?);
    }
    let page = Page::create(64, PageFlags::NONE)?;
    let event_loop = DispatchLoop::create()?;
    let (shown, surfaces) = channel();
    let mut fences = Vec::new();
    for name in ["window", "popup"] {
        let fence = page.create_fence(0, FenceFlags::NONE)?;
        let shown = shown.clone();
        // The watch goes on by itself. Keep the handle to cancel it when the surface goes away.
        event_loop.watch(fence.reaches(1), WaitFlags::NONE, move |result| {
            // A client that failed or died keeps the image that it has.
            let _ = shown.send((name, result));
        })?;
        fences.push(fence);
    }
    let epoll = epoll::create(epoll::CreateFlags::CLOEXEC)?;
    epoll::add(&epoll, &event_loop, LOOP, epoll::EventFlags::IN)?;
    let mut client = Command::new(env::current_exe()?);
    let mut client = client.arg("client").stdin(Stdio::from(page.export()?)).spawn()?;

    let (mut left, patience) = (fences.len(), Timespec { tv_sec: 5, tv_nsec: 0 });
    while left > 0 {
        let mut ready = Vec::with_capacity(4);
        epoll::wait(&epoll, rustix::buffer::spare_capacity(&mut ready), Some(&patience))?;
        if ready.is_empty() {
            return Err("nothing happened".into());
        }
        if ready.iter().any(|event| event.data.u64() == LOOP.u64()) {
            event_loop.dispatch()?;
        }
        for (name, result) in surfaces.try_iter() {
            println!("{name}: {result:?}");
            left -= 1;
        }
    }
    client.wait()?;
    Ok(())
}
