//! mimalloc, with a count of the bytes that are allocated.
//!
//! The count tells a leak from an allocator that keeps memory for later, which resident memory cannot. It is spread over
//! places of a cache line each, so that threads do not wait for each other: about 1 ns an allocation.

#![expect(
    unsafe_code,
    reason = "an allocator is unsafe by its trait; every call goes on to mimalloc as it came"
)]

use std::alloc::{GlobalAlloc, Layout};
use std::cell::Cell;
use std::sync::atomic::{AtomicIsize, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use mimalloc::MiMalloc;

const PLACES: usize = 16;

/// How often a thread looks at most for what it can give back; it takes microseconds.
const COLLECT_EVERY: Duration = Duration::from_millis(100);

#[repr(align(64))]
struct Place(AtomicIsize);

impl Place {
    fn count(&self, bytes: isize) {
        self.0.fetch_add(bytes, Ordering::Relaxed);
    }
}

static ALLOCATED: [Place; PLACES] = [const { Place(AtomicIsize::new(0)) }; PLACES];

static NEXT: AtomicUsize = AtomicUsize::new(0);

thread_local! {
    /// Where this thread counts. It has no destructor, so it can be used at any time of a thread's life.
    static MINE: Cell<usize> = const { Cell::new(usize::MAX) };

    /// When this thread last gave memory back.
    static COLLECTED: Cell<Option<Instant>> = const { Cell::new(None) };
}

/// The allocator of the process.
pub(crate) struct Counting;

/// Bytes that are allocated now.
pub(crate) fn allocated_bytes() -> u64 {
    let sum: isize = ALLOCATED
        .iter()
        .map(|place| place.0.load(Ordering::Relaxed))
        .sum();
    u64::try_from(sum).unwrap_or(0)
}

/// Keeps the system from backing memory with pages of 2 MiB, which mimalloc asks for (`madvise`): an idle server that has
/// 0.8 MB allocated held 8 MB more with them.
///
/// Called first in `main`; what was allocated before is a page or two.
pub(crate) fn keep_pages_small() {
    // Without it attache works all the same, a little larger.
    #[cfg(target_os = "linux")]
    let _ = rustix::thread::disable_transparent_huge_pages(true);
}

/// Gives what is free back to the system; for threads of the runtime that run out of work, which they are when a crowd has
/// left. mimalloc does this for a thread when that thread allocates again: after 2,000 slow readers, 220 to 300 of 1,090 MiB
/// stayed with threads that slept, for as long as they did; with this, 60 MiB are left after 15 s.
///
/// What is free stays for another second (`purge_delay` of mimalloc), so a server that works does not give back and take again.
pub(crate) fn collect_when_idle() {
    let now = Instant::now();
    let due = COLLECTED.with(|at| {
        let due = at.get().is_none_or(|at| now - at >= COLLECT_EVERY);
        if due {
            at.set(Some(now));
        }
        due
    });
    if due {
        // SAFETY: it may be called at any time, and moves nothing that is allocated.
        unsafe { libmimalloc_sys::mi_collect(false) };
    }
}

/// Where this thread counts.
fn mine() -> &'static Place {
    let place = MINE.with(|mine| {
        if mine.get() == usize::MAX {
            mine.set(first_of_thread());
        }
        mine.get()
    });
    &ALLOCATED[place]
}

#[cold]
fn first_of_thread() -> usize {
    let number = NEXT.fetch_add(1, Ordering::Relaxed);
    if number == 0 {
        // SAFETY: it sets a variable. Nothing is allocated yet.
        unsafe { libmimalloc_sys::mi_option_set_default(ARENA_EAGER_COMMIT, 0) };
    }
    number % PLACES
}

/// `mi_option_arena_eager_commit` of mimalloc.h: 2, which on Linux means 1, makes all memory that mimalloc reserves writable at once.
/// With 0 it does so where memory is needed, and gives more of it back: an idle server with the Azure backend held 8.2 MB, and holds
/// 4.8 MB; the CPU of small relays and of redirects stays the same. The variable `MIMALLOC_ARENA_EAGER_COMMIT` overrides it.
const ARENA_EAGER_COMMIT: libmimalloc_sys::mi_option_t = 4;

/// Gives back what was needed to start: configuration, command line and root certificates are read by this thread, which does not do so
/// again.
pub(crate) fn collect_after_start() {
    // SAFETY: it may be called at any time, and moves nothing that is allocated.
    unsafe { libmimalloc_sys::mi_collect(true) };
}

fn signed(bytes: usize) -> isize {
    // No allocation is larger than isize::MAX (`Layout`).
    isize::try_from(bytes).unwrap_or(isize::MAX)
}

// SAFETY: every method is mimalloc's, called with what it was called with.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        let mine = mine();
        // SAFETY: as above.
        let memory = unsafe { MiMalloc.alloc(layout) };
        if !memory.is_null() {
            mine.count(signed(layout.size()));
        }
        memory
    }

    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        let mine = mine();
        // SAFETY: as above.
        let memory = unsafe { MiMalloc.alloc_zeroed(layout) };
        if !memory.is_null() {
            mine.count(signed(layout.size()));
        }
        memory
    }

    unsafe fn dealloc(&self, memory: *mut u8, layout: Layout) {
        // SAFETY: as above.
        unsafe { MiMalloc.dealloc(memory, layout) };
        mine().count(-signed(layout.size()));
    }

    unsafe fn realloc(&self, memory: *mut u8, layout: Layout, new_size: usize) -> *mut u8 {
        // SAFETY: as above.
        let moved = unsafe { MiMalloc.realloc(memory, layout, new_size) };
        if !moved.is_null() {
            mine().count(signed(new_size) - signed(layout.size()));
        }
        moved
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_allocated_is_counted_and_what_is_freed_is_not() {
        const SIZE: usize = 64 * 1024 * 1024;
        // Other tests allocate meanwhile, but not as much.
        let slack = (SIZE / 4) as u64;
        let before = allocated_bytes();
        let mut bytes = vec![1_u8; SIZE];
        let within = allocated_bytes().abs_diff(before + SIZE as u64);
        assert!(within < slack, "{within}");
        bytes.resize(2 * SIZE, 0);
        bytes.shrink_to_fit();
        let grown = allocated_bytes().abs_diff(before + 2 * SIZE as u64);
        assert!(grown < slack, "{grown}");
        // Freed elsewhere.
        std::thread::spawn(move || drop(bytes))
            .join()
            .expect("it ends");
        let left = allocated_bytes().abs_diff(before);
        assert!(left < slack, "{left}");
    }
}
