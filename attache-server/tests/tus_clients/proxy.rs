//! Stands between a client and a server, and breaks what it is told to break.

use std::collections::VecDeque;
use std::io::{Read as _, Write as _};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::{Arc, Condvar, Mutex};
use std::time::Duration;

/// What happens when so many bytes of the file have passed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Trouble {
    /// The connection ends, on both sides.
    Cut,
    /// The client's connection ends, and the server is not told: as behind a network that changes, or a proxy that dies.
    HalfOpen,
    /// Nothing moves until [`Proxy::release`], which ends the connection.
    Hold,
}

/// An answer that never arrives.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Lost {
    Creation,
    /// To the bytes after which nothing is missing.
    LastBytes,
}

/// What goes wrong, each once.
#[derive(Default)]
pub(crate) struct Plan {
    /// Positions in the file, the nearest first.
    pub(crate) stops: VecDeque<(u64, Trouble)>,
    pub(crate) lost: Option<Lost>,
    /// Of the file.
    pub(crate) size: u64,
}

pub(crate) struct Proxy {
    pub(crate) address: SocketAddr,
    shared: Arc<Shared>,
}

struct Shared {
    upstream: SocketAddr,
    plan: Mutex<Plan>,
    hold: Mutex<Hold>,
    changed: Condvar,
    seen: Mutex<Vec<String>>,
    /// Where uploads are of whose creation the client does not know.
    unknown: Mutex<Vec<String>>,
    half_open: Mutex<Vec<TcpStream>>,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Hold {
    No,
    Holding,
    Released,
}

impl Proxy {
    pub(crate) fn before(upstream: SocketAddr, plan: Plan) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let shared = Arc::new(Shared {
            upstream,
            plan: Mutex::new(plan),
            hold: Mutex::new(Hold::No),
            changed: Condvar::new(),
            seen: Mutex::default(),
            unknown: Mutex::default(),
            half_open: Mutex::default(),
        });
        let serving = shared.clone();
        std::thread::spawn(move || {
            for client in listener.incoming().map_while(Result::ok) {
                let shared = serving.clone();
                std::thread::spawn(move || shared.serve(client));
            }
        });
        Self { address, shared }
    }

    /// Waits until it holds a request.
    pub(crate) fn await_hold(&self) {
        let hold = self.shared.hold.lock().unwrap();
        let limit = Duration::from_secs(30);
        let waited = self
            .shared
            .changed
            .wait_timeout_while(hold, limit, |hold| *hold != Hold::Holding);
        assert!(!waited.unwrap().1.timed_out(), "{}", self.seen());
    }

    pub(crate) fn release(&self) {
        *self.shared.hold.lock().unwrap() = Hold::Released;
        self.shared.changed.notify_all();
    }

    /// Whether all that was to go wrong has.
    pub(crate) fn is_done(&self) -> bool {
        let plan = self.shared.plan.lock().unwrap();
        plan.stops.is_empty() && plan.lost.is_none()
    }

    /// How often nobody listened, or nobody behind nginx.
    pub(crate) fn refused(&self) -> usize {
        let seen = self.shared.seen.lock().unwrap();
        let refused = |line: &&String| {
            line.contains("nobody") || line.contains("HEAD") && line.contains("-> nothing")
        };
        seen.iter().filter(refused).count()
    }

    /// How many uploads were created, whether or not their clients know.
    pub(crate) fn created(&self) -> usize {
        let seen = self.shared.seen.lock().unwrap();
        seen.iter().filter(|line| line.contains(" -> 201")).count()
    }

    /// Where uploads are of whose creation the client does not know.
    pub(crate) fn unknown(&self) -> Vec<String> {
        self.shared.unknown.lock().unwrap().clone()
    }

    /// Every request and what became of it, a line each.
    pub(crate) fn seen(&self) -> String {
        self.shared.seen.lock().unwrap().join("\n")
    }
}

/// A connection ended.
struct Ended;

