//! What a run does: as it was asked for, or all of it.

use std::path::PathBuf;

use crate::Outcome;
use crate::cases::{Case, MIB};
use crate::world::Peer;

/// What to run.
pub struct Plan {
    pub quick: bool,
    pub rounds: usize,
    pub cases: Vec<Case>,
    /// Words of peers that take part besides attache; all if there are none.
    peers: Vec<String>,
    /// Whether the cases of memory and of starting run, too.
    pub rest: bool,
    /// Whether many large S3 uploads at once do.
    pub uploads: bool,
    /// Another attache, measured beside this one: a change is judged in one run.
    pub before: Option<PathBuf>,
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
            rest: true,
            uploads: true,
            before: None,
            command: ["cargo xtask bench"]
                .iter()
                .chain(flags)
                .copied()
                .collect::<Vec<_>>()
                .join(" "),
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
                    plan.before = Some(value.into());
                }
                "--peers" => plan.peers = value.split(',').map(str::to_owned).collect(),
                "--cases" => {
                    let wanted: Vec<&str> = value.split(',').collect();
                    plan.cases.retain(|case| wanted.contains(&case.word()));
                    plan.rest = wanted.contains(&"rest");
                    plan.uploads = wanted.contains(&"s3-uploads");
                }
                _ => return Err(format!("unknown flag {flag:?}").into()),
            }
        }
        if plan.rounds == 0 {
            plan.rounds = if plan.quick { 3 } else { 5 };
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

    pub fn takes_part(&self, peer: Peer) -> bool {
        match peer {
            Peer::Attache | Peer::AttacheS3 | Peer::AttacheS3Azure => true,
            Peer::AttacheBefore | Peer::AttacheS3Before => self.before.is_some(),
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
