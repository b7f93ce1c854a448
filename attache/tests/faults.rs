//! A fault at each step of each operation: an error, a lost answer, an outage, a client that leaves, a process that dies,
//! at every call to storage and catalog, at every chunk of a body, and at every point where anything waits. Afterwards
//! one sweep is enough: every row has its bytes, every object its row, nothing is reserved, and whatever was told to
//! somebody outside is true.
//!
//! `faults/fuse.rs` counts calls and breaks one, `faults/frail.rs` puts it before storage and catalog, `faults/world.rs`
//! starts and kills services, and holds the invariant. That it can be broken is shown at the end: by a storage and a
//! catalog that do things in the wrong order.

#[path = "faults/frail.rs"]
mod frail;
#[path = "faults/fuse.rs"]
mod fuse;
#[path = "faults/world.rs"]
mod world;

use attache::Attache;
use attache::attachment::AttachmentId;
use attache::observe::status::SweepReport;
use bytes::Bytes;
use frail::Lie;
use fuse::{At, Fault};
use world::{Ground, Ledger, Process, World, upload};

/// More calls than any operation here makes.
const ENDLESS: usize = 400;

#[derive(Clone, Copy, Debug)]
enum Operation {
    SmallUpload,
    LongUpload,
    Delete,
    BulkDelete,
    Sweep,
}

/// Runs `operation` with every fault at every point, on a world of its own each time.
fn at_every_point(operation: Operation, ground: Ground, lie: Option<Lie>) {
    for fault in Fault::ALL {
        // Where an operation waits is up to threads and disks: what did not wait once may do so the next time.
        let patience = if fault == Fault::KilledWithin { 3 } else { 1 };
        let (mut points, mut misses, mut at) = (0, 0, 0);
        while misses < patience {
            match strike(operation, ground, lie, fault, at) {
                true => (points, misses, at) = (points + 1, 0, at + 1),
                false => misses += 1,
            }
            assert!(points < ENDLESS, "{operation:?} does not end");
        }
        // The shortest, a deletion, retires, deletes and forgets.
        let enough = points >= 3 || fault == Fault::KilledWithin;
        assert!(enough, "{operation:?}, {fault:?}: {points} points");
    }
}

/// Once; whether the fault happened.
fn strike(operation: Operation, ground: Ground, lie: Option<Lie>, fault: Fault, at: usize) -> bool {
    let what = format!("{operation:?} over {ground:?}, {fault:?} at {at}");
    let world = World::new(ground, lie, fault == Fault::KilledWithin);
    let mut ledger = Ledger::default();
    let process = prepare(operation, &world, &mut ledger);
    world.fuse.arm(At::Number(at), fault);
    process.runtime.block_on(async {
        let work = run(operation, &world, &process.service, &mut ledger);
        tokio::select! {
            () = work => {}
            () = world.fuse.hangs() => {}
        }
    });
    let struck = world.fuse.has_struck();
    match struck && fault.kills() {
        true => {
            process.die();
            world.fuse.heal();
        }
        false => {
            world.fuse.heal();
            process.settle();
            sweep(&process, &what);
            world.check(&process, &ledger, &what);
            process.stop();
        }
    }
    let process = world.start();
    let swept = sweep(&process, &what);
    match struck && fault.kills() {
        true => world.check(&process, &ledger, &what),
        false => assert_eq!(swept, SweepReport::default(), "{what}: nothing is left"),
    }
    process.stop();
    struck
}

/// What must be there before `operation` can run.
fn prepare(operation: Operation, world: &World, ledger: &mut Ledger) -> Process {
    let mut process = world.start();
    if let Operation::Sweep = operation {
        // What processes leave that die in the middle of an upload, at its end, and in the middle of a deletion.
        for (number, name) in ["end", "commit", "delete"].into_iter().enumerate() {
            let bytes = pattern(20_000, number as u8);
            let doomed = (name == "delete").then(|| keep(&process, world, &bytes, None));
            world.fuse.arm(At::Name(name), Fault::KilledBefore);
            process.runtime.block_on(async {
                let service = &process.service;
                let work = async {
                    match &doomed {
                        Some(id) => drop(service.delete(id).await),
                        None => drop(upload(service, &world.fuse, &bytes, false, None).await),
                    }
                };
                tokio::select! {
                    () = work => {}
                    () = world.fuse.hangs() => {}
                }
            });
            assert!(world.fuse.has_struck(), "{name}");
            process.die();
            world.fuse.heal();
            process = world.start();
            match doomed {
                Some(id) => ledger.doomed.push((id, bytes)),
                None => ledger.sent.push(bytes),
            }
        }
        // And what this very process leaves while its catalog is out.
        for number in 10..12 {
            let bytes = pattern(5000, number);
            world.fuse.arm(At::Name("commit"), Fault::Outage);
            let uploaded = upload(&process.service, &world.fuse, &bytes, true, None);
            let outcome = process.runtime.block_on(uploaded);
            outcome.expect_err("an outage");
            world.fuse.heal();
            ledger.sent.push(bytes);
        }
    }
    let owner = matches!(operation, Operation::BulkDelete).then_some("page:1");
    for number in 20..24 {
        let bytes = pattern(100 * usize::from(number), number);
        let id = keep(&process, world, &bytes, owner);
        ledger.stored.push((id, bytes));
    }
    process
}