impl From<std::io::Error> for Ended {
    fn from(_: std::io::Error) -> Self {
        Self
    }
}

impl Shared {
    /// The requests of one connection, one after the other.
    fn serve(&self, client: TcpStream) {
        // Where nobody listens: the client sees its connection end.
        let Ok(server) = TcpStream::connect(self.upstream) else {
            self.seen.lock().unwrap().push("nobody listens".to_owned());
            return;
        };
        let (mut from_client, mut from_server) = (Side::of(&client), Side::of(&server));
        while self
            .exchange(&mut from_client, &mut from_server)
            .is_ok_and(|goes_on| goes_on)
        {}
        let _ = client.shutdown(Shutdown::Both);
        if !self.is_half_open(&server) {
            let _ = server.shutdown(Shutdown::Both);
        }
    }

    fn is_half_open(&self, server: &TcpStream) -> bool {
        let kept = self.half_open.lock().unwrap();
        let own = server.local_addr().ok();
        kept.iter().any(|kept| kept.local_addr().ok() == own)
    }

    /// A request and its answer; whether there may be another one.
    fn exchange(&self, client: &mut Side, server: &mut Side) -> Result<bool, Ended> {
        let head = client.head()?;
        let said = format!(
            "{} @{}+{}",
            head.first_line(),
            head.number("upload-offset").unwrap_or(0),
            head.length()
        );
        let ended = self.pass_request(&head, client, server);
        let answer = match ended {
            Ok(()) => server.head(),
            Err(ended) => Err(ended),
        };
        let Ok(answer) = answer else {
            self.seen.lock().unwrap().push(format!("{said} -> nothing"));
            return Err(Ended);
        };
        let status = answer.text.split(' ').nth(1).unwrap_or_default().to_owned();
        let bodiless = head.text.starts_with("HEAD ") || status == "204" || status == "304";
        let rest = if bodiless { 0 } else { answer.length() };
        let lost = self.loses(&head, &status);
        let fate = if lost { ", lost" } else { "" };
        let mut seen = self.seen.lock().unwrap();
        seen.push(format!("{said} -> {status}{fate}"));
        drop(seen);
        if lost {
            if let Some(location) = answer.field("location") {
                let mut unknown = self.unknown.lock().unwrap();
                unknown.push(location.to_owned());
            }
            return Err(Ended);
        }
        client.send(answer.text.as_bytes())?;
        for piece in server.body(rest) {
            client.send(&piece?)?;
        }
        let says_close = |head: &Head| {
            head.field("connection")
                .is_some_and(|value| value.eq_ignore_ascii_case("close"))
        };
        Ok(!says_close(&head) && !says_close(&answer))
    }

    fn pass_request(&self, head: &Head, client: &mut Side, server: &mut Side) -> Result<(), Ended> {
        server.send(head.text.as_bytes())?;
        if head.field("transfer-encoding").is_some() {
            return client.pass_chunks(server);
        }
        let mut position = head.number("upload-offset").unwrap_or(0);
        for piece in client.body(head.length()) {
            let piece = piece?;
            let piece = &piece[..];
            if let Some((at, trouble)) = self.next_stop(position + piece.len() as u64) {
                let before = usize::try_from(at.saturating_sub(position)).unwrap();
                server.send(&piece[..before])?;
                match trouble {
                    Trouble::Cut => {}
                    Trouble::HalfOpen => {
                        let mut kept = self.half_open.lock().unwrap();
                        kept.push(server.stream.try_clone()?);
                    }
                    Trouble::Hold => self.hold(),
                }
                return Err(Ended);
            }
            position += piece.len() as u64;
            // A server that answers before it has read everything may close.
            if server.send(piece).is_err() {
                break;
            }
        }
        Ok(())
    }

    /// What happens before byte `end` of the file, if anything; it does so once.
    fn next_stop(&self, end: u64) -> Option<(u64, Trouble)> {
        let mut plan = self.plan.lock().unwrap();
        match plan.stops.front() {
            Some((at, _)) if *at < end => plan.stops.pop_front(),
            _ => None,
        }
    }

