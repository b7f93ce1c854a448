//! A client that does everything at once, and writes down what it was told.

use std::collections::{BTreeMap, BTreeSet};
use std::io::Write as _;
use std::net::{SocketAddr, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, MutexGuard};
use std::time::Duration;

use sha2::{Digest as _, Sha256};

use crate::support::{Answer, BOUNDARY, field, file, form, try_read_answer};

/// As many are kept, about: more are deleted sooner.
const KEPT: usize = 60;

/// Everything that was told to somebody outside.
#[derive(Debug)]
pub(crate) struct Ledger {
    told: Mutex<Told>,
    /// What is uploaded has fewer bytes than this.
    longest: u64,
}

impl Default for Ledger {
    fn default() -> Self {
        Self::of_files_below(3_000_000)
    }
}

#[derive(Debug, Default)]
struct Told {
    /// Acknowledged uploads with their digests.
    stored: BTreeMap<String, String>,
    /// Digests of what was sent and not acknowledged, and how often.
    sent: BTreeMap<String, u64>,
    /// Deletions that were asked for and not acknowledged.
    doomed: BTreeMap<String, String>,
    /// Deletions that were acknowledged.
    deleted: BTreeSet<String>,
    counts: Counts,
}

#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Counts {
    /// Uploads that were acknowledged.
    pub(crate) uploads: u64,
    /// Uploads whose answer never came.
    pub(crate) uploads_broken: u64,
    pub(crate) bytes: u64,
    pub(crate) deletions: u64,
    pub(crate) deletions_broken: u64,
    pub(crate) reads: u64,
    pub(crate) reads_broken: u64,
    pub(crate) sweeps: u64,
    pub(crate) listings: u64,
    /// Answers that it cannot be done now: none while there is one server and its database is a file.
    pub(crate) away: u64,
    /// Whole answers that nobody should get here.
    pub(crate) refused: u64,
}

impl Ledger {
    pub(crate) fn of_files_below(longest: u64) -> Self {
        Self {
            told: Mutex::default(),
            longest,
        }
    }

    fn told(&self) -> MutexGuard<'_, Told> {
        // A client that found something wrong has panicked, and the test fails anyway.
        self.told
            .lock()
            .unwrap_or_else(std::sync::PoisonError::into_inner)
    }

    pub(crate) fn counts(&self) -> Counts {
        self.told().counts
    }

    /// Holds what is there (ids with digests) against what was told. Afterwards it is what was told. Returns how many
    /// uploads were stored although nobody was told.
    pub(crate) fn settle(&self, there: &BTreeMap<String, String>) -> u64 {
        let mut told = self.told();
        for (id, sha256) in &told.stored {
            assert_eq!(there.get(id), Some(sha256), "{id} was acknowledged");
        }
        for id in &told.deleted {
            assert!(!there.contains_key(id), "{id} was deleted and is back");
        }
        let mut unexpected = 0;
        for (id, sha256) in there {
            if told.stored.contains_key(id) {
                continue;
            }
            if let Some(doomed) = told.doomed.get(id) {
                assert_eq!(doomed, sha256, "{id} was to be deleted and has changed");
                continue;
            }
            let sent = told.sent.get_mut(sha256).filter(|times| **times > 0);
            *sent.unwrap_or_else(|| panic!("{id} is not what anybody sent")) -= 1;
            unexpected += 1;
        }
        told.stored = there.clone();
        told.sent.clear();
        told.doomed.clear();
        unexpected
    }
}

/// Works until it is told to stop, or nobody answers any more.
pub(crate) fn load(address: SocketAddr, seed: u64, ledger: &Ledger, stop: &AtomicBool) {
    let mut random = Random(seed | 1);
    while !stop.load(Ordering::Relaxed) {
        let crowded = ledger.told().stored.len() > KEPT;
        let goes_on = match random.below(100) {
            0..45 if !crowded => upload(address, &mut random, ledger),
            45..60 if !crowded => upload_form(address, &mut random, ledger),
            60..73 => read(address, &mut random, ledger),
            73..75 => list(address, ledger),
            75..80 => {
                let swept = ask(address, "POST", "/v1/admin/sweep", "", b"");
                ledger.told().counts.sweeps += 1;
                swept.is_some_and(|answer| expect(&answer, 200, ledger))
            }
            80..90 => delete_all(address, &mut random, ledger),
            _ => delete(address, &mut random, ledger),
        };
        if !goes_on {
            return;
        }
    }
}

