//! Whether all is well, in a sentence, and if not, what to do.

use bytesize::ByteSize;

use crate::observe::history::Sample;
use crate::observe::status::{Health, Level, MovingStatus, Status};

/// Samples that count as "now": one minute.
const NOW: usize = 12;

/// Samples that [`assess`] wants: failures are told for five minutes.
pub const LOOKS_BACK: usize = 60;

/// A share of failures from which a store is not merely having a bad moment.
const MANY: f64 = 0.1;

/// A token or key that cannot be renewed and is shorter than this is close to the end.
const CLOSE_S: f64 = 10.0 * 60.0;

/// Azure refuses requests whose clock is off by 15 minutes
/// (<https://learn.microsoft.com/rest/api/storageservices/authorize-with-shared-key#specifying-the-date-header>).
const SKEW_S: f64 = 5.0 * 60.0;

/// Growth of memory that is more than an allocator settling.
const GROWTH_PER_HOUR: f64 = 32.0 * 1024.0 * 1024.0;

/// The most serious thing there is to say. `recent`: samples, newest first.
pub fn assess(status: &Status, recent: &[Sample]) -> Health {
    let mut found = vec![match &status.configuration.open_on {
        None => match status.catalog.replicas {
            Some(replicas) if replicas > 1 => Health {
                level: Level::Ok,
                sentence: format!("All is well with this replica, one of {replicas}."),
                advice: Some(
                    "Figures, history and limits are those of this replica; the others have a page each."
                        .to_owned(),
                ),
            },
            _ => Health {
                level: Level::Ok,
                sentence: "All is well.".to_owned(),
                advice: None,
            },
        },
        Some(address) => Health {
            level: Level::Ok,
            sentence: format!(
                "All is well. The server is open: everybody who reaches {address} may read, upload and delete."
            ),
            advice: Some(
                "Programs and users of this machine reach it, and everybody whom a web server in front lets through. To \
                 require authentication, set auth.mode."
                    .to_owned(),
            ),
        },
    }];
    if let Some(moving) = &status.storage.moving {
        let (sentence, advice) = how_far(moving);
        let health = &mut found[0];
        health.sentence = format!("{} {sentence}", health.sentence);
        health.advice = advice.map(str::to_owned).or(health.advice.take());
    }
    let mut say = |level, sentence: String, advice: &str| {
        found.push(Health {
            level,
            sentence,
            advice: Some(advice.to_owned()),
        });
    };
    if status.catalog.attachments.is_none() {
        say(
            Level::Trouble,
            match status.catalog.backend {
                "postgres" => {
                    "The database of the catalog does not respond, so nothing can be stored, and only what was asked for lately is \
                     delivered."
                }
                _ => "The catalog does not respond, so nothing can be stored or delivered.",
            }
            .to_owned(),
            match status.catalog.backend {
                "postgres" => "Look at the log, and whether the database that catalog.url names runs and has connections left.",
                _ => "Look at the log, and at the disk and the permissions of the file that catalog.url names.",
            },
        );
    }
    if !status.storage.in_place {
        say(
            Level::Trouble,
            "The folder of the store is empty, but the catalog names attachments: a disk is not mounted, or was wiped."
                .to_owned(),
            "Mount it. If the files are lost, put a copy back; nothing can be uploaded until then.",
        );
    }
    for lease in &status.leases {
        let what = match lease.name {
            "entra_token" | "gcs_token" => "an access token",
            "s3_credential" => "the credential of the store",
            _ => "a key that signs temporary URLs",
        };
        let (Some(error), left) = (&lease.last_error, lease.remaining_s.unwrap_or(0.0)) else {
            continue;
        };
        let advice = "Run `attache check`: it names the setting to change.";
        match left {
            left if left <= 0.0 => say(
                Level::Trouble,
                format!("Cannot obtain {what}: {error}"),
                advice,
            ),
            left => say(
                if left < CLOSE_S {
                    Level::Trouble
                } else {
                    Level::Attention
                },
                format!(
                    "Cannot renew {what}; the current one is good for another {:.0} minutes: {error}",
                    left / 60.0
                ),
                advice,
            ),
        }
    }
    failures(&recent[..recent.len().min(LOOKS_BACK)], &mut say);
    if let Some(error) = status
        .configuration
        .last_reload
        .as_ref()
        .and_then(|last| last.error.as_ref())
    {
        say(
            Level::Attention,
            format!("The configuration on disk is not in effect: {error}"),
            "Fix it; attache reloads it automatically. The previous configuration stays in effect.",
        );
    }
    let minute = &recent[..recent.len().min(NOW)];
    let limit = status.memory.transfer_limit_bytes;
    if minute.len() == NOW
        && minute
            .iter()
            .all(|sample| sample.transfer_bytes * 10 >= limit * 9)
    {
        say(
            Level::Attention,
            "Transfers use all of memory.transfer_bytes, so new ones wait.".to_owned(),
            "Raise memory.transfer_bytes, or lower upload.block_bytes or upload.concurrency.",
        );
    }
    if let Some(skew) = status
        .upstream
        .clock_skew_s
        .filter(|skew| skew.abs() >= SKEW_S)
    {
        say(
            Level::Attention,
            format!(
                "The clock of the store and ours differ by {:.0} minutes.",
                skew.abs() / 60.0
            ),
            "Set this machine's clock (chrony, systemd-timesyncd). From 15 minutes on stores refuse requests.",
        );
    }
    if let Some(trend) = status
        .memory
        .trend_bytes_per_hour
        .filter(|trend| *trend > GROWTH_PER_HOUR)
    {
        say(
            Level::Attention,
            format!(
                "Resident memory grows by {:.0} MiB an hour.",
                trend / 1024.0 / 1024.0
            ),
            "After a start, or with more load than before, it settles. If it does not, report it with /v1/status.",
        );
    }
    if status
        .sweep
        .as_ref()
        .is_some_and(|sweep| sweep.report.failed > 0)
    {
        say(
            Level::Attention,
            "The last sweep could not clean up everything that was interrupted.".to_owned(),
            "The next one tries again; the log says why.",
        );
    }
    // The first of the most serious ones.
    let worst = found.iter().map(|health| health.level).max();
    let said = found.iter().find(|health| Some(health.level) == worst);
    said.cloned().unwrap_or_else(|| found[0].clone())
}

