// SPDX-License-Identifier: MIT
//! A process waits for a fence that another one signals.

use std::process::{Command, Stdio};
use std::{env, error::Error, io, time::Duration};
use umf::{FenceFlags, Page, PageFlags};

fn main() -> Result<(), Box<dyn Error>> {
    if let Some(index) = env::args().nth(1) {
        // The "GPU": a process that signals when its work is done.
        let page = Page::import(io::stdin())?;
        return Ok(page.open_fence(index.parse()?)?.signal(7)?);
    }
    let page = Page::create(64, PageFlags::NONE)?; // shared memory for 64 fences
    let frame = page.create_fence(0, FenceFlags::NONE)?; // one of them, with the value 0
    let mut gpu = Command::new(env::current_exe()?);
    gpu.arg(frame.index().to_string()).stdin(Stdio::from(page.export()?));
    let mut gpu = gpu.spawn()?;

    // A GPU that died, or never started, signals nothing: wait for 5 seconds at most.
    frame.wait(7, Duration::from_secs(5))?;
    println!("frame 7: done");
    gpu.wait()?;
    Ok(())
}
