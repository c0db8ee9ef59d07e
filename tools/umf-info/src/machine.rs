// SPDX-License-Identifier: MIT
//! What this machine and its DRM devices can do.

use crate::names;
use crate::processes::reason;
use serde_json::{Value, json};
use std::fmt::Write;
use std::fs::{self, OpenOptions};
use std::io;
use std::path::PathBuf;
use umf::{Caps, DeviceCapFlags};

pub struct Machine {
    caps: Caps,
    devices: Vec<(PathBuf, io::Result<DeviceCapFlags>)>,
}

impl Machine {
    pub fn query() -> io::Result<Machine> {
        let mut paths: Vec<PathBuf> = match fs::read_dir("/dev/dri") {
            Ok(entries) => entries.filter_map(|entry| Some(entry.ok()?.path())).collect(),
            Err(_) => Vec::new(),
        };
        let is_node = |path: &PathBuf| {
            let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
            name.starts_with("renderD") || name.starts_with("card")
        };
        paths.retain(is_node);
        paths.sort();
        let query = |path: PathBuf| {
            let caps = OpenOptions::new().read(true).write(true).open(&path);
            let caps = caps.and_then(|file| Ok(umf::Device::create(&file)?.caps()?.flags));
            (path, caps)
        };
        Ok(Machine { caps: umf::caps()?, devices: paths.into_iter().map(query).collect() })
    }

    pub fn text(&self, out: &mut String) {
        let Caps { max_fences, max_waits, flags, .. } = self.caps;
        let _ = writeln!(out, "libumf {}", version());
        let _ = writeln!(out, "  fences of a page: at most {max_fences}");
        let _ = writeln!(out, "  fences of a wait: at most {max_waits}");
        for (bit, name) in names::CAPS {
            let _ =
                writeln!(out, "  {name}: {}", if flags.bits() & bit != 0 { "yes" } else { "no" });
        }
        if self.devices.is_empty() {
            out.push_str("no DRM device\n");
        }
        for (path, caps) in &self.devices {
            let _ = match caps {
                Ok(DeviceCapFlags::NONE) => writeln!(out, "{}: no syncobjs", path.display()),
                Ok(caps) => {
                    let names = names::of_flags(caps.bits(), names::DEVICE_CAPS).join(", ");
                    writeln!(out, "{}: {names}", path.display())
                }
                Err(error) => writeln!(out, "{}: {}", path.display(), reason(error)),
            };
        }
    }

    pub fn json(&self) -> Value {
        let devices = self.devices.iter().map(|(path, caps)| match caps {
            Ok(caps) => json!({
                "path": path.to_string_lossy(),
                "caps": names::of_flags(caps.bits(), names::DEVICE_CAPS),
            }),
            Err(error) => json!({ "path": path.to_string_lossy(), "error": error.to_string() }),
        });
        json!({
            "version": version(),
            "max_fences": self.caps.max_fences,
            "max_waits": self.caps.max_waits,
            "caps": names::of_flags(self.caps.flags.bits(), names::CAPS),
            "devices": devices.collect::<Vec<_>>(),
        })
    }
}

/// Returns the version of the loaded library.
fn version() -> String {
    let (major, minor, patch) = umf::version();
    format!("{major}.{minor}.{patch}")
}
