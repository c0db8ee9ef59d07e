// SPDX-License-Identifier: MIT
//! The examples print what they should. Cargo builds them before this test.

#![allow(clippy::panic, clippy::unwrap_used)]

use std::path::PathBuf;
use std::process::{Command, Output};

fn run(name: &str) -> Output {
    let test = std::env::current_exe().unwrap();
    let program = PathBuf::from(test.parent().unwrap()).join("../examples").join(name);
    Command::new(program).output().unwrap()
}

#[track_caller]
fn prints(name: &str, lines: &[&str]) {
    let output = run(name);
    let printed = String::from_utf8(output.stdout).unwrap();
    assert_eq!(printed.lines().collect::<Vec<_>>(), lines);
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
}

#[test]
fn a_process_waits_for_another() {
    prints("first", &["frame 7: done"]);
}

#[test]
fn waits_end_when_the_producer_dies() {
    let lines = ["value 1: Ok(())", "value 2: Err(TimedOut)", "value 2: Err(OwnerDied)"];
    prints("two_processes", &lines);
}

#[test]
fn jobs_run_when_their_waits_are_met() {
    prints(
        "submit_queue",
        &[
            "frame 1 runs",
            "frame 2 runs",
            "frame 3 did not run: it was canceled",
            "3 jobs released",
        ],
    );
}

#[test]
fn a_loop_is_part_of_an_epoll_set() {
    let output = run("event_loop");
    let printed = String::from_utf8(output.stdout).unwrap();
    // If several watches are due, their order is not defined.
    let mut lines: Vec<_> = printed.lines().collect();
    lines.sort_unstable();
    assert_eq!(lines, ["popup: Err(Failed)", "window: Ok(())"]);
    assert!(output.status.success());
}

#[test]
fn fences_convert_where_the_machine_can() {
    if umf::caps().unwrap().flags.contains(umf::CapFlags::UDMABUF) {
        prints("convert", &["fence to sync_file: done", "sync_file to fence: value 7"]);
    } else {
        assert_eq!(run("convert").status.code(), Some(77));
    }
}

#[test]
fn a_device_writes_a_fence() {
    prints("device_fence", &["the device wrote 1"]);
}

#[test]
fn the_two_process_story_takes_40_lines() {
    let source = include_str!("../examples/two_processes.rs");
    let body = source.split_once("\nfn ").unwrap().1;
    let lines = body.lines().filter(|line| !line.trim().is_empty()).count();
    assert!(lines <= 40, "{lines} lines after the imports");
}