/// How far a move between two stores is, and what to do if nobody seems to go on with it.
fn how_far(moving: &MovingStatus) -> (String, Option<&'static str>) {
    let MovingStatus { from, to, .. } = moving;
    let (Some(objects), Some(all), Some(bytes), Some(all_bytes), Some(age)) = (
        moving.objects,
        moving.total_objects,
        moving.bytes,
        moving.total_bytes,
        moving.changed_s,
    ) else {
        return (
            format!("Moving from {from} to {to}: nobody has begun to."),
            Some("Run `attache move`. Until then what is old is read from where it has been."),
        );
    };
    let size = |bytes| ByteSize(bytes).display().iec();
    let counts = format!(
        "Moving from {from} to {to}: {objects} of {all} objects, {} of {}",
        size(bytes),
        size(all_bytes)
    );
    let age = match age {
        age if age < 120.0 => format!("{age:.0} s"),
        age if age < 7200.0 => format!("{:.0} minutes", age / 60.0),
        age => format!("{:.0} hours", age / 3600.0),
    };
    if objects == all {
        return (
            format!("{counts}, last change {age} ago."),
            Some(
                "`attache move --finish` looks whether all of it has come; then take storage.moving_from out of the configuration.",
            ),
        );
    }
    match moving.changed_s.is_some_and(|age| age > STALE_S) {
        false => (format!("{counts}, last change {age} ago."), None),
        true => (
            format!("{counts}, and no change for {age}."),
            Some(
                "A mover of large files may be silent for long. If none runs, run `attache move`, which says what it cannot move, and goes on \
                 where another one ended.",
            ),
        ),
    }
}

