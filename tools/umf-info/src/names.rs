// SPDX-License-Identifier: MIT
//! Names of flags, fences and errors.

use umf::{Page, sys};

/// The names of the bits of umf_caps.flags.
pub const CAPS: &[(u64, &str)] =
    &[(sys::UMF_CAP_WAIT_MANY_PAGES, "wait_many_pages"), (sys::UMF_CAP_UDMABUF, "udmabuf")];

/// The names of the bits of umf_device_caps.flags.
pub const DEVICE_CAPS: &[(u64, &str)] = &[
    (sys::UMF_DEVICE_CAP_SYNCOBJ, "syncobj"),
    (sys::UMF_DEVICE_CAP_TIMELINE, "timeline"),
    (sys::UMF_DEVICE_CAP_EVENTFD, "eventfd"),
    (sys::UMF_DEVICE_CAP_DEADLINE, "deadline"),
];

/// The names of the bits of umf_fence_info.flags.
pub const FENCE_FLAGS: &[(u64, &str)] = &[
    (sys::UMF_FENCE_32BIT, "32bit"),
    (sys::UMF_FENCE_DEVICE, "device"),
    (sys::UMF_FENCE_LASTING, "lasting"),
    (sys::UMF_FENCE_UNORDERED, "unordered"),
    (sys::UMF_FENCE_INFO_EXTERNAL, "external"),
    (sys::UMF_FENCE_INFO_WAITERS, "waiters"),
];

/// Returns the names of the bits that are set.
pub fn of_flags(flags: u64, all: &[(u64, &'static str)]) -> Vec<&'static str> {
    all.iter().filter(|(bit, _)| flags & bit != 0).map(|(_, name)| *name).collect()
}

/// Returns the name of the fence in a slot, or an empty one.
pub fn of_fence(page: &Page, index: u32) -> String {
    page.query_name(index).ok().flatten().unwrap_or_default()
}

/// Returns the name of a page, or an empty one.
pub fn of_page(page: &Page) -> String {
    of_fence(page, sys::UMF_NAME_OF_PAGE)
}

/// Returns the message of an errno in lowercase, or "-" for 0.
pub fn of_error(error: i32) -> String {
    match error {
        0 => "-".into(),
        _ if -error == libc::EOWNERDEAD => "owner died".into(),
        _ => {
            let text = std::io::Error::from_raw_os_error(-error).to_string();
            let end = text.find(" (os error").unwrap_or(text.len());
            text.get(..end).unwrap_or(&text).to_lowercase()
        }
    }
}
