//! A program whose allocator looks at what it gets back sees what SQLite had.

use std::alloc::{GlobalAlloc, Layout, System};
use std::slice;
use std::sync::atomic::{AtomicUsize, Ordering};

use rusqlite::Connection;

const MARK: &[u8] = b"a cell of a database";
/// Blocks that held it when they were given back.
static SEEN: AtomicUsize = AtomicUsize::new(0);

struct Looking;

#[global_allocator]
static ALLOCATOR: Looking = Looking;

// SAFETY: the system's allocator does the work.
unsafe impl GlobalAlloc for Looking {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        // SAFETY: as asked. Zeroed, so that all of it may be read when it comes back.
        unsafe { System.alloc_zeroed(layout) }
    }

    unsafe fn dealloc(&self, block: *mut u8, layout: Layout) {
        // SAFETY: the block is whole until it is given back.
        let bytes = unsafe { slice::from_raw_parts(block, layout.size()) };
        if bytes.windows(MARK.len()).any(|part| part == MARK) {
            SEEN.fetch_add(1, Ordering::Relaxed);
        }
        // SAFETY: as asked.
        unsafe { System.dealloc(block, layout) }
    }
}

#[test]
fn what_sqlite_gives_back_comes_to_the_programs_allocator() {
    let dir = std::env::temp_dir().join(format!("kalit-sqlite-memory-{}", std::process::id()));
    std::fs::create_dir_all(&dir).unwrap();
    assert!(kalit_sqlite_memory::from_the_programs_allocator());
    let database = Connection::open(dir.join("a.sqlite")).unwrap();
    // Longer than a page, and built by growing.
    let statements = "CREATE TABLE cells(text TEXT);
        INSERT INTO cells SELECT group_concat('a cell of ' || 'a database, ', '')
        FROM (WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 2000) SELECT i FROM n);";
    database.execute_batch(statements).unwrap();
    let read: i64 = database
        .query_row("SELECT length(text) FROM cells", [], |row| row.get(0))
        .unwrap();
    assert_eq!(read, 2000 * 22);
    assert!(!kalit_sqlite_memory::from_the_programs_allocator(), "too late");
    drop(database);
    let seen = SEEN.load(Ordering::Relaxed);
    std::fs::remove_dir_all(&dir).unwrap();
    // The pages of the cell, its text, and what it was built in.
    assert!(seen > 10, "{seen}");
}