fn upload(address: SocketAddr, random: &mut Random, ledger: &Ledger) -> bool {
    let bytes = random.bytes(ledger.longest);
    let owner = if random.below(2) == 0 {
        "&owner=page:1"
    } else {
        ""
    };
    let target = format!("/v1/attachments?filename=a.bin{owner}");
    let head = "content-type: application/octet-stream\r\n";
    if random.below(3) > 0 {
        return sent(ledger, &bytes, || {
            ask(address, "POST", &target, head, &bytes)
        });
    }
    // Of a length that nobody knows beforehand.
    let mut body = Vec::with_capacity(bytes.len() + 4096);
    for chunk in bytes.chunks(50_000) {
        body.extend_from_slice(format!("{:x}\r\n", chunk.len()).as_bytes());
        body.extend_from_slice(chunk);
        body.extend_from_slice(b"\r\n");
    }
    body.extend_from_slice(b"0\r\n\r\n");
    let head = format!("{head}transfer-encoding: chunked\r\n");
    sent(ledger, &bytes, || {
        ask(address, "POST", &target, &head, &body)
    })
}

fn upload_form(address: SocketAddr, random: &mut Random, ledger: &Ledger) -> bool {
    let bytes = random.bytes(ledger.longest);
    let body = form(&[
        field("owner", "page:2"),
        file("a.bin", "application/octet-stream", &bytes),
    ]);
    let head = format!("content-type: multipart/form-data; boundary={BOUNDARY}\r\n");
    sent(ledger, &bytes, || {
        ask(address, "POST", "/v1/attachments", &head, &body)
    })
}

/// Notes an upload as sent before, and as stored after.
fn sent(ledger: &Ledger, bytes: &[u8], send: impl FnOnce() -> Option<Answer>) -> bool {
    let sha = sha256(bytes);
    *ledger.told().sent.entry(sha.clone()).or_default() += 1;
    let Some(answer) = send() else {
        ledger.told().counts.uploads_broken += 1;
        return false;
    };
    if !expect(&answer, 201, ledger) {
        return true;
    }
    let json = answer.json();
    assert_eq!(json["sha256"], sha, "{json:#}");
    let mut told = ledger.told();
    *told.sent.get_mut(&sha).unwrap() -= 1;
    told.stored
        .insert(json["id"].as_str().unwrap().to_owned(), sha);
    told.counts.uploads += 1;
    told.counts.bytes += bytes.len() as u64;
    true
}

fn read(address: SocketAddr, random: &mut Random, ledger: &Ledger) -> bool {
    let Some((id, sha)) = pick(&ledger.told().stored, random) else {
        return true;
    };
    let answer = ask(address, "GET", &format!("/attachment/{id}"), "", b"");
    let mut told = ledger.told();
    match answer {
        Some(answer) if answer.status == 200 && !answer.truncated => {
            assert_eq!(sha256(&answer.body), sha, "{id}");
            told.counts.reads += 1;
            true
        }
        // Unless somebody deletes it, it is there.
        Some(answer) if answer.status == 404 => {
            assert!(
                !told.stored.contains_key(&id),
                "{id} is gone: {}",
                answer.text()
            );
            true
        }
        // A deletion may cut a read, too.
        Some(answer) if answer.truncated => {
            told.counts.reads_broken += 1;
            true
        }
        Some(answer) => {
            drop(told);
            expect(&answer, 200, ledger)
        }
        None => {
            told.counts.reads_broken += 1;
            false
        }
    }
}

fn list(address: SocketAddr, ledger: &Ledger) -> bool {
    let Some(answer) = ask(address, "GET", "/v1/attachments?limit=50", "", b"") else {
        return false;
    };
    if !answer.truncated && expect(&answer, 200, ledger) {
        assert!(answer.json()["items"].is_array(), "{}", answer.text());
        ledger.told().counts.listings += 1;
    }
    true
}

fn delete(address: SocketAddr, random: &mut Random, ledger: &Ledger) -> bool {
    let Some(id) = doom(ledger, random) else {
        return true;
    };
    let Some(answer) = ask(address, "DELETE", &format!("/v1/attachments/{id}"), "", b"") else {
        ledger.told().counts.deletions_broken += 1;
        return false;
    };
    if expect(&answer, 204, ledger) {
        deleted(ledger, id);
    }
    true
}

