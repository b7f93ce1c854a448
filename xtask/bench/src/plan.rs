//! What a run does: as it was asked for, or all of it.

use std::path::PathBuf;
use std::process::Command;

use crate::Outcome;
use crate::cases::{Case, MIB};
use crate::world::Peer;

/// Something that is measured in a way of its own, besides the rounds of cases.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Part {
    /// Starting, memory, slow readers.
    Rest,
    /// Many large S3 uploads at once.
    S3Uploads,
    /// Requests over many attachments, with their catalog in no cache.
    Many,
    /// How long requests take at half of the most that a peer can do.
    Latency,
    /// Costs at more and more streams, larger and larger relays, more and more rows.
    Streams,
    Sizes,
    Rows,
}

impl Part {
    const ALL: [Self; 7] = [
        Self::Rest,
        Self::S3Uploads,
        Self::Many,
        Self::Latency,
        Self::Streams,
        Self::Sizes,
        Self::Rows,
    ];

    /// A word for flags.
    const fn word(self) -> &'static str {
        match self {
            Self::Rest => "rest",
            Self::S3Uploads => "s3-uploads",
            Self::Many => "many",
            Self::Latency => "latency",
            Self::Streams => "streams",
            Self::Sizes => "sizes",
            Self::Rows => "rows",
        }
    }
}

/// What to run.
pub struct Plan {
    pub quick: bool,
    pub rounds: usize,
    pub cases: Vec<Case>,
    /// Words of peers that take part besides attache; all if there are none.
    peers: Vec<String>,
    /// What runs besides the rounds.
    parts: Vec<Part>,
    /// Another attache, measured beside this one: a change is judged in one run.
    pub before: Option<PathBuf>,
    /// Whether that one has access keys, and so buckets.
    before_has_keys: bool,
    /// As it was asked for, to be repeated.
    pub command: String,
}

impl Plan {
    pub fn parse(flags: &[&str]) -> Outcome<Self> {
        let mut plan = Self {
            quick: false,
            rounds: 0,
            cases: Case::ALL.to_vec(),
            peers: Vec::new(),
            parts: Part::ALL.to_vec(),
            before: None,
            before_has_keys: false,
            command: to_be_repeated(flags),
        };
        let mut flags = flags.iter();
        while let Some(flag) = flags.next() {
            if *flag == "--quick" {
                plan.quick = true;
                continue;
            }
            let value = flags
                .next()
                .ok_or_else(|| format!("{flag} needs a value"))?;
            match *flag {
                "--rounds" => plan.rounds = value.parse()?,
                "--before" => {
                    let help = Command::new(value).args(["key", "--help"]).output()?;
                    plan.before_has_keys = help.status.success();
                    plan.before = Some(value.into());
                }
                "--peers" => plan.peers = value.split(',').map(str::to_owned).collect(),
                "--cases" => {
                    let wanted: Vec<&str> = value.split(',').collect();
                    plan.cases
                        .retain(|case| wanted.iter().any(|word| is_of(case.word(), word)));
                    plan.parts
                        .retain(|part| wanted.iter().any(|word| is_of(part.word(), word)));
                }
                _ => return Err(format!("unknown flag {flag:?}").into()),
            }
        }
        if plan.rounds == 0 {
            plan.rounds = if plan.quick { 3 } else { 7 };
        }
        Ok(plan)
    }

    /// The large attachment.
    pub fn large(&self) -> u64 {
        if self.quick { 128 * MIB } else { 1024 * MIB }
    }

    /// Those who read slowly, and those who leave. rclone gets a tenth: each costs it megabytes.
    pub fn slow_readers(&self, peer: Peer) -> usize {
        let all = if self.quick { 500 } else { 2000 };
        if peer == Peer::Rclone { all / 10 } else { all }
    }

    pub fn leavers(&self) -> usize {
        if self.quick { 200 } else { 1000 }
    }

    /// Large uploads at the same time.
    pub fn uploads_at_once(&self) -> u64 {
        if self.quick { 16 } else { 40 }
    }

    /// Attachments of which none is cached, and requests of them in a round.
    pub fn many(&self) -> u64 {
        if self.quick { 20_000 } else { 100_000 }
    }

    pub fn many_requests(&self) -> u64 {
        self.many() / 5
    }

    /// How long requests come when they are due.
    pub fn latency_seconds(&self) -> f64 {
        if self.quick { 1.0 } else { 2.0 }
    }

    pub fn does(&self, part: Part) -> bool {
        self.parts.contains(&part)
    }

    pub fn takes_part(&self, peer: Peer) -> bool {
        match peer {
            Peer::Attache | Peer::AttacheLocal | Peer::AttacheS3 | Peer::AttacheS3Azure => true,
            Peer::AttacheS3Before => self.before_has_keys,
            _ if peer.is_before() => self.before.is_some(),
            _ => {
                self.peers.is_empty()
                    || self
                        .peers
                        .iter()
                        .any(|word| format!("{peer:?}").eq_ignore_ascii_case(word))
            }
        }
    }
}

/// The command of a run, as it can be repeated on another machine: without the path of the build before.
fn to_be_repeated(flags: &[&str]) -> String {
    let mut words = vec!["cargo xtask bench"];
    for flag in flags {
        words.push(match words.last() {
            Some(&"--before") => "PATH",
            _ => flag,
        });
    }
    words.join(" ")
}

/// Whether `wanted` names the case `word`, or its family: `local` is all of `local-relay-4k` and its siblings.
fn is_of(word: &str, wanted: &str) -> bool {
    word.strip_prefix(wanted)
        .is_some_and(|rest| rest.is_empty() || rest.starts_with('-'))
}
