// SPDX-License-Identifier: MIT
//! A producer sends a fence over a socket. A consumer waits for it until the producer dies.

use rustix::{cmsg_space, net::*};
use std::io::{IoSlice, IoSliceMut, Result, stdin};
use std::os::{fd::AsFd, fd::OwnedFd, unix::net::UnixStream};
use std::{env, mem::MaybeUninit, process::Command, thread, time::Duration};
use umf::{EventLoop, FenceFlags, Page, PageFlags, Tie};

fn produce(socket: impl AsFd) -> Result<()> {
    let page = Page::create(64, PageFlags::NONE)?;
    let fence = page.create_fence(0, FenceFlags::NONE)?;
    let (fd, mut space) = (page.export()?, [MaybeUninit::uninit(); cmsg_space!(ScmRights(1))]);
    let (fds, mut rights) = ([fd.as_fd()], SendAncillaryBuffer::new(&mut space));
    rights.push(SendAncillaryMessage::ScmRights(&fds));
    let index = fence.index().to_ne_bytes();
    sendmsg(socket, &[IoSlice::new(&index)], &mut rights, SendFlags::empty())?;
    fence.signal(1)?;
    thread::sleep(Duration::MAX); // value 2 never comes: the consumer kills this process
    Ok(())
}

fn receive(socket: &UnixStream) -> Result<(u32, OwnedFd)> {
    let (mut index, mut space) = ([0; 4], [MaybeUninit::uninit(); cmsg_space!(ScmRights(1))]);
    let mut rights = RecvAncillaryBuffer::new(&mut space);
    recvmsg(socket, &mut [IoSliceMut::new(&mut index)], &mut rights, RecvFlags::CMSG_CLOEXEC)?;
    let fd = rights.drain().find_map(|message| match message {
        RecvAncillaryMessage::ScmRights(mut fds) => fds.next(),
        _ => None,
    });
    Ok((u32::from_ne_bytes(index), fd.ok_or(umf::Error::Protocol)?))
}

fn main() -> Result<()> {
    if env::args().len() > 1 {
        return produce(stdin());
    }
    let (ours, theirs) = UnixStream::pair()?;
    let theirs = OwnedFd::from(theirs); // moves on: the tie sees the end of the last one
    let mut producer = Command::new(env::current_exe()?).arg("produce").stdin(theirs).spawn()?;
    let (index, fd) = receive(&ours)?;
    let page = Page::import(fd)?;
    let (fence, event_loop) = (page.open_fence(index)?, EventLoop::with_thread()?);
    event_loop.tie_page(&page, &ours, Tie::Connection, ())?;
    println!("value 1: {:?}", fence.wait(1, Duration::from_secs(5)));
    println!("value 2: {:?}", fence.wait(2, Duration::from_millis(50)));
    producer.kill()?;
    println!("value 2: {:?}", fence.wait(2, Duration::from_secs(5)));
    producer.wait().map(drop)
}
