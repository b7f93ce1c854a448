//! When a token or an access key ends, as it is typed and as it is shown.

use time::OffsetDateTime;

use super::out::minute;
use super::outcome::CommandError;

/// The end that `--expires` says: `90d` from now, or `never`.
pub(super) fn end(typed: &str) -> Result<Option<OffsetDateTime>, CommandError> {
    let typed = typed.trim();
    if typed == "never" {
        return Ok(None);
    }
    let life = humantime::parse_duration(typed).ok();
    let end = life
        .filter(|life| !life.is_zero())
        .and_then(|life| time::Duration::try_from(life).ok())
        .and_then(|life| OffsetDateTime::now_utc().checked_add(life));
    end.map(Some).ok_or_else(|| {
        CommandError::Usage(format!(
            "--expires is \"{typed}\", but must be a duration, such as 90d, or never"
        ))
    })
}

/// To the minute, for a list.
pub(super) fn shown(end: Option<OffsetDateTime>) -> String {
    match end {
        Some(end) if end <= OffsetDateTime::now_utc() => "ended".to_owned(),
        Some(end) => minute(end),
        None => "never".to_owned(),
    }
}
