//! SQLite's memory from the program's own allocator. Tokens pass through it: the pages and cells of
//! OpenClaw's databases. SQLite gives memory back as it was, so a program whose allocator wipes
//! would still hold them. The only `unsafe` code of Kalit's own.

use std::alloc::{self, Layout};
use std::ffi::{c_int, c_void};
use std::ptr;

use rusqlite::ffi;

/// Before every block stands its length. SQLite wants blocks aligned like this.
const HEADER: usize = 8;

/// From now on SQLite takes its memory from this program's global allocator. Whether it does: only
/// before the first database of the process is opened.
pub fn from_the_programs_allocator() -> bool {
    let methods = ffi::sqlite3_mem_methods {
        xMalloc: Some(malloc),
        xFree: Some(free),
        xRealloc: Some(realloc),
        xSize: Some(size),
        xRoundup: Some(round_up),
        xInit: Some(start),
        xShutdown: Some(stop),
        pAppData: ptr::null_mut(),
    };
    // SAFETY: this option takes a pointer to such a table, which SQLite copies; once SQLite is in use
    // it refuses.
    let answer = unsafe { ffi::sqlite3_config(ffi::SQLITE_CONFIG_MALLOC, &raw const methods) };
    answer == ffi::SQLITE_OK
}

fn layout(length: usize) -> Option<Layout> {
    Layout::from_size_align(length.checked_add(HEADER)?, HEADER).ok()
}

/// Notes the length of a new block and returns what SQLite gets of it.
///
/// # Safety
/// `block` is null or was allocated with `layout(length)`.
unsafe fn given(block: *mut u8, length: usize) -> *mut c_void {
    if block.is_null() {
        return ptr::null_mut();
    }
    // SAFETY: the block has a header, aligned for it, and `length` bytes more.
    unsafe {
        block.cast::<usize>().write(length);
        block.add(HEADER).cast()
    }
}

/// The block that SQLite has, and its length.
///
/// # Safety
/// `memory` came from [`given`] and was not given back.
unsafe fn block(memory: *mut c_void) -> (*mut u8, usize) {
    // SAFETY: it stands behind its header.
    unsafe {
        let block = memory.cast::<u8>().sub(HEADER);
        (block, block.cast::<usize>().read())
    }
}

unsafe extern "C" fn malloc(length: c_int) -> *mut c_void {
    let Some((length, layout)) = usize::try_from(length)
        .ok()
        .and_then(|length| Some((length, layout(length)?)))
    else {
        return ptr::null_mut();
    };
    // SAFETY: the layout is not of size zero.
    unsafe { given(alloc::alloc(layout), length) }
}

unsafe extern "C" fn free(memory: *mut c_void) {
    if memory.is_null() {
        return;
    }
    // SAFETY: SQLite gives back what it got from here, once.
    unsafe {
        let (block, length) = block(memory);
        if let Some(layout) = layout(length) {
            alloc::dealloc(block, layout);
        }
    }
}

unsafe extern "C" fn realloc(memory: *mut c_void, length: c_int) -> *mut c_void {
    let Some((length, wanted)) = usize::try_from(length)
        .ok()
        .and_then(|length| Some((length, layout(length)?)))
    else {
        return ptr::null_mut();
    };
    // SAFETY: SQLite never calls this without a block that it got from here; the old one is its own
    // until the new one is there.
    unsafe {
        let (block, old) = block(memory);
        match layout(old) {
            Some(layout) => given(alloc::realloc(block, layout, wanted.size()), length),
            None => ptr::null_mut(),
        }
    }
}

unsafe extern "C" fn size(memory: *mut c_void) -> c_int {
    if memory.is_null() {
        return 0;
    }
    // SAFETY: SQLite asks about what it got from here.
    let (_, length) = unsafe { block(memory) };
    c_int::try_from(length).unwrap_or(c_int::MAX)
}

unsafe extern "C" fn round_up(length: c_int) -> c_int {
    length.saturating_add(7) & !7
}

unsafe extern "C" fn start(_: *mut c_void) -> c_int {
    ffi::SQLITE_OK
}

unsafe extern "C" fn stop(_: *mut c_void) {}