fn delete_all(address: SocketAddr, random: &mut Random, ledger: &Ledger) -> bool {
    let ids: Vec<String> = (0..3).filter_map(|_| doom(ledger, random)).collect();
    let body = serde_json::json!({ "ids": ids }).to_string();
    let head = "content-type: application/json\r\n";
    let Some(answer) = ask(
        address,
        "POST",
        "/v1/attachments:delete",
        head,
        body.as_bytes(),
    ) else {
        ledger.told().counts.deletions_broken += ids.len() as u64;
        return false;
    };
    if answer.truncated {
        ledger.told().counts.deletions_broken += ids.len() as u64;
        return false;
    }
    if expect(&answer, 200, ledger) {
        for result in answer.json()["results"].as_array().unwrap() {
            let id = result["id"].as_str().unwrap().to_owned();
            match result["outcome"].as_str() {
                Some("deleted") => deleted(ledger, id),
                Some("failed") => ledger.told().counts.away += 1,
                _ => panic!("{result:#}"),
            }
        }
    }
    true
}

/// Chooses one to be deleted; nobody else reads or deletes it from now on.
fn doom(ledger: &Ledger, random: &mut Random) -> Option<String> {
    let mut told = ledger.told();
    let (id, sha) = pick(&told.stored, random)?;
    told.stored.remove(&id);
    told.doomed.insert(id.clone(), sha);
    Some(id)
}

fn deleted(ledger: &Ledger, id: String) {
    let mut told = ledger.told();
    told.doomed.remove(&id);
    told.deleted.insert(id);
    told.counts.deletions += 1;
}

fn pick(from: &BTreeMap<String, String>, random: &mut Random) -> Option<(String, String)> {
    let at = random.below(from.len().max(1) as u64);
    let (id, sha) = from.iter().nth(usize::try_from(at).unwrap())?;
    Some((id.clone(), sha.clone()))
}

/// Whether the answer has this status. Any other whole answer is counted: the test has no load that is to be refused.
fn expect(answer: &Answer, status: u16, ledger: &Ledger) -> bool {
    match answer.status {
        found if found == status => return true,
        502..=504 => ledger.told().counts.away += 1,
        _ => {
            println!("refused: {}", answer.text());
            ledger.told().counts.refused += 1;
        }
    }
    false
}

/// `None` if there is no server, or it dies.
fn ask(address: SocketAddr, method: &str, target: &str, head: &str, body: &[u8]) -> Option<Answer> {
    let mut stream = TcpStream::connect(address).ok()?;
    stream
        .set_read_timeout(Some(Duration::from_secs(60)))
        .ok()?;
    let length = match head.contains("transfer-encoding") || method == "GET" {
        true => String::new(),
        false => format!("content-length: {}\r\n", body.len()),
    };
    let head =
        format!("{method} {target} HTTP/1.1\r\nhost: a\r\nconnection: close\r\n{head}{length}\r\n");
    stream.write_all(head.as_bytes()).ok()?;
    stream.write_all(body).ok()?;
    let answer = try_read_answer(&mut stream).ok()?;
    // What of an answer's head was received is not yet an acknowledgement.
    (method == "GET" || !answer.truncated).then_some(answer)
}

pub(crate) fn sha256(bytes: &[u8]) -> String {
    let digest = Sha256::digest(bytes);
    digest.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// Numbers that a seed repeats (xorshift64).
pub(crate) struct Random(pub(crate) u64);

impl Random {
    pub(crate) fn next(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0
    }

    pub(crate) fn below(&mut self, limit: u64) -> u64 {
        (self.next() >> 16) % limit
    }

    /// A file: of one block, just around one, of several, or empty.
    fn bytes(&mut self, longest: u64) -> Vec<u8> {
        const BLOCK: u64 = 64 * 1024;
        let length = match self.below(10) {
            0 => 0,
            1 => self.below(100),
            2 => BLOCK - 1 + self.below(3),
            3..6 => self.below(BLOCK),
            6..9 => self.below(8 * BLOCK),
            _ => self.below(longest),
        };
        let mut bytes = Vec::new();
        while (bytes.len() as u64) < length {
            bytes.extend_from_slice(&self.next().to_le_bytes());
        }
        bytes.truncate(usize::try_from(length).unwrap());
        bytes
    }
}
