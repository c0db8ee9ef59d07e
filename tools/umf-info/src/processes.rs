// SPDX-License-Identifier: MIT
//! Processes, and the pages that they have open, as /proc shows them.

use std::collections::BTreeMap;
use std::fs::{self, File, OpenOptions};
use std::io::{self, ErrorKind};
use std::os::fd::AsRawFd;
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::thread;
use std::time::Duration;
use umf::{FenceInfo, Page};

/// What the link of a page's descriptor begins with.
const PAGE_LINK: &[u8] = b"/memfd:umf-page";

/// Whether the tool may write to a page.
#[derive(Clone, Copy, Default, PartialEq, Eq)]
pub enum Access {
    #[default]
    /// It is imported with UMF_PAGE_READ_ONLY.
    Read,
    /// Also to have waits recorded.
    Write,
}

pub struct Process {
    pub name: String,
    /// Its pid namespace and its id there, which is how pages name it. The namespace is 0 if this
    /// process may not know it.
    namespace: u32,
    own_pid: u32,
    /// The inode numbers of the pages that it has open.
    pub pages: Vec<u64>,
}

/// A page, or why it cannot be read.
pub struct OpenPage {
    pub page: io::Result<Page>,
    pub processes: Vec<u32>,
}

#[derive(Default)]
pub struct View {
    /// By process id, as this process sees it.
    pub processes: BTreeMap<u32, Process>,
    /// By inode number.
    pub pages: BTreeMap<u64, OpenPage>,
    own_namespace: u32,
    access: Access,
}

impl View {
    /// Opens the pages of these processes, or of all processes that may be inspected.
    pub fn open(pids: &[u32], access: Access) -> io::Result<View> {
        let own_namespace = namespace(Path::new("/proc/self"));
        let mut view = View { own_namespace, access, ..View::default() };
        if pids.is_empty() {
            for entry in fs::read_dir("/proc")? {
                let name = entry?.file_name();
                let Some(pid) = name.to_str().and_then(|name| name.parse().ok()) else { continue };
                // It may be another user's, or gone.
                let _ = view.add(pid);
            }
            view.processes.retain(|_, process| !process.pages.is_empty());
        }
        for pid in pids {
            view.add(*pid)
                .map_err(|error| io::Error::new(error.kind(), format!("process {pid}: {error}")))?;
        }
        Ok(view)
    }

    fn add(&mut self, pid: u32) -> io::Result<()> {
        if pid == std::process::id() || self.processes.contains_key(&pid) {
            return Ok(());
        }
        let folder = PathBuf::from(format!("/proc/{pid}"));
        let mut pages = Vec::new();
        for entry in fs::read_dir(folder.join("fd"))? {
            // The process may close it meanwhile.
            let access = self.access;
            let opened = entry.and_then(|entry| open_page(&entry.path(), access));
            let Ok(Some(file)) = opened else { continue };
            let Ok(inode) = file.metadata().map(|metadata| metadata.ino()) else { continue };
            if !pages.contains(&inode) {
                pages.push(inode);
                let import = || OpenPage { page: import(&file, access), processes: Vec::new() };
                self.pages.entry(inode).or_insert_with(import).processes.push(pid);
            }
        }
        pages.sort_unstable();
        let (name, namespace) = (name_of(&folder)?, namespace(&folder));
        let own_pid = own_pid(&folder).unwrap_or(pid);
        self.processes.insert(pid, Process { name, namespace, own_pid, pages });
        Ok(())
    }

    /// Has the blocking waits of these pages recorded, while `report` runs. Those that sleep get a
    /// second to be woken and to leave their records. Pages that only their creator can write to
    /// are left alone.
    pub fn while_recording<T>(&self, report: impl FnOnce() -> T) -> T {
        let pages: Vec<&Page> =
            self.pages.values().filter_map(|open| open.page.as_ref().ok()).collect();
        let set = |on| {
            for page in &pages {
                let _ = page.record_waits(on);
            }
        };
        set(true);
        thread::sleep(Duration::from_secs(1));
        let result = report();
        set(false);
        result
    }

