// SPDX-License-Identifier: MIT
//! The wait-for graph, as umf_graph_write() writes it, and which process blocks which.

use crate::processes::View;
use serde_json::Value;
use std::fs::File;
use std::io::{self, BufReader, Seek};
use std::os::fd::FromRawFd;

pub struct Participant {
    pub kind: String,
    pub number: u64,
    pub pid: u32,
    pub namespace: u32,
    pub is_gone: bool,
    pub deadlock: Option<u64>,
    pub is_behind: bool,
}

pub struct Fence {
    pub page: u64,
    pub index: u32,
    pub value: u64,
    pub pending: u64,
    /// Empty if it has none.
    pub name: String,
}

pub struct Wait {
    pub participant: usize,
    pub fence: usize,
    pub value: u64,
    pub is_for_submission: bool,
    pub any_of: u64,
    pub may_end_otherwise: bool,
    pub promised_by: Vec<usize>,
}

impl Wait {
    /// Whether work was submitted that will signal the value.
    pub fn is_submitted(&self) -> bool {
        self.may_end_otherwise && !self.is_for_submission
    }
}

pub struct Graph {
    /// As the library wrote it.
    pub json: Value,
    pub dropped: u64,
    pub deadlocks: u64,
    pub participants: Vec<Participant>,
    pub fences: Vec<Fence>,
    /// Those of the worst status first.
    pub waits: Vec<Wait>,
}

/// What ends a wait, as far as it is known.
pub enum Blocker {
    /// Participants that promised it.
    Promised(Vec<usize>),
    /// The process that created the fence: its id in its own pid namespace, and that namespace.
    Creator(u32, u32),
    Unknown,
}

/// Returns a file to which the library wrote the graph of all pages that are imported now.
fn written() -> io::Result<File> {
    // SAFETY: The name is a string that ends with a NUL.
    let fd = unsafe { libc::memfd_create(c"umf-info".as_ptr(), libc::MFD_CLOEXEC) };
    if fd < 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: The descriptor was just created, and nothing else owns it.
    let mut file = unsafe { File::from_raw_fd(fd) };
    umf::write_graph(&file, umf::GraphFormat::Json)?;
    file.rewind()?;
    Ok(file)
}

impl Graph {
    /// Reads the graph of the pages that are open.
    pub fn read() -> io::Result<Graph> {
        let json: Value = serde_json::from_reader(BufReader::new(written()?))?;
        Graph::parse(json).ok_or_else(|| io::Error::other("the library's graph is not understood"))
    }

    fn parse(json: Value) -> Option<Graph> {
        let list = |name: &str| json.get(name)?.as_array();
        let participants =
            list("participants")?.iter().map(participant).collect::<Option<Vec<_>>>()?;
        let fences = list("fences")?.iter().map(fence).collect::<Option<Vec<_>>>()?;
        let mut waits = list("waits")?.iter().map(wait).collect::<Option<Vec<_>>>()?;
        let is_known = |wait: &Wait| {
            wait.fence < fences.len()
                && wait
                    .promised_by
                    .iter()
                    .chain([&wait.participant])
                    .all(|at| *at < participants.len())
        };
        if !waits.iter().all(is_known) {
            return None;
        }
        waits.sort_by_key(|wait| match participants.get(wait.participant) {
            Some(Participant { deadlock: Some(deadlock), .. }) => *deadlock,
            Some(Participant { is_behind: true, .. }) => u64::MAX - 1,
            _ => u64::MAX,
        });
        let (dropped, deadlocks) = (number(&json, "dropped")?, number(&json, "deadlocks")?);
        Some(Graph { dropped, deadlocks, participants, fences, waits, json })
    }

    /// Returns what blocks a wait. If no participant will signal the fence, that is the process
    /// that created the fence, which usually is the signaler.
    pub fn blocker(&self, view: &View, wait: &Wait) -> Blocker {
        if !wait.promised_by.is_empty() {
            return Blocker::Promised(wait.promised_by.clone());
        }
        let Some(fence) = self.fences.get(wait.fence) else { return Blocker::Unknown };
        let page = view.pages.get(&fence.page).and_then(|page| page.page.as_ref().ok());
        match page.and_then(|page| page.query_fence(fence.index).ok()) {
            Some(info) if info.creator_pid != 0 => {
                Blocker::Creator(info.creator_pid, info.creator_pid_namespace)
            }
            _ => Blocker::Unknown,
        }
    }
}

fn number(object: &Value, name: &str) -> Option<u64> {
    object.get(name)?.as_u64()
}

fn place(object: &Value, name: &str) -> Option<usize> {
    usize::try_from(number(object, name)?).ok()
}

fn flag(object: &Value, name: &str) -> Option<bool> {
    object.get(name)?.as_bool()
}

fn participant(object: &Value) -> Option<Participant> {
    Some(Participant {
        kind: object.get("kind")?.as_str()?.to_owned(),
        number: number(object, "number")?,
        pid: number(object, "pid")? as u32,
        namespace: number(object, "pid_namespace")? as u32,
        is_gone: flag(object, "gone")?,
        deadlock: number(object, "deadlock"),
        is_behind: flag(object, "behind")?,
    })
}

fn fence(object: &Value) -> Option<Fence> {
    Some(Fence {
        page: number(object, "page")?,
        index: number(object, "index")? as u32,
        value: number(object, "value")?,
        pending: number(object, "pending")?,
        name: object.get("name")?.as_str().unwrap_or_default().to_owned(),
    })
}

fn wait(object: &Value) -> Option<Wait> {
    let promised_by = object.get("promised_by")?.as_array()?;
    let places = promised_by.iter().map(|at| usize::try_from(at.as_u64()?).ok());
    Some(Wait {
        participant: place(object, "participant")?,
        fence: place(object, "fence")?,
        value: number(object, "value")?,
        is_for_submission: flag(object, "submission")?,
        any_of: number(object, "any_of")?,
        may_end_otherwise: flag(object, "may_end_otherwise")?,
        promised_by: places.collect::<Option<Vec<_>>>()?,
    })
}