/// A mover notes how far it is every two seconds, if a file has come meanwhile.
const STALE_S: f64 = 60.0;

/// Whether a failure of this code means that nothing works until somebody has done something.
fn stops_all(cause: &str) -> bool {
    matches!(
        cause,
        "storage_full" | "upstream_refused" | "container_not_found"
    )
}

/// Operations that failed, worst cause first.
fn failures(recent: &[Sample], say: &mut impl FnMut(Level, String, &str)) {
    let mut causes: Vec<(&str, u64)> = Vec::new();
    for (cause, number) in recent.iter().flat_map(|sample| &sample.failed) {
        match causes.iter_mut().find(|(known, _)| known == cause) {
            Some((_, sum)) => *sum += number,
            None => causes.push((cause, *number)),
        }
    }
    // What keeps everything from working comes first, even if it has just begun.
    let Some((cause, number)) = causes
        .iter()
        .max_by_key(|(cause, number)| (stops_all(cause), *number))
    else {
        return;
    };
    let every = crate::observe::history::SAMPLE_EVERY.as_secs_f64();
    let ok: f64 = recent.iter().map(|sample| sample.ok_per_s * every).sum();
    let failed: u64 = causes.iter().map(|(_, number)| number).sum();
    let share = failed as f64 / (ok + failed as f64).max(1.0);
    let (what, advice) = match *cause {
        "storage_full" => (
            "the disk is full",
            "Free some space, or move storage.local.root.",
        ),
        "upstream_unavailable" => (
            "the store cannot be reached or fails",
            "Run `attache check`; look at the store's own status.",
        ),
        "upstream_timeout" => (
            "the store is too slow or silent",
            "Look at the network, and at the store's own status.",
        ),
        "upstream_refused" => (
            "the store refuses our credential, account or container",
            "Run `attache check`: it names the setting to change.",
        ),
        "container_not_found" => (
            "the container does not exist",
            "Create it, or set storage.azure.container, storage.s3.bucket or storage.gcs.bucket. If it was deleted, restore it before anything else: with soft delete \
             for containers it can be for some days.",
        ),
        "bytes_missing" => (
            "the data of attachments is missing in the store",
            "Run `attache verify`: it lists them. Something other than attache removed them from the store.",
        ),
        _ => (
            "of an error in attache or on its disk",
            "Look at the log; it has the details under each request_id.",
        ),
    };
    let level = match *cause {
        cause if stops_all(cause) => Level::Trouble,
        _ if share >= MANY => Level::Trouble,
        _ => Level::Attention,
    };
    let operations = match *number {
        1 => "operation",
        _ => "operations",
    };
    say(
        level,
        format!("In the last minutes {number} {operations} failed, because {what}."),
        advice,
    );
}

#[cfg(test)]
mod tests {
    use super::*;

    fn told(objects: u64, changed_s: f64) -> String {
        let moving = MovingStatus {
            from: "local /a".to_owned(),
            to: "s3 b".to_owned(),
            objects: Some(objects),
            total_objects: Some(20),
            bytes: Some(objects * 1024),
            total_bytes: Some(20 * 1024),
            changed_s: Some(changed_s),
        };
        let (sentence, advice) = how_far(&moving);
        format!("{sentence} {}", advice.unwrap_or_default())
    }

    #[test]
    fn how_far_a_move_is_is_told_and_also_that_it_goes_on_no_more() {
        let goes_on = told(7, 3.2);
        assert_eq!(
            goes_on.trim(),
            "Moving from local /a to s3 b: 7 of 20 objects, 7.0 KiB of 20.0 KiB, last change 3 s ago."
        );
        let stands = told(7, 600.0);
        assert!(stands.contains("no change for 10 minutes"), "{stands}");
        assert!(stands.contains("run `attache move`"), "{stands}");
        let done = told(20, 86_400.0);
        assert!(done.contains("last change 24 hours ago"), "{done}");
        assert!(done.contains("attache move --finish"), "{done}");
    }
}
