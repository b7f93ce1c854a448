//! What a reload may do.
//!
//! A file that was cut short, by an editor, `cp`, a full disk, is often valid: what is missing has its default, and
//! defaults are made for a first start on loopback. So a reload never opens what was closed; and unless somebody asked for
//! it, it takes nothing away and leaves the bytes where they are.

use std::net::SocketAddr;

use crate::config::auth::AuthMode;
use attache::config::load::keys_set_in;
use attache::{Error, ErrorKind, Result};

use super::source::Loaded;
use crate::config::Settings;

/// Why a configuration is loaded again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Trigger {
    /// SIGHUP, or `POST /v1/admin/reload`.
    Asked,
    /// A file changed. Nobody may have meant it.
    Noticed,
}

/// Whether `new` may take the place of the configuration in effect, and the text of its file.
///
/// # Errors
///
/// [`ErrorKind::Misconfigured`], saying what is not done and how to do it all the same.
pub(super) fn check(
    trigger: Trigger,
    (settings, text): (&Settings, Option<&str>),
    new: &Loaded,
    bound: SocketAddr,
) -> Result<()> {
    let opens = new.settings.auth.accepts(AuthMode::Open);
    if opens && !settings.auth.accepts(AuthMode::Open) {
        return Err(refusal(
            "auth.mode would become \"open\", so that everybody could read and delete everything; a reload does not do \
             that: restart attache if you mean it"
                .to_owned(),
        ));
    }
    // The address that is bound, which need not be the one in the file.
    if opens && !bound.ip().is_loopback() {
        return Err(refusal(format!(
            "auth.mode \"open\" is refused while attache listens on {bound}, which is not loopback"
        )));
    }
    if trigger == Trigger::Asked {
        return Ok(());
    }
    let confirm = "if you mean it, send SIGHUP or POST /v1/admin/reload";
    if let (Some(before), Some(now)) = (text, &new.text) {
        if before.len() > now.len() && before.starts_with(now.trim_end()) {
            return Err(refusal(format!(
                "the file seems to be cut short: it is the beginning of the one in effect; {confirm}"
            )));
        }
        let now = keys_set_in(now);
        let gone: Vec<String> = keys_set_in(before)
            .into_iter()
            .filter(|key| !now.contains(key))
            .collect();
        if !gone.is_empty() {
            return Err(refusal(format!(
                "{} {} no longer in the file; {confirm}",
                gone.join(", "),
                if gone.len() == 1 { "is" } else { "are" }
            )));
        }
    }
    if let Some(key) = settings
        .store
        .storage()
        .moved(&new.settings.store.storage())
    {
        return Err(refusal(format!(
            "{key} has changed: attachments that are stored now would not be found; {confirm}"
        )));
    }
    Ok(())
}

fn refusal(what: String) -> Error {
    Error::new(ErrorKind::Misconfigured, what)
}

#[cfg(test)]
mod tests {
    use super::*;

    const WHOLE: &str = "[server]\nlisten = \"127.0.0.1:9000\"\n[auth]\nmode = [\"token\"]\n[limits]\nrequests = 4096\n\
                         client_rate = \"20/s\"\n[upload]\nmax_file_bytes = \"25MiB\"\n[storage.local]\nroot = \"/srv/files\"\n";

    fn loaded(text: &str) -> Result<Loaded> {
        Ok(Loaded {
            settings: attache::config::load::from_parts(Some(text), [])?,
            text: Some(text.to_owned()),
        })
    }

    fn judged(trigger: Trigger, text: &str, bound: &str) -> Result<()> {
        let whole = loaded(WHOLE).expect("valid");
        let bound = bound.parse().expect("an address");
        check(
            trigger,
            (&whole.settings, whole.text.as_deref()),
            &loaded(text)?,
            bound,
        )
    }

    #[test]
    fn a_file_that_was_cut_short_is_never_taken_by_itself_wherever_it_was_cut() {
        for cut in 0..WHOLE.len() {
            // The last line end is no loss.
            if WHOLE[..cut].trim_end() == WHOLE.trim_end() {
                continue;
            }
            for bound in ["127.0.0.1:9000", "0.0.0.0:9000"] {
                judged(Trigger::Noticed, &WHOLE[..cut], bound)
                    .expect_err(&format!("taken when cut at {cut}"));
            }
        }
    }

    #[test]
    fn a_file_that_was_cut_short_opens_nothing_even_if_somebody_asks_for_it() {
        for cut in 0..WHOLE.len() {
            for bound in ["127.0.0.1:9000", "0.0.0.0:9000"] {
                let Ok(loaded) = loaded(&WHOLE[..cut]) else {
                    continue;
                };
                if judged(Trigger::Asked, &WHOLE[..cut], bound).is_ok() {
                    assert_eq!(loaded.settings.auth.mode, [AuthMode::Token], "cut at {cut}");
                }
            }
        }
    }

    #[test]
    fn what_takes_nothing_away_is_taken_and_the_rest_when_somebody_asks() {
        let bound = "127.0.0.1:9000";
        for taken in [
            WHOLE.replace("25MiB", "50MiB"),
            format!("{WHOLE}[delivery]\nmode = \"relay\"\n"),
            format!("# A remark.\n{WHOLE}"),
        ] {
            judged(Trigger::Noticed, &taken, bound).expect("taken");
        }
        for (asked, why) in [
            (
                WHOLE.replace("client_rate = \"20/s\"\n", ""),
                "limits.client_rate is no longer in the file",
            ),
            (
                WHOLE.replace("/srv/files", "/mnt/files"),
                "storage.local.root has changed",
            ),
            (
                WHOLE.replace(
                    "[storage.local]",
                    "[storage]\nbackend = \"memory\"\n[storage.local]",
                ),
                "storage.backend has changed",
            ),
        ] {
            let error = judged(Trigger::Noticed, &asked, bound).expect_err("only if asked");
            assert!(error.to_string().contains(why), "{error}");
            judged(Trigger::Asked, &asked, bound).expect("asked for");
        }
        // What is moved is looked for where it was, too.
        let moving = WHOLE.replace("/srv/files", "/mnt/files")
            + "[storage.moving_from]\nbackend = \"local\"\nlocal = { root = \"/srv/files\" }\n";
        judged(Trigger::Noticed, &moving, bound).expect("nothing is lost");
        let elsewhere = moving.replace("/srv/files", "/srv/other");
        judged(Trigger::Noticed, &elsewhere, bound).expect_err("only if asked");
        let open = WHOLE.replace("[\"token\"]", "[\"open\"]");
        for trigger in [Trigger::Noticed, Trigger::Asked] {
            let error = judged(trigger, &open, bound).expect_err("never");
            assert!(
                error.to_string().contains("would become \"open\""),
                "{error}"
            );
        }
    }
}