    /// Finds the process that a page names by its pid namespace, of which 28 bits count, and its id
    /// there. Returns its id here.
    pub fn find(&self, own_pid: u32, namespace: u32) -> Option<u32> {
        let is_same = |other: u32| other != 0 && (other ^ namespace) & 0xfff_ffff == 0;
        let is_it = |process: &Process| process.own_pid == own_pid && is_same(process.namespace);
        let found = self.processes.iter().find(|(_, process)| is_it(process)).map(|(pid, _)| *pid);
        found.or_else(|| is_same(self.own_namespace).then_some(own_pid))
    }

    /// Returns "PID (NAME)" for a process that a page names.
    pub fn describe(&self, own_pid: u32, namespace: u32) -> String {
        match self.find(own_pid, namespace) {
            Some(pid) => self.label(pid),
            None => format!("{own_pid} of pid namespace {namespace}"),
        }
    }

    /// Returns "PID (NAME)" for a process, or "PID (gone)".
    pub fn label(&self, pid: u32) -> String {
        let known = self.processes.get(&pid).map(|process| process.name.clone());
        let name = known.or_else(|| name_of(Path::new(&format!("/proc/{pid}"))).ok());
        format!("{pid} ({})", name.unwrap_or_else(|| "gone".into()))
    }
}

/// Opens a descriptor of another process, if it is one of a page.
///
/// The process may replace the descriptor at any time. What is opened first does nothing to the
/// file (O_PATH), and cannot be replaced.
fn open_page(link: &Path, access: Access) -> io::Result<Option<File>> {
    if !is_page(link)? {
        return Ok(None);
    }
    let flags = libc::O_PATH | libc::O_CLOEXEC;
    let held = OpenOptions::new().read(true).custom_flags(flags).open(link)?;
    let own_link = PathBuf::from(format!("/proc/self/fd/{}", held.as_raw_fd()));
    if !is_page(&own_link)? || !held.metadata()?.is_file() {
        return Ok(None);
    }
    OpenOptions::new().read(true).write(access == Access::Write).open(own_link).map(Some)
}

fn import(file: &File, access: Access) -> io::Result<Page> {
    Ok(if access == Access::Read { Page::inspect(file)? } else { Page::import(file)? })
}

/// Returns the fences that live in a page, with their indices.
pub fn fences(page: &Page) -> impl Iterator<Item = (u32, FenceInfo)> {
    (0..page.fence_count()).filter_map(|index| Some((index, page.query_fence(index).ok()?)))
}

fn is_page(link: &Path) -> io::Result<bool> {
    Ok(fs::read_link(link)?.as_os_str().as_encoded_bytes().starts_with(PAGE_LINK))
}

/// Returns the name of a process, with `?` for what could affect a terminal or a parser.
fn name_of(folder: &Path) -> io::Result<String> {
    let harmless = |byte: u8| match byte {
        b'"' | b'\\' | b'<' | b'>' | b'{' | b'}' | b'|' => '?',
        b' '..=b'~' => byte as char,
        _ => '?',
    };
    Ok(fs::read(folder.join("comm"))?.trim_ascii_end().iter().map(|byte| harmless(*byte)).collect())
}

fn namespace(folder: &Path) -> u32 {
    fs::metadata(folder.join("ns/pid")).map_or(0, |metadata| metadata.ino() as u32)
}

/// Returns the id of a process in its own pid namespace.
fn own_pid(folder: &Path) -> Option<u32> {
    let status = fs::read(folder.join("status")).ok()?;
    let status = String::from_utf8_lossy(&status);
    let pids = status.lines().find_map(|line| line.strip_prefix("NSpid:"))?;
    pids.split_whitespace().last()?.parse().ok()
}

/// Says why a page or a device cannot be read.
pub fn reason(error: &io::Error) -> String {
    match error.kind() {
        ErrorKind::InvalidInput => "is no page, or has another layout version".into(),
        _ => format!("cannot be read: {error}"),
    }
}
