// SPDX-License-Identifier: MIT
//! The C library: the functions that this tool calls, and safe wrappers.

use std::ffi::{c_char, c_int};
use std::fs::File;
use std::io::{self, Read, Seek};
use std::os::fd::{AsRawFd, FromRawFd};

#[repr(C)]
struct RawPage {
    _opaque: [u8; 0],
}

#[repr(C)]
struct RawDevice {
    _opaque: [u8; 0],
}

/// struct umf_fence_info
#[repr(C)]
#[derive(Clone, Copy, Default)]
pub struct FenceInfo {
    size: u32,
    pub error: i32,
    pub flags: u64,
    pub value: u64,
    pub pending: u64,
    pub generation: u64,
    pub creator_pid: u32,
    pub creator_pid_namespace: u32,
    pub wake_ups: u32,
    reserved: u32,
}

/// struct umf_caps
#[repr(C)]
#[derive(Clone, Copy, Default)]
pub struct Caps {
    size: u32,
    pub version: u32,
    pub flags: u64,
    pub max_fences: u32,
    pub max_waits: u32,
}

/// struct umf_device_caps
#[repr(C)]
#[derive(Clone, Copy, Default)]
struct DeviceCaps {
    size: u32,
    reserved: u32,
    flags: u64,
}

unsafe extern "C" {
    fn umf_query_caps(caps: *mut Caps) -> c_int;
    fn umf_device_create(fd: c_int, flags: u64, device: *mut *mut RawDevice) -> c_int;
    fn umf_device_query_caps(device: *const RawDevice, caps: *mut DeviceCaps) -> c_int;
    fn umf_device_unref(device: *mut RawDevice);
    fn umf_page_import(fd: c_int, flags: u64, page: *mut *mut RawPage) -> c_int;
    fn umf_page_flags(page: *const RawPage) -> u64;
    fn umf_page_fence_count(page: *const RawPage) -> u32;
    fn umf_page_query_fence(page: *mut RawPage, at: u32, flags: u64, info: *mut FenceInfo)
    -> c_int;
    fn umf_page_record_waits(page: *mut RawPage, on: c_int, flags: u64) -> c_int;
    fn umf_page_query_name(page: *mut RawPage, at: u32, flags: u64, name: *mut c_char) -> c_int;
    fn umf_page_unref(page: *mut RawPage);
    fn umf_graph_write(fd: c_int, flags: u64, deadlocks: *mut u32) -> c_int;
}

const PAGE_SINGLE_WRITER: u64 = 1 << 0;
const PAGE_READ_ONLY: u64 = 1 << 1;
const GRAPH_JSON: u64 = 1 << 1;

/// UMF_NAME_SIZE, UMF_NAME_OF_PAGE
const NAME_SIZE: usize = 56;
const NAME_OF_PAGE: u32 = u32::MAX;

/// UMF_FENCE_LASTING
pub const FENCE_LASTING: u64 = 1 << 2;

/// The names of the bits of umf_caps.flags.
pub const CAPS: &[(u64, &str)] = &[(1 << 0, "wait_many_pages"), (1 << 1, "udmabuf")];

/// The names of the bits of umf_device_caps.flags.
pub const DEVICE_CAPS: &[(u64, &str)] =
    &[(1 << 0, "syncobj"), (1 << 1, "timeline"), (1 << 2, "eventfd"), (1 << 3, "deadline")];

/// The names of the bits of umf_fence_info.flags.
pub const FENCE_FLAGS: &[(u64, &str)] = &[
    (1 << 0, "32bit"),
    (1 << 1, "device"),
    (FENCE_LASTING, "lasting"),
    (1 << 4, "unordered"),
    (1 << 32, "external"),
    (1 << 33, "waiters"),
];

/// Turns the result of a call into an error.
fn check(result: c_int) -> io::Result<()> {
    if result == 0 { Ok(()) } else { Err(io::Error::from_raw_os_error(-result)) }
}

pub fn caps() -> io::Result<Caps> {
    let mut caps = Caps { size: size_of::<Caps>() as u32, ..Caps::default() };
    // SAFETY: `caps` is valid for writing and begins with its size.
    check(unsafe { umf_query_caps(&mut caps) })?;
    Ok(caps)
}

/// Returns the UMF_DEVICE_CAP_* bits of a DRM device.
pub fn device_caps(file: &File) -> io::Result<u64> {
    let mut device = std::ptr::null_mut();
    // SAFETY: `device` is valid for writing, and the descriptor is open.
    check(unsafe { umf_device_create(file.as_raw_fd(), 0, &mut device) })?;
    let mut caps = DeviceCaps { size: size_of::<DeviceCaps>() as u32, ..DeviceCaps::default() };
    // SAFETY: the device lives until the next line, and `caps` begins with its size.
    let result = check(unsafe { umf_device_query_caps(device, &mut caps) });
    // SAFETY: this ends the only reference.
    unsafe { umf_device_unref(device) };
    result.map(|()| caps.flags)
}