fn keep(process: &Process, world: &World, bytes: &Bytes, owner: Option<&str>) -> AttachmentId {
    let uploaded = upload(&process.service, &world.fuse, bytes, true, owner);
    process.runtime.block_on(uploaded).expect("nothing breaks")
}

/// What is known only when an operation answers is noted before it begins as not acknowledged.
async fn run(operation: Operation, world: &World, service: &Attache, ledger: &mut Ledger) {
    match operation {
        Operation::SmallUpload | Operation::LongUpload => {
            let long = matches!(operation, Operation::LongUpload);
            let bytes = pattern(if long { 18_000 } else { 100 }, 99);
            ledger.sent.push(bytes.clone());
            let outcome = upload(service, &world.fuse, &bytes, !long, None).await;
            if let Ok(id) = outcome {
                ledger.sent.clear();
                ledger.stored.push((id, bytes));
            }
        }
        Operation::Delete => {
            let (id, bytes) = ledger.stored.swap_remove(0);
            ledger.doomed.push((id.clone(), bytes));
            if service.delete(&id).await.is_ok() {
                ledger.doomed.clear();
                ledger.deleted.push(id);
            }
        }
        Operation::BulkDelete => {
            ledger.doomed.append(&mut ledger.stored);
            let owner = "page:1".parse().expect("an owner");
            let Ok(results) = service.delete_owned(&owner).await else {
                return;
            };
            for (id, outcome) in results {
                if outcome.is_ok() {
                    ledger.doomed.retain(|doomed| doomed.0 != id);
                    ledger.deleted.push(id);
                }
            }
        }
        // What it cannot do it leaves for the next one.
        Operation::Sweep => drop(service.sweep().await),
    }
}

fn sweep(process: &Process, what: &str) -> SweepReport {
    let swept = process.runtime.block_on(process.service.sweep());
    let report = swept.unwrap_or_else(|error| panic!("{what}: {error}"));
    assert_eq!(report.failed, 0, "{what}");
    report
}

fn pattern(length: usize, seed: u8) -> Bytes {
    (0..length)
        .map(|at| (at.wrapping_mul(31) >> 3) as u8 ^ seed)
        .collect()
}

macro_rules! faults {
    ($($name:ident: $operation:ident over $ground:ident;)*) => {$(
        #[test]
        fn $name() {
            at_every_point(Operation::$operation, Ground::$ground, None);
        }
    )*};
}

faults! {
    a_small_upload_over_memory: SmallUpload over Memory;
    a_small_upload_over_local: SmallUpload over Local;
    a_small_upload_over_blocks: SmallUpload over Blocks;
    a_long_upload_over_memory: LongUpload over Memory;
    a_long_upload_over_local: LongUpload over Local;
    a_long_upload_over_blocks: LongUpload over Blocks;
    a_deletion_over_memory: Delete over Memory;
    a_deletion_over_local: Delete over Local;
    a_deletion_over_blocks: Delete over Blocks;
    a_bulk_deletion_over_memory: BulkDelete over Memory;
    a_bulk_deletion_over_local: BulkDelete over Local;
    a_sweep_over_memory: Sweep over Memory;
    a_sweep_over_local: Sweep over Local;
    a_sweep_over_blocks: Sweep over Blocks;
}

#[test]
fn what_ended_while_the_catalog_was_out_is_finished_without_the_hourly_sweep() {
    for at in ["begin", "commit", "retire", "forget"] {
        let world = World::new(Ground::Memory, None, false);
        let process = world.start();
        let mut ledger = Ledger::default();
        let (kept, sent) = (pattern(1000, 1), pattern(2000, 2));
        let id = keep(&process, &world, &kept, None);
        world.fuse.arm(At::Name(at), Fault::Outage);
        process.runtime.block_on(async {
            let uploaded = upload(&process.service, &world.fuse, &sent, true, None).await;
            let deleted = process.service.delete(&id).await;
            assert!(uploaded.is_err() || deleted.is_err(), "{at}");
            match uploaded {
                Ok(id) => ledger.stored.push((id, sent)),
                Err(_) => ledger.sent.push(sent),
            }
        });
        world.fuse.heal();
        process.settle();
        let work = process.service.take_over();
        let report = process.runtime.block_on(work).expect("the catalog is back");
        assert_eq!(report.failed, 0, "{at}");
        ledger.doomed.push((id, kept));
        assert_eq!(sweep(&process, at), SweepReport::default(), "{at}");
        world.check(&process, &ledger, at);
        process.stop();
    }
}

/// `$lie` breaks `$operation`, and the invariant says so.
macro_rules! caught {
    ($($name:ident: $lie:ident breaks $operation:ident;)*) => {$(
        #[test]
        fn $name() {
            let verdict = std::panic::catch_unwind(|| {
                at_every_point(Operation::$operation, Ground::Blocks, Some(Lie::$lie));
            });
            verdict.expect_err("the lie goes through");
        }
    )*};
}

caught! {
    a_row_that_goes_before_its_bytes_is_caught: ForgetsBeforeTheBytesGo breaks Delete;
    a_row_that_comes_after_its_bytes_is_caught: BeginsAfterTheBytesCame breaks SmallUpload;
    what_is_not_discarded_is_caught: DiscardsNothing breaks LongUpload;
    what_is_not_deleted_is_caught: DeletesNothing breaks Delete;
    bytes_that_are_not_stored_are_caught: LosesTheTail breaks SmallUpload;
}
