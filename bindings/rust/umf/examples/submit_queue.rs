// SPDX-License-Identifier: MIT
//! A driver's submit queue. Each job waits for the frame of another queue and runs without a thread
//! that blocks. The work may be submitted before anyone has submitted what it waits for.

use std::sync::mpsc::{Sender, channel};
use umf::{Deadline, EventLoop, FenceFlags, Job, Page, PageFlags, Progress, Queue, QueueFlags};

struct Frame {
    number: u64,
    released: Sender<u64>,
}

impl Job for Frame {
    /// Submits the commands to the hardware. Here they are done at once.
    fn run(&mut self) -> umf::Result<Progress> {
        println!("frame {} runs", self.number);
        Ok(Progress::Done) // the queue signals the fence of the job
    }

    fn release(self, result: umf::Result<()>) {
        if let Err(error) = result {
            println!("frame {} did not run: {error}", self.number);
        }
        // The receiver is there as long as main() runs.
        let _ = self.released.send(self.number);
    }
}

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let page = Page::create(64, PageFlags::NONE)?;
    let acquired = page.create_fence(0, FenceFlags::NONE)?;
    let done = page.create_fence(0, FenceFlags::NONE)?;
    let event_loop = EventLoop::with_thread()?;
    let queue = Queue::create(&event_loop, QueueFlags::NONE)?;
    let (released, releases) = channel();
    for number in 1..=3 {
        let frame = Frame { number, released: released.clone() };
        queue.submit(&[acquired.reaches(number)], &[done.signals(number)], frame)?;
    }
    acquired.signal(2)?;
    done.wait(2, Deadline::NEVER)?;
    drop(queue); // cancels frame 3, whose wait is not met
    drop(event_loop); // from here on nothing runs
    println!("{} jobs released", releases.try_iter().count());
    Ok(())
}
