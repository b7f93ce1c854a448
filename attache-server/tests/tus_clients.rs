//! Clients of tus, as their users install them, over connections that break: whatever happens, the bytes arrive, once, and nothing
//! else stays.
//!
//! A line of the table below is a test. A proxy between client and attache breaks what the line says, at positions of which
//! `ATTACHE_TEST_SEED` repeats a choice. `tus_clients/browser.rs` has those that run in Chromium.
//!
//! What clients themselves cannot do has no line, and is no fault of attache:
//!
//! - tuspy, aiotus, tus_client and tus-uploader know no deferred length. tus-js-client waits for ever with an empty stream.
//! - tus_client calls the upload of a file of which nothing is missing a failure, also of an empty one, so its application asks how
//!   far it is (`tus_clients/rust.rs`).
//! - tuspy, tus_client and tus-uploader leave it to the application to create an upload again whose creation failed.
//! - Whoever sends all bytes with the creation and loses the answer, sends them again: both are attachments, and nobody knows one of
//!   them. Chromium repeats a creation by itself, too.
//! - tus-js-client cannot send an empty file in Node with the creation, but an empty buffer (in chunks, without a length).
#![allow(
    clippy::unwrap_used,
    clippy::print_stdout,
    reason = "a test that cannot go on fails, and says where it broke what"
)]

#[path = "tus_clients/browser.rs"]
mod browser;
#[path = "tus_clients/ground.rs"]
mod ground;
#[path = "tus_clients/proxy.rs"]
mod proxy;
#[path = "tus_clients/run.rs"]
mod run;
#[path = "tus_clients/rust.rs"]
mod rust;
mod support;

use ground::{Ground, Where};
use proxy::{Lost, Plan, Trouble};
use run::{Client, How, Job};

/// What goes wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Happens {
    Nothing,
    /// The connection breaks so often, anywhere; every other time the server does not notice.
    Cuts(usize),
    LastAnswerLost,
    CreationLost,
    /// The server is killed in the middle, and started again.
    ServerKilled,
    /// The connection breaks while the creation brings bytes.
    CreationCut,
    /// The client is killed in the middle, and started again.
    ClientKilled,
}

macro_rules! tried {
    ($($name:ident: $client:ident $how:ident, $happens:expr, $place:ident, $size:expr;)+) => {
        $(
            #[test]
            fn $name() {
                use Happens::*;
                try_client(Client::$client, How::$how, $happens, Where::$place, $size);
            }
        )+
    };
}

const SIZE: usize = 2_000_000;

