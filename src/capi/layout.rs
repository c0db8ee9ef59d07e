// SPDX-License-Identifier: MIT
//! Sizes and offsets of every member of every public struct, which never change: programs were
//! compiled with them. `c-tests/guest/layout.c` has the same numbers, as C sees them.

use super::device::umf_device_caps;
use super::external::umf_mapping;
use super::graph::{umf_fence_info, umf_log_handler};
use super::library::umf_caps;
use super::notifier::umf_interrupt;
use super::page::umf_page_limits;
use super::queue::{umf_job, umf_signal};
use super::wait::umf_condition;
use super::wait_set::umf_wait_set_result;
use super::watch::{umf_callback, umf_many_callback};
use std::mem::offset_of;

/// Whether this is a processor whose numbers are written here.
const KNOWN: bool = cfg!(any(target_pointer_width = "64", target_arch = "x86"));

/// Picks the number of 64-bit processors, or that of i386.
const fn pick(word64: usize, i386: usize) -> usize {
    if cfg!(target_pointer_width = "64") { word64 } else { i386 }
}

/// Asserts `struct: size on 64 bits, on i386 { member: offset, offset; ... }`, for all members.
macro_rules! layout {
    ($($name:ident: $size:literal, $size32:literal {
        $($member:ident: $at:literal, $at32:literal;)*
    })*) => {
        $(const _: () = {
            assert!(!KNOWN || size_of::<$name>() == pick($size, $size32));
            $(assert!(!KNOWN || offset_of!($name, $member) == pick($at, $at32));)*
            // Does not compile if a member is missing above.
            let _: fn($name) = |$name { $($member: _),* }| {};
        };)*
    };
}

layout! {
    umf_caps: 24, 24 {
        size: 0, 0;
        version: 4, 4;
        flags: 8, 8;
        max_fences: 16, 16;
        max_waits: 20, 20;
    }
    umf_device_caps: 16, 16 {
        size: 0, 0;
        reserved: 4, 4;
        flags: 8, 8;
    }
    umf_page_limits: 8, 8 {
        size: 0, 0;
        max_fences: 4, 4;
    }
    umf_fence_info: 56, 56 {
        size: 0, 0;
        error: 4, 4;
        flags: 8, 8;
        value: 16, 16;
        pending: 24, 24;
        generation: 32, 32;
        creator_pid: 40, 40;
        creator_pid_namespace: 44, 44;
        wake_ups: 48, 48;
        reserved: 52, 52;
    }
    umf_interrupt: 32, 20 {
        size: 0, 0;
        fd: 4, 4;
        wait: 8, 8;
        data: 16, 12;
        release: 24, 16;
    }
    umf_mapping: 32, 20 {
        size: 0, 0;
        reserved: 4, 4;
        value: 8, 8;
        data: 16, 12;
        release: 24, 16;
    }
    umf_condition: 32, 28 {
        fence: 0, 0;
        value: 8, 4;
        op: 16, 12;
        reserved: 20, 16;
        mask: 24, 20;
    }
    umf_wait_set_result: 24, 24 {
        id: 0, 0;
        user_data: 8, 8;
        result: 16, 16;
        reserved: 20, 20;
    }
    umf_callback: 24, 12 {
        call: 0, 0;
        release: 8, 4;
        data: 16, 8;
    }
    umf_log_handler: 24, 12 {
        call: 0, 0;
        release: 8, 4;
        data: 16, 8;
    }
    umf_many_callback: 24, 12 {
        call: 0, 0;
        release: 8, 4;
        data: 16, 8;
    }
    umf_signal: 16, 12 {
        fence: 0, 0;
        value: 8, 4;
    }
    umf_job: 56, 36 {
        size: 0, 0;
        wait_count: 4, 4;
        signal_count: 8, 8;
        reserved: 12, 12;
        waits: 16, 16;
        signals: 24, 20;
        run: 32, 24;
        release: 40, 28;
        data: 48, 32;
    }
}