    fn hold(&self) {
        let mut hold = self.hold.lock().unwrap();
        *hold = Hold::Holding;
        self.changed.notify_all();
        let limit = Duration::from_secs(60);
        let released = self
            .changed
            .wait_timeout_while(hold, limit, |hold| *hold == Hold::Holding);
        drop(released.unwrap());
    }

    fn loses(&self, head: &Head, status: &str) -> bool {
        let mut plan = self.plan.lock().unwrap();
        let end = head.number("upload-offset").unwrap_or(0) + head.length();
        let is_it = match plan.lost {
            Some(Lost::Creation) => status == "201",
            Some(Lost::LastBytes) => status == "204" && head.length() > 0 && end == plan.size,
            None => false,
        };
        if is_it {
            plan.lost = None;
        }
        is_it
    }
}

/// The head of a request or an answer, as it came.
struct Head {
    text: String,
}

impl Head {
    fn first_line(&self) -> &str {
        self.text.lines().next().unwrap_or_default()
    }

    fn field(&self, name: &str) -> Option<&str> {
        let fields = self
            .text
            .lines()
            .skip(1)
            .filter_map(|line| line.split_once(':'));
        let mut values = fields.filter(|(field, _)| field.eq_ignore_ascii_case(name));
        values.next().map(|(_, value)| value.trim())
    }

    fn number(&self, name: &str) -> Option<u64> {
        self.field(name)?.parse().ok()
    }

    fn length(&self) -> u64 {
        self.number("content-length").unwrap_or(0)
    }
}

/// One side of a connection, with what was read of it and is not used yet.
struct Side {
    stream: TcpStream,
    read: Vec<u8>,
}

impl Side {
    fn of(stream: &TcpStream) -> Self {
        Self {
            stream: stream.try_clone().unwrap(),
            read: Vec::new(),
        }
    }

    fn send(&mut self, bytes: &[u8]) -> Result<(), Ended> {
        Ok(self.stream.write_all(bytes)?)
    }

    /// Reads more; `Ended` if there is nothing more.
    fn more(&mut self) -> Result<(), Ended> {
        let mut buffer = [0; 16 * 1024];
        let got = self.stream.read(&mut buffer)?;
        self.read.extend_from_slice(&buffer[..got]);
        if got == 0 { Err(Ended) } else { Ok(()) }
    }

    fn head(&mut self) -> Result<Head, Ended> {
        loop {
            let end = self.read.windows(4).position(|four| four == b"\r\n\r\n");
            if let Some(end) = end {
                let rest = self.read.split_off(end + 4);
                let head = std::mem::replace(&mut self.read, rest);
                let text = String::from_utf8_lossy(&head).into_owned();
                return Ok(Head { text });
            }
            self.more()?;
        }
    }

    /// Passes a body in chunks on. Nothing happens in it: of these clients only tus-js-client sends one, and that is empty.
    fn pass_chunks(&mut self, to: &mut Side) -> Result<(), Ended> {
        loop {
            let end = self.read.windows(5).position(|five| five == b"0\r\n\r\n");
            if let Some(end) = end {
                let rest = self.read.split_off(end + 5);
                to.send(&std::mem::replace(&mut self.read, rest))?;
                return Ok(());
            }
            self.more()?;
        }
    }

    /// The next so many bytes, in pieces as they come.
    fn body(&mut self, length: u64) -> impl Iterator<Item = Result<Vec<u8>, Ended>> {
        let mut left = usize::try_from(length).unwrap();
        std::iter::from_fn(move || {
            if left == 0 {
                return None;
            }
            if self.read.is_empty()
                && let Err(ended) = self.more()
            {
                left = 0;
                return Some(Err(ended));
            }
            let rest = self.read.split_off(left.min(self.read.len()));
            let piece = std::mem::replace(&mut self.read, rest);
            left -= piece.len();
            Some(Ok(piece))
        })
    }
}
