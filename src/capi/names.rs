// SPDX-License-Identifier: MIT
//! Names of pages and fences, for people.
//!
//! umf_graph_write(), the report of LIBUMF_DEBUG and the tool umf-info show them. Nothing else
//! depends on a name. It is in the page, so every process that has the page sees it.

use super::args::{no_flags, non_null};
use super::contract::c_contract;
use super::fence::umf_fence;
use super::handles::borrow;
use super::page::umf_page;
use super::returns::{c_return, c_return_preserving_errno};
use crate::error::{Error, Result};
use crate::shm::names::{NAME_LEN, Name, Named};
use crate::shm::page::Page;
use std::ffi::{c_char, c_int};

/// The size of a name in bytes, with the NUL at its end. Since 0.1.
pub const UMF_NAME_SIZE: u32 = 56;
const _: () = assert!(UMF_NAME_SIZE as usize == NAME_LEN);

/// The index that stands for the page itself in umf_page_query_name(). Since 0.1.
pub const UMF_NAME_OF_PAGE: u32 = 0xffffffff;

/// Name a page.
///
/// The first name in a page takes a memory page of memory.
///
/// @page: the page.
/// @name: the name, which ends with a NUL. The first 55 bytes count. An empty name, or NULL, is no
///     name. Copied.
///
/// Return: 0 on success, or
///   -EINVAL      @page is NULL
///   -EACCES      this process imported the page, which has UMF_PAGE_SINGLE_WRITER, or imported it
///                with UMF_PAGE_READ_ONLY
///   -EOPNOTSUPP  the page has no room for names: another program made it
///   -ENOMEM      no memory is left, or RLIMIT_FSIZE allows no more
///
/// Thread-safe. Since 0.1.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn umf_page_set_name(page: *mut umf_page, name: *const c_char) -> c_int {
    c_return_preserving_errno(|| {
        let (page, name) = c_contract!((borrow(page)?, read_name(name)));
        page.set_name(Named::Page, name)
    })
}

/// Name a fence.
///
/// The name ends with the fence: the slot's next fence has none.
///
/// @fence: the fence.
/// @name: the name, as in umf_page_set_name(). Copied.
///
/// Return: 0 on success, or
///   -EINVAL      @fence is NULL
///   -ESTALE      the fence ended: see umf_fence_create()
///   -EACCES      this process imported the page, which has UMF_PAGE_SINGLE_WRITER
///   -EOPNOTSUPP  the page has no room for names: another program made it
///   -ENOMEM      no memory is left, or RLIMIT_FSIZE allows no more
///
/// Thread-safe. Since 0.1.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn umf_fence_set_name(fence: *mut umf_fence, name: *const c_char) -> c_int {
    c_return_preserving_errno(|| {
        let (fence, name) = c_contract!((borrow(fence)?, read_name(name)));
        fence.set_name(name)
    })
}

/// Get the name of a page or of one of its fences.
///
/// A peer that can write to the page can have written any name. So the characters that could affect
/// a terminal or a parser, and all that are not ASCII, are replaced by a question mark.
///
/// @page: the page.
/// @index: the index of the fence's slot, or UMF_NAME_OF_PAGE.
/// @flags: must be 0.
/// @out_name: receives the name and a NUL, UMF_NAME_SIZE bytes at most; an empty string if there is
///     no name. Written only on success.
///
/// Return: 0 on success, or
///   -EINVAL  @page or @out_name is NULL, or @flags is not 0
///   -ENOENT  the page has no such index, or no fence lives there now
///
/// Thread-safe. Since 0.1.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn umf_page_query_name(
    page: *mut umf_page,
    index: u32,
    flags: u64,
    out_name: *mut c_char,
) -> c_int {
    c_return(|| {
        no_flags(flags)?;
        non_null(out_name)?;
        let page = c_contract!(borrow(page)?);
        let name = page.name_of(named(page, index)?);
        let mut at = out_name;
        for char in name.iter().flat_map(Name::chars) {
            c_contract!(at.write(char as c_char));
            // A name is shorter than UMF_NAME_SIZE, for which the caller has room.
            at = at.wrapping_add(1);
        }
        c_contract!(at.write(0));
        Ok(())
    })
}

fn named(page: &Page, index: u32) -> Result<Named> {
    if index == UMF_NAME_OF_PAGE {
        return Ok(Named::Page);
    }
    let generation = page.slot(index)?.generation().ok_or(Error::NotFound)?;
    Ok(Named::Fence(index, generation))
}

/// Reads a name of the caller's, which may be NULL.
///
/// # Safety
/// `name` is NULL or ends with a NUL.
unsafe fn read_name(name: *const c_char) -> Name {
    let mut at = name;
    Name::new(std::iter::from_fn(|| {
        // SAFETY: by this function's contract, and no byte behind the NUL is read.
        let byte = unsafe { at.as_ref() }.filter(|byte| **byte != 0)?;
        at = at.wrapping_add(1);
        Some(*byte as u8)
    }))
}
