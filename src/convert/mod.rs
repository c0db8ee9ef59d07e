// SPDX-License-Identifier: MIT
//! Blocking conversion to and from kernel fences, one file per kernel object; and X11's fences.
//!
//! The reactor uses the same parts for the conversions that complete later. `rules.rs` has what all
//! of them obey: no kernel fence ever waits for a UMF.

#![forbid(unsafe_code)]

mod device;
mod dma_buf;
mod rules;
mod sync_file;
mod syncobj;
mod xshmfence;

pub(crate) use crate::sys::dma_buf::Access;
pub(crate) use device::Device;
pub(crate) use dma_buf::{export_dma_buf, import_dma_buf};
pub(crate) use rules::check_import;
pub(crate) use sync_file::{attach_sync_file, export_sync_file, import_sync_file, set_deadline};
pub(crate) use syncobj::{Point, Syncobj, attach_syncobj, export_syncobj, import_syncobj};
pub(crate) use xshmfence::Xshmfence;
