//! What users do, all at once, some of them badly.

use std::collections::VecDeque;
use std::io;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use super::dice::Dice;
use super::http::{Answer, Client, Send};

/// Attachments that are kept; the oldest goes when one more comes.
const SHELF: usize = 200;

/// What uploads are cut from; the largest is three blocks and a bit, so it goes up in blocks.
const STOCK: usize = 4 * 1024 * 1024;
const LARGEST: usize = 3_300_000;

/// What is done, and how often of 100.
const KINDS: [(&str, u64); 14] = [
    ("upload raw", 12),
    ("upload form", 8),
    ("upload of unknown length", 5),
    ("relay", 15),
    ("range", 8),
    ("ranges", 3),
    ("redirect", 14),
    ("temporary url", 9),
    ("not modified", 5),
    ("list", 3),
    ("not found", 3),
    ("delete", 7),
    ("leave a download", 4),
    ("leave an upload", 4),
];

/// How something ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum End {
    Done,
    /// The store had been broken on purpose, or the attachment was deleted meanwhile: 4xx, 5xx, a broken connection.
    Failed,
    /// Whole, and not what was uploaded; or an answer that no fault explains.
    Wrong,
}

/// An attachment: where in the stock its bytes lie.
#[derive(Clone, Debug)]
struct Item {
    id: String,
    from: usize,
    length: usize,
}

/// Everything that the workers share.
#[derive(Debug)]
pub(crate) struct Load {
    address: SocketAddr,
    stock: Vec<u8>,
    shelf: Mutex<VecDeque<Item>>,
    gate: Mutex<Gate>,
    moved: Condvar,
    counts: [[AtomicU64; 3]; KINDS.len()],
    first_wrong: Mutex<Option<String>>,
}

#[derive(Debug, Default)]
struct Gate {
    closed: bool,
    ended: bool,
    running: [usize; KINDS.len()],
}

/// What became of all that was done.
#[derive(Debug)]
pub(crate) struct Tally {
    pub(crate) kind: &'static str,
    pub(crate) done: u64,
    pub(crate) failed: u64,
    pub(crate) wrong: u64,
}

impl Load {
    pub(crate) fn new(address: SocketAddr) -> Self {
        let mut dice = Dice::new(7);
        let stock = (0..STOCK / 8).flat_map(|_| dice.next().to_le_bytes());
        Self {
            address,
            stock: stock.collect(),
            shelf: Mutex::default(),
            gate: Mutex::default(),
            moved: Condvar::new(),
            counts: Default::default(),
            first_wrong: Mutex::default(),
        }
    }

    /// Works until the end.
    pub(crate) fn work(&self, seed: u64) {
        let mut dice = Dice::new(seed);
        let mut client = Client::new(self.address);
        loop {
            let kind = pick(&mut dice);
            if !self.enter(kind, &mut client) {
                return;
            }
            let end = match self.act(KINDS[kind].0, &mut client, &mut dice) {
                Ok(end) => end,
                Err(error) if error.kind() == io::ErrorKind::InvalidData => {
                    self.wrong(KINDS[kind].0, &error.to_string())
                }
                Err(_) => End::Failed,
            };
            self.counts[kind][end as usize].fetch_add(1, Ordering::Relaxed);
            lock(&self.gate).running[kind] -= 1;
            self.moved.notify_all();
        }
    }

    /// Holds everybody; whether all that ran has ended within this time.
    pub(crate) fn rest(&self, patience: Duration) -> bool {
        let start = Instant::now();
        let mut gate = lock(&self.gate);
        gate.closed = true;
        while gate.running.iter().any(|running| *running > 0) {
            let Some(left) = patience.checked_sub(start.elapsed()) else {
                return false;
            };
            let waited = self.moved.wait_timeout(gate, left);
            gate = waited.unwrap_or_else(PoisonError::into_inner).0;
        }
        true
    }

    /// What runs now.
    pub(crate) fn running(&self) -> String {
        let gate = lock(&self.gate);
        let kinds = KINDS.iter().zip(gate.running);
        let running = kinds.filter(|(_, running)| *running > 0);
        let running = running.map(|((kind, _), running)| format!("{running} {kind}"));
        running.collect::<Vec<_>>().join(", ")
    }

    /// Lets everybody go on.
    pub(crate) fn go_on(&self) {
        lock(&self.gate).closed = false;
        self.moved.notify_all();
    }

