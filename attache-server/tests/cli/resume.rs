//! `attache put` of a large file, which goes on where it was.

use std::process::Child;
use std::time::{Duration, Instant};

use fake_azure::{Faults, Op};

use super::support::{files_below, noise};
use super::{CANARY, Place, Run, azure, signal};

const MIB: usize = 1024 * 1024;

/// Some thousand parts, so that a put lasts long enough to be ended in its middle.
fn place() -> (Place, Vec<u8>) {
    let mut place = Place::new();
    place.set("ATTACHE_UPLOAD__BLOCK_BYTES", "64KiB");
    let bytes = noise(64 * MIB);
    place.write("large.bin", &bytes);
    (place, bytes)
}

fn parts(place: &Place) -> usize {
    files_below(&place.path("attache-data/objects/.uploads")).len()
}

/// Begins to put the file, and waits until so many parts more are stored.
fn begin(place: &Place, more: usize) -> Child {
    let before = parts(place);
    let child = place.command(&["put", "large.bin"]).spawn().unwrap();
    let start = Instant::now();
    while parts(place) < before + more {
        assert!(start.elapsed() < Duration::from_secs(60), "nothing arrives");
        std::thread::park_timeout(Duration::from_millis(5));
    }
    child
}

fn ended(child: Child) -> Run {
    child.wait_with_output().unwrap().into()
}

/// At how much of a hundred it says that it goes on.
#[track_caller]
fn went_on_at(run: &Run) -> usize {
    let rest = run.err.split_once("large.bin: going on at ");
    let (percent, _) = rest
        .unwrap_or_else(|| panic!("{}", run.err))
        .1
        .split_once(' ')
        .unwrap();
    percent.parse().unwrap()
}

#[track_caller]
fn assert_stored(place: &Place, id: &str, bytes: &[u8]) {
    place.run(&["get", id, "-o", "back"]).expect(0);
    assert!(place.read("back") == bytes);
    assert_eq!(parts(place), 0);
    assert_eq!(
        place.run(&["ls"]).expect(0).line().split(' ').next(),
        Some(id)
    );
    // A write that was killed leaves its temporary file, and nothing else.
    let swept = place.run(&["sweep"]).expect(0).line();
    assert!(!swept.contains("upload"), "{swept}");
}

#[test]
fn a_large_file_goes_on_where_it_was_whenever_its_put_is_killed() {
    let (place, bytes) = place();
    for more in [50, 100] {
        let mut child = begin(&place, more);
        child.kill().unwrap();
        assert_eq!(ended(child).text(), "");
    }
    let run = place.run(&["put", "large.bin"]).expect(0);
    // 150 of 1024 parts, of which those of the last moment may not be recorded.
    assert!(went_on_at(&run) >= 13, "{}", run.err);
    assert_stored(&place, &run.line(), &bytes);
    // What is whole is not gone on with.
    let again = place.run(&["put", "large.bin"]).expect(0);
    assert_eq!(again.err, "");
    assert_ne!(again.line(), run.line());
}

#[test]
fn an_interrupted_put_of_a_large_file_says_that_it_can_go_on_and_until_when() {
    for (name, code) in [("INT", 130), ("TERM", 143)] {
        let (place, bytes) = place();
        let child = begin(&place, 20);
        signal(&child, name);
        let run = ended(child).expect(code);
        assert!(
            run.err
                .contains(" % of large.bin are kept; the same command goes on with it, until 20"),
            "{}",
            run.err
        );
        let run = place.run(&["put", "large.bin"]).expect(0);
        assert!(went_on_at(&run) >= 1, "{}", run.err);
        assert_stored(&place, &run.line(), &bytes);
    }
}

#[test]
fn a_file_that_was_changed_or_is_put_for_another_owner_begins_anew() {
    let (place, mut bytes) = place();
    let mut child = begin(&place, 20);
    child.kill().unwrap();
    child.wait().unwrap();
    let other = place
        .run(&["put", "large.bin", "--owner", "page:1"])
        .expect(0);
    assert_eq!(other.err, "");
    place.run(&["rm", &other.line()]).expect(0);
    bytes.reverse();
    place.write("large.bin", &bytes);
    let run = place.run(&["put", "large.bin"]).expect(0);
    assert_eq!(run.err, "");
    place.run(&["get", &run.line(), "-o", "back"]).expect(0);
    assert!(place.read("back") == bytes);
}

#[test]
fn of_two_that_put_the_same_file_the_later_one_takes_over() {
    let (place, bytes) = place();
    let first = begin(&place, 20);
    let second = place.run(&["put", "large.bin"]).expect(0);
    went_on_at(&second);
    let first = ended(first).expect(1);
    assert!(first.err.contains("has taken over"), "{}", first.err);
    assert!(!first.err.contains("are kept"), "{}", first.err);
    assert_stored(&place, &second.line(), &bytes);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_put_that_failed_says_what_is_kept_and_sends_only_the_rest_when_the_store_is_back() {
    let azure = azure().await;
    let mut place = Place::azure(&azure, CANARY);
    place.set("ATTACHE_UPLOAD__BLOCK_BYTES", "64KiB");
    let bytes = noise(4 * MIB);
    place.write("large.bin", &bytes);
    azure.faults(|faults| {
        faults.fail(Op::PutBlock, 1.0, 403, "AuthorizationPermissionMismatch");
        faults.answers[0].skip = 32;
    });
    let put = async |place: Place| {
        let run = move || (place.run(&["put", "large.bin"]), place);
        tokio::task::spawn_blocking(run).await.unwrap()
    };
    let (run, place) = put(place).await;
    let run = run.expect(1);
    let kept = "50 % of large.bin are kept; the same command goes on";
    assert!(run.err.contains(kept), "{}", run.err);
    azure.faults(Faults::clear);
    azure.reset_counts();
    let (run, place) = put(place).await;
    assert_eq!(went_on_at(&run.expect(0)), 50);
    let brought = azure.counts().bytes_in;
    assert!(brought < 3 * MIB as u64, "{brought} bytes were sent");
    let blobs = azure.blobs();
    let [blob] = blobs.as_slice() else {
        panic!("{blobs:?}");
    };
    assert!(azure.blob_bytes("files", &blob.name).unwrap() == bytes);
    drop(place);
}