/// A page of other processes.
pub struct Page(*mut RawPage);

/// Whether the tool may write to a page.
#[derive(Clone, Copy, Default, PartialEq, Eq)]
pub enum Access {
    #[default]
    /// It is imported with UMF_PAGE_READ_ONLY.
    Read,
    /// Also to have waits recorded.
    Write,
}

impl Page {
    pub fn import(file: &File, access: Access) -> io::Result<Page> {
        let flags = if access == Access::Read { PAGE_READ_ONLY } else { 0 };
        let mut page = std::ptr::null_mut();
        // SAFETY: `page` is valid for writing, and the descriptor is open.
        check(unsafe { umf_page_import(file.as_raw_fd(), flags, &mut page) })?;
        Ok(Page(page))
    }

    /// Has blocking waits recorded, or no more.
    pub fn record_waits(&self, is_wanted: bool) -> io::Result<()> {
        // SAFETY: `self` holds a reference to the page.
        check(unsafe { umf_page_record_waits(self.0, is_wanted.into(), 0) })
    }

    /// Whether only its creator can write to it.
    pub fn is_single_writer(&self) -> bool {
        // SAFETY: `self` holds a reference to the page.
        unsafe { umf_page_flags(self.0) & PAGE_SINGLE_WRITER != 0 }
    }

    pub fn fence_count(&self) -> u32 {
        // SAFETY: as above.
        unsafe { umf_page_fence_count(self.0) }
    }

    /// Returns the fence in a slot, if one lives there.
    pub fn fence(&self, index: u32) -> Option<FenceInfo> {
        let mut info = FenceInfo { size: size_of::<FenceInfo>() as u32, ..FenceInfo::default() };
        // SAFETY: as above, and `info` begins with its size.
        check(unsafe { umf_page_query_fence(self.0, index, 0, &mut info) }).ok()?;
        Some(info)
    }

    /// Returns the name of the fence in a slot, or an empty one. No character of it affects a
    /// terminal or a parser.
    pub fn fence_name(&self, index: u32) -> String {
        let mut name = [0; NAME_SIZE];
        // SAFETY: as above, and the name is as long as the library asks.
        if unsafe { umf_page_query_name(self.0, index, 0, name.as_mut_ptr()) } != 0 {
            return String::new();
        }
        name.iter().map(|char| *char as u8).take_while(|byte| *byte != 0).map(char::from).collect()
    }

    /// Returns the name of the page, or an empty one.
    pub fn name(&self) -> String {
        self.fence_name(NAME_OF_PAGE)
    }

    /// Returns the fences that live in the page, with their indices.
    pub fn fences(&self) -> impl Iterator<Item = (u32, FenceInfo)> {
        (0..self.fence_count()).filter_map(|index| Some((index, self.fence(index)?)))
    }
}

impl Drop for Page {
    fn drop(&mut self) {
        // SAFETY: this ends the reference of `import`.
        unsafe { umf_page_unref(self.0) };
    }
}

/// Returns the wait-for graph of all pages that are imported now, as JSON.
pub fn graph_json() -> io::Result<String> {
    // SAFETY: the name is a string that ends with 0.
    let fd = unsafe { libc::memfd_create(c"umf-info".as_ptr(), libc::MFD_CLOEXEC) };
    if fd < 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: the descriptor was just created, and nothing else owns it.
    let mut file = unsafe { File::from_raw_fd(fd) };
    // SAFETY: the last argument may be NULL.
    check(unsafe { umf_graph_write(fd, GRAPH_JSON, std::ptr::null_mut()) })?;
    let mut json = String::new();
    file.rewind()?;
    file.read_to_string(&mut json)?;
    Ok(json)
}

/// Returns the names of the bits that are set.
pub fn names(flags: u64, all: &[(u64, &'static str)]) -> Vec<&'static str> {
    all.iter().filter(|(bit, _)| flags & bit != 0).map(|(_, name)| *name).collect()
}

/// Returns the message of an errno in lowercase, or "-" for 0.
pub fn error_text(error: i32) -> String {
    match error {
        0 => "-".into(),
        _ if -error == libc::EOWNERDEAD => "owner died".into(),
        _ => {
            let text = io::Error::from_raw_os_error(-error).to_string();
            let end = text.find(" (os error").unwrap_or(text.len());
            text.get(..end).unwrap_or(&text).to_lowercase()
        }
    }
}