#[rustfmt::skip]
tried! {
    tus_js_client:                                     TusJs       Whole,               Nothing,        Direct,    SIZE;
    tus_js_client_in_chunks:                           TusJs       Chunked,             Nothing,        Direct,    SIZE;
    tus_js_client_of_a_stream:                         TusJs       Deferred,            Nothing,        Direct,    SIZE;
    tus_js_client_with_the_creation:                   TusJs       WithCreation,        Nothing,        Direct,    SIZE;
    tus_js_client_without_patch:                       TusJs       Override,            Nothing,        Direct,    SIZE;
    tus_js_client_of_nothing:                          TusJs       Whole,               Nothing,        Direct,    0;
    tus_js_client_of_nothing_with_the_creation:        TusJs       NothingWithCreation, Nothing,        Direct,    0;
    tus_js_client_gives_up:                            TusJs       Cancelled,           Nothing,        Direct,    SIZE;
    tus_js_client_is_cut:                              TusJs       Whole,               Cuts(20),       Direct,    SIZE;
    tus_js_client_is_cut_in_chunks:                    TusJs       Chunked,             Cuts(20),       Direct,    SIZE;
    tus_js_client_is_cut_in_a_stream:                  TusJs       Deferred,            Cuts(20),       Direct,    SIZE;
    tus_js_client_is_cut_on_azure:                     TusJs       Whole,               Cuts(20),       Azure,     SIZE;
    tus_js_client_loses_the_last_answer:               TusJs       Whole,               LastAnswerLost, Direct,    SIZE;
    tus_js_client_loses_the_last_answer_of_a_stream:   TusJs       Deferred,            LastAnswerLost, Direct,    SIZE;
    tus_js_client_loses_its_creation:                  TusJs       Whole,               CreationLost,   Direct,    SIZE;
    tus_js_client_is_cut_with_the_creation:            TusJs       WithCreation,        CreationCut,    Direct,    SIZE;
    tus_js_client_loses_a_creation_with_everything:    TusJs       WithCreation,        CreationLost,   Direct,    SIZE;
    tus_js_client_sees_the_server_killed:              TusJs       Whole,               ServerKilled,   Direct,    SIZE;
    tus_js_client_sees_the_server_killed_on_azure:     TusJs       Chunked,             ServerKilled,   Azure,     SIZE;
    tus_js_client_is_killed:                           TusJs       Chunked,             ClientKilled,   Direct,    SIZE;
    tus_js_client_through_nginx:                       TusJs       Whole,               Nothing,        Nginx,     SIZE;
    tus_js_client_sees_the_server_killed_behind_nginx: TusJs       Whole,               ServerKilled,   Nginx,     SIZE;
    tus_js_client_is_cut_before_nginx:                 TusJs       Whole,               Cuts(20),       Nginx,     SIZE;
    tus_js_client_is_cut_before_nginx_that_buffers:    TusJs       Chunked,             Cuts(3),        Buffering, SIZE;

    tuspy:                                             Tuspy       Whole,               Nothing,        Direct,    SIZE;
    tuspy_in_chunks_without_metadata:                  Tuspy       Chunked,             Nothing,        Direct,    SIZE;
    tuspy_of_nothing:                                  Tuspy       Whole,               Nothing,        Direct,    0;
    tuspy_is_cut:                                      Tuspy       Whole,               Cuts(20),       Direct,    SIZE;
    tuspy_is_cut_in_chunks:                            Tuspy       Chunked,             Cuts(20),       Direct,    SIZE;
    tuspy_loses_the_last_answer:                       Tuspy       Whole,               LastAnswerLost, Direct,    SIZE;
    tuspy_loses_its_creation:                          Tuspy       Whole,               CreationLost,   Direct,    SIZE;
    tuspy_sees_the_server_killed:                      Tuspy       Whole,               ServerKilled,   Direct,    SIZE;
    tuspy_is_killed:                                   Tuspy       Whole,               ClientKilled,   Direct,    SIZE;
    tuspy_sees_the_server_killed_behind_nginx:         Tuspy       Whole,               ServerKilled,   Nginx,     SIZE;
    tuspy_is_cut_before_nginx:                         Tuspy       Whole,               Cuts(20),       Nginx,     SIZE;
    tuspy_is_cut_before_nginx_that_buffers:            Tuspy       Chunked,             Cuts(3),        Buffering, SIZE;

    aiotus:                                            Aiotus      Whole,               Nothing,        Direct,    SIZE;
    aiotus_in_chunks:                                  Aiotus      Chunked,             Nothing,        Direct,    SIZE;
    aiotus_of_nothing:                                 Aiotus      Whole,               Nothing,        Direct,    0;
    aiotus_is_cut:                                     Aiotus      Whole,               Cuts(20),       Direct,    SIZE;
    aiotus_is_cut_in_chunks:                           Aiotus      Chunked,             Cuts(20),       Direct,    SIZE;
    aiotus_loses_the_last_answer:                      Aiotus      Whole,               LastAnswerLost, Direct,    SIZE;
    aiotus_loses_its_creation:                         Aiotus      Whole,               CreationLost,   Direct,    SIZE;
    aiotus_sees_the_server_killed:                     Aiotus      Whole,               ServerKilled,   Direct,    SIZE;
    aiotus_sees_the_server_killed_behind_nginx:        Aiotus      Whole,               ServerKilled,   Nginx,     SIZE;
    aiotus_is_cut_before_nginx:                        Aiotus      Whole,               Cuts(20),       Nginx,     SIZE;
    aiotus_is_cut_before_nginx_that_buffers:           Aiotus      Chunked,             Cuts(3),        Buffering, SIZE;

    tus_client:                                        TusClient   Whole,               Nothing,        Direct,    SIZE;
    tus_client_in_chunks:                              TusClient   Chunked,             Nothing,        Direct,    SIZE;
    tus_client_without_patch:                          TusClient   Override,            Nothing,        Direct,    SIZE;
    tus_client_gives_up:                               TusClient   Cancelled,           Nothing,        Direct,    SIZE;
    tus_client_of_nothing:                             TusClient   Whole,               Nothing,        Direct,    0;
    tus_client_is_cut:                                 TusClient   Whole,               Cuts(20),       Direct,    SIZE;
    tus_client_loses_the_last_answer:                  TusClient   Whole,               LastAnswerLost, Direct,    SIZE;
    tus_client_loses_its_creation:                     TusClient   Whole,               CreationLost,   Direct,    SIZE;
    tus_client_sees_the_server_killed:                 TusClient   Chunked,             ServerKilled,   Direct,    SIZE;
    tus_client_sees_the_server_killed_behind_nginx:    TusClient   Chunked,             ServerKilled,   Nginx,     SIZE;
    tus_client_is_cut_before_nginx:                    TusClient   Whole,               Cuts(20),       Nginx,     SIZE;
    tus_client_is_cut_before_nginx_that_buffers:       TusClient   Chunked,             Cuts(3),        Buffering, SIZE;

    tus_uploader:                                      TusUploader Whole,               Nothing,        Direct,    SIZE;
    tus_uploader_in_chunks:                            TusUploader Chunked,             Nothing,        Direct,    SIZE;
    tus_uploader_with_the_creation:                    TusUploader WithCreation,        Nothing,        Direct,    SIZE;
    tus_uploader_of_nothing:                           TusUploader Whole,               Nothing,        Direct,    0;
    tus_uploader_gives_up:                             TusUploader Cancelled,           Nothing,        Direct,    SIZE;
    tus_uploader_is_cut:                               TusUploader Whole,               Cuts(20),       Direct,    SIZE;
    tus_uploader_loses_the_last_answer:                TusUploader Whole,               LastAnswerLost, Direct,    SIZE;
    tus_uploader_loses_its_creation:                   TusUploader Whole,               CreationLost,   Direct,    SIZE;
    tus_uploader_is_cut_with_the_creation:             TusUploader WithCreation,        CreationCut,    Direct,    SIZE;
    tus_uploader_loses_a_creation_with_everything:     TusUploader WithCreation,        CreationLost,   Direct,    SIZE;
    tus_uploader_sees_the_server_killed:               TusUploader Chunked,             ServerKilled,   Direct,    SIZE;
    tus_uploader_sees_the_server_killed_behind_nginx:  TusUploader Chunked,             ServerKilled,   Nginx,     SIZE;
    tus_uploader_is_cut_before_nginx:                  TusUploader Whole,               Cuts(20),       Nginx,     SIZE;
    tus_uploader_is_cut_before_nginx_that_buffers:     TusUploader Chunked,             Cuts(3),        Buffering, SIZE;
}