    /// Sends everybody home.
    pub(crate) fn end(&self) {
        lock(&self.gate).ended = true;
        self.moved.notify_all();
    }

    /// Operations so far, however they ended.
    pub(crate) fn operations(&self) -> u64 {
        let all = self.counts.iter().flatten();
        all.map(|count| count.load(Ordering::Relaxed)).sum()
    }

    pub(crate) fn tallies(&self) -> Vec<Tally> {
        let count = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        let all = KINDS.iter().zip(&self.counts);
        all.map(|((kind, _), [done, failed, wrong])| Tally {
            kind,
            done: count(done),
            failed: count(failed),
            wrong: count(wrong),
        })
        .collect()
    }

    /// The first thing that was wrong, if any.
    pub(crate) fn first_wrong(&self) -> Option<String> {
        lock(&self.first_wrong).clone()
    }

    /// Waits while the gate is closed, without a connection. Whether there is more to do.
    fn enter(&self, kind: usize, client: &mut Client) -> bool {
        let mut gate = lock(&self.gate);
        loop {
            if gate.ended {
                return false;
            }
            if !gate.closed {
                gate.running[kind] += 1;
                return true;
            }
            client.close();
            gate = self
                .moved
                .wait(gate)
                .unwrap_or_else(PoisonError::into_inner);
        }
    }

    fn act(&self, kind: &str, client: &mut Client, dice: &mut Dice) -> io::Result<End> {
        let whole = Send::Whole(&[]);
        match kind {
            "upload raw" | "upload form" | "upload of unknown length" => {
                return self.upload(kind, client, dice);
            }
            "list" => {
                let answer = client.exchange("GET", "/v1/attachments?limit=20", "", whole)?;
                return Ok(self.expect(kind, &answer, 200));
            }
            "not found" => {
                let target = format!(
                    "/download/019a0000-0000-7000-8000-{:012x}",
                    dice.below(1 << 40)
                );
                let answer = client.exchange("GET", &target, "", whole)?;
                return Ok(self.expect(kind, &answer, 404));
            }
            "leave an upload" => {
                let (from, length) = self.cut(dice);
                let promised = length + 1 + dice.below(1_000_000);
                let target = "/v1/attachments?filename=left.bin";
                client.exchange(
                    "POST",
                    target,
                    BINARY,
                    Send::Broken(&self.stock[from..from + length], promised),
                )?;
                return Ok(End::Done);
            }
            _ => {}
        }
        let Some(item) = self.pick(dice, kind == "delete") else {
            return self.upload("upload raw", client, dice);
        };
        let Item { id, from, length } = &item;
        let bytes = &self.stock[*from..from + length];
        match kind {
            "relay" => {
                let target = format!("/download/{id}?via=relay");
                let answer = client.exchange("GET", &target, "", whole)?;
                Ok(self.expect_bytes(kind, &answer, 200, bytes))
            }
            "range" => {
                let start = dice.below(*length);
                let end = start + dice.below(length - start);
                let header = format!("range: bytes={start}-{end}\r\n");
                let target = format!("/attachment/{id}?via=relay");
                let answer = client.exchange("GET", &target, &header, whole)?;
                Ok(self.expect_bytes(kind, &answer, 206, &bytes[start..=end]))
            }
            "ranges" => {
                let header = "range: bytes=0-9,100-199,-50\r\n";
                let target = format!("/download/{id}?via=relay");
                let answer = client.exchange("GET", &target, header, whole)?;
                Ok(self.expect(kind, &answer, 206))
            }
            "redirect" => {
                let answer = client.exchange("GET", &format!("/attachment/{id}"), "", whole)?;
                Ok(self.expect(kind, &answer, 302))
            }
            "temporary url" => {
                let target = format!("/v1/attachments/{id}/url");
                let answer = client.exchange("POST", &target, "", whole)?;
                Ok(self.expect(kind, &answer, 200))
            }
            "not modified" => {
                let header = "if-none-match: *\r\n";
                let target = format!("/download/{id}?via=relay");
                let answer = client.exchange("GET", &target, header, whole)?;
                Ok(self.expect(kind, &answer, 304))
            }
            "delete" => {
                let target = format!("/v1/attachments/{id}");
                let answer = client.exchange("DELETE", &target, "", whole)?;
                Ok(self.expect(kind, &answer, 204))
            }
            _ => {
                client.leave_after(
                    &format!("/download/{id}?via=relay"),
                    dice.below(length + 500),
                )?;
                Ok(End::Done)
            }
        }
    }