/// What a client tells of the file, if it is asked to.
const NAME: &str = "写真 1.bin";

fn try_client(client: Client, how: How, happens: Happens, place: Where, size: usize) {
    if !client.is_here() {
        return;
    }
    let plan = happens.plan(size as u64);
    let Some(mut ground) = Ground::start(place, plan, &[]) else {
        return;
    };
    let folder = tempfile::tempdir().unwrap();
    let (file, bytes) = (folder.path().join("file"), support::noise(size));
    std::fs::write(&file, &bytes).unwrap();
    let job = Job {
        endpoint: ground.endpoint(),
        file,
        name: NAME,
        how,
    };
    let mut running = client.start(&job);
    match happens {
        Happens::ServerKilled => ground.kill_and_restart(),
        Happens::ClientKilled => {
            ground.proxy.await_hold();
            running.kill();
            ground.proxy.release();
            running = client.start(&job);
        }
        _ => {}
    }
    let url = running.end();
    let url = url.unwrap_or_else(|what| panic!("{what}\n{}", ground.seen()));
    assert!(ground.proxy.is_done(), "{}", ground.seen());

    let lost = usize::from(happens == Happens::CreationLost);
    assert_eq!(ground.proxy.created(), 1 + lost, "{}", ground.seen());
    if how == How::Cancelled {
        ground.assert_left(&[], 0);
        return;
    }
    let json = ground.assert_stored(&url, &bytes);
    if (client, how) != (Client::Tuspy, How::Chunked) {
        assert_eq!(json["filename"], NAME, "{json}");
    }
    match (happens, how) {
        (Happens::CreationLost, How::WithCreation) => {
            let twin = &ground.proxy.unknown()[0];
            ground.assert_stored(twin, &bytes);
            ground.assert_left(&[&url, twin], 0);
        }
        _ => ground.assert_left(&[&url], lost as u64),
    }
}

impl Happens {
    fn plan(self, size: u64) -> Plan {
        let mut plan = Plan {
            size,
            ..Plan::default()
        };
        match self {
            Self::Nothing => {}
            Self::Cuts(count) => {
                for (n, at) in positions(count, size).into_iter().enumerate() {
                    let trouble = [Trouble::Cut, Trouble::HalfOpen][n % 2];
                    plan.stops.push_back((at, trouble));
                }
            }
            Self::LastAnswerLost => plan.lost = Some(Lost::LastBytes),
            Self::CreationLost => plan.lost = Some(Lost::Creation),
            Self::CreationCut => plan.stops.push_back((size / 2, Trouble::Cut)),
            Self::ServerKilled | Self::ClientKilled => {
                plan.stops.push_back((size / 2, Trouble::Hold));
            }
        }
        plan
    }
}

/// So many positions in a file, in order.
fn positions(count: usize, size: u64) -> Vec<u64> {
    let given = std::env::var("ATTACHE_TEST_SEED").ok();
    let seed = given.and_then(|seed| seed.parse().ok()).unwrap_or_else(|| {
        let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
        now.unwrap().as_micros() as u64
    });
    println!("ATTACHE_TEST_SEED={seed}");
    let mut state = seed | 1;
    let mut chosen = std::collections::BTreeSet::new();
    while chosen.len() < count {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        chosen.insert(state % size);
    }
    chosen.into_iter().collect()
}