    fn upload(&self, kind: &str, client: &mut Client, dice: &mut Dice) -> io::Result<End> {
        let (from, length) = self.cut(dice);
        let bytes = &self.stock[from..from + length];
        let query = "/v1/attachments?filename=soak.bin&owner=page:42";
        let answer = match kind {
            "upload raw" => client.exchange("POST", query, BINARY, Send::Whole(bytes))?,
            "upload form" => {
                let form = [
                    b"--soak\r\ncontent-disposition: form-data; name=\"owner\"\r\n\r\npage:7\r\n--soak\r\n\
                      content-disposition: form-data; name=\"file\"; filename=\"soak.bin\"\r\n\
                      content-type: application/octet-stream\r\n\r\n"
                        .as_slice(),
                    bytes,
                    b"\r\n--soak--\r\n",
                ]
                .concat();
                let header = "content-type: multipart/form-data; boundary=soak\r\n";
                client.exchange("POST", "/v1/attachments", header, Send::Whole(&form))?
            }
            _ => client.exchange("POST", query, BINARY, Send::Chunked(bytes, 50_000))?,
        };
        if answer.status != 201 {
            return Ok(self.expect(kind, &answer, 201));
        }
        let json: Option<serde_json::Value> = serde_json::from_slice(&answer.body).ok();
        let json = json.unwrap_or_default();
        let (Some(id), Some(size)) = (json["id"].as_str(), json["size"].as_u64()) else {
            return Ok(self.wrong(kind, "an answer without an id"));
        };
        if size != length as u64 {
            return Ok(self.wrong(kind, &format!("{length} bytes became {size}")));
        }
        let item = Item {
            id: id.to_owned(),
            from,
            length,
        };
        let oldest = {
            let mut shelf = lock(&self.shelf);
            shelf.push_back(item);
            (shelf.len() > SHELF).then(|| shelf.pop_front()).flatten()
        };
        if let Some(Item { id, .. }) = oldest {
            // One more operation that is counted with this one; if it fails, it is litter in the store, not in memory.
            client.exchange(
                "DELETE",
                &format!("/v1/attachments/{id}"),
                "",
                Send::Whole(&[]),
            )?;
        }
        Ok(End::Done)
    }

    /// A piece of the stock: mostly small, now and then large enough for several blocks.
    fn cut(&self, dice: &mut Dice) -> (usize, usize) {
        let largest = match dice.below(100) {
            0..70 => 32 * 1024,
            70..95 => 400 * 1024,
            _ => LARGEST,
        };
        let length = 1 + dice.below(largest);
        (dice.below(STOCK - length), length)
    }

    fn pick(&self, dice: &mut Dice, take: bool) -> Option<Item> {
        let mut shelf = lock(&self.shelf);
        if shelf.is_empty() {
            return None;
        }
        let place = dice.below(shelf.len());
        match take {
            true => shelf.swap_remove_back(place),
            false => shelf.get(place).cloned(),
        }
    }

    /// 4xx besides the expected one only where the attachment can have gone meanwhile.
    fn expect(&self, kind: &str, answer: &Answer, status: u16) -> End {
        match answer.status {
            got if got == status => End::Done,
            404 | 500.. => End::Failed,
            // Several ranges of a file that is too short for them are one, or all of it.
            200 | 416 if kind == "ranges" => End::Done,
            got => {
                let body = String::from_utf8_lossy(&answer.body);
                let body: String = body.chars().take(300).collect();
                self.wrong(kind, &format!("{got}: {body}"))
            }
        }
    }

    fn expect_bytes(&self, kind: &str, answer: &Answer, status: u16, bytes: &[u8]) -> End {
        if answer.status == status && answer.body != bytes {
            return self.wrong(kind, "other bytes than were uploaded");
        }
        self.expect(kind, answer, status)
    }

    fn wrong(&self, kind: &str, what: &str) -> End {
        lock(&self.first_wrong).get_or_insert_with(|| format!("{kind}: {what}"));
        End::Wrong
    }
}

const BINARY: &str = "content-type: application/octet-stream\r\n";

fn pick(dice: &mut Dice) -> usize {
    let all: u64 = KINDS.iter().map(|(_, weight)| weight).sum();
    let mut left = dice.next() % all;
    for (place, (_, weight)) in KINDS.iter().enumerate() {
        match left.checked_sub(*weight) {
            Some(rest) => left = rest,
            None => return place,
        }
    }
    0
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
