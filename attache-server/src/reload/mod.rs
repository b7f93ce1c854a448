//! Loading the configuration again: on SIGHUP, on request, and when its file or a file that it names has changed.

use std::net::SocketAddr;
use std::ops::Deref;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use arc_swap::ArcSwap;
use attache::config::load;
use attache::observe::status::ReloadReport;
use attache::{Attache, Error, Result};
use tokio::time::Instant;

use crate::auth::Auth;
use crate::config::Settings;
use crate::net::tls::{self, Certificate, Tls};

mod allowed;
mod source;

use allowed::Trigger;

pub(crate) use source::{Loaded, Source};

/// How often files are looked at. Contents are compared, not times, so that renames and the symlink swaps of mounted
/// secrets count, on every file system.
const LOOK_EVERY: Duration = Duration::from_secs(2);

/// How long what was found must stay as it is before it is taken: editors, `cp` and configuration management cut a file
/// short before they write it.
const SETTLES_IN: Duration = Duration::from_millis(500);

/// How soon a configuration that could not be put to use is tried again; doubles with every failure.
const RETRY_FIRST: Duration = Duration::from_secs(2);
const RETRY_LAST: Duration = Duration::from_secs(60);

/// Loads the configuration again, and remembers what it tried.
#[derive(Debug)]
pub(crate) struct Reloader {
    source: Source,
    /// The address that is listened on, whatever the file says by now.
    bound: SocketAddr,
    /// The certificate in use.
    pub(crate) tls: Tls,
    settings: ArcSwap<Effective>,
    /// One reload at a time, so that the server's settings and the library's change in the same order.
    reloading: tokio::sync::Mutex<()>,
    state: Mutex<State>,
}

/// The settings in effect.
#[derive(Debug)]
pub(crate) struct Effective {
    settings: Settings,
    /// Counts up with every reload.
    pub(crate) generation: u64,
}

impl Deref for Effective {
    type Target = Settings;

    fn deref(&self) -> &Settings {
        &self.settings
    }
}

#[derive(Debug)]
struct State {
    /// The text of the file from which the configuration in effect was loaded.
    in_effect: Option<String>,
    /// What was last tried, and so need not be tried again: a configuration, or the words of its faults.
    tried: Result<Loaded, String>,
    /// What was tried could not be put to use, for a reason that may pass.
    failing: Option<Failing>,
}

/// When, and for whom, a configuration is tried again.
#[derive(Clone, Copy, Debug)]
struct Failing {
    trigger: Trigger,
    again: Instant,
    wait: Duration,
}

impl Reloader {
    /// # Errors
    ///
    /// [`ErrorKind::Misconfigured`](attache::ErrorKind::Misconfigured) if the certificate cannot be used.
    pub(crate) fn new(source: Source, loaded: Loaded, bound: SocketAddr) -> Result<Self> {
        Ok(Self {
            source,
            bound,
            tls: Tls::new(&loaded.settings.server.tls)?,
            settings: ArcSwap::from_pointee(Effective {
                settings: loaded.settings.clone(),
                generation: 1,
            }),
            reloading: tokio::sync::Mutex::new(()),
            state: Mutex::new(State {
                in_effect: loaded.text.clone(),
                tried: Ok(loaded),
                failing: None,
            }),
        })
    }

    /// The settings in effect. Keep them for one request, and no longer.
    pub(crate) fn settings(&self) -> Arc<Effective> {
        self.settings.load_full()
    }

    /// Loads and swaps in, for somebody who asked for it; the old configuration serves on if anything is wrong.
    pub(crate) async fn reload(&self, attache: &Attache) -> Result<ReloadReport> {
        let loaded = self.load().await;
        self.apply(attache, loaded, Trigger::Asked).await
    }

    /// Looks at the files until the future is dropped, and reloads when what they say has changed and stays so for a
    /// moment. What could not be put to use is tried again while it fails.
    pub(crate) async fn watch(&self, attache: &Attache) {
        loop {
            tokio::time::sleep(LOOK_EVERY).await;
            let mut seen = self.load().await;
            if self.wants(&seen).is_none() {
                continue;
            }
            // Somebody may still be writing.
            loop {
                let before = seen.map_err(|error| error.to_string());
                tokio::time::sleep(SETTLES_IN).await;
                seen = self.load().await;
                if is_tried(&seen, &before) {
                    break;
                }
            }
            // Meanwhile it may have been taken on request, or put back.
            let Some(trigger) = self.wants(&seen) else {
                continue;
            };
            tracing::info!("the configuration has changed");
            // Logged where it is decided.
            let _ = self.apply(attache, seen, trigger).await;
        }
    }

    /// For whom `seen` is to be tried now, if it is.
    fn wants(&self, seen: &Result<Loaded>) -> Option<Trigger> {
        let state = self.state();
        if !is_tried(seen, &state.tried) {
            return Some(Trigger::Noticed);
        }
        let failing = state
            .failing
            .filter(|failing| failing.again <= Instant::now());
        failing.map(|failing| failing.trigger)
    }

    async fn load(&self) -> Result<Loaded> {
        let source = self.source.clone();
        tokio::task::spawn_blocking(move || source.load())
            .await
            .unwrap_or_else(|error| Err(Error::internal("loading failed").with_source(error)))
    }

    async fn apply(
        &self,
        attache: &Attache,
        loaded: Result<Loaded>,
        trigger: Trigger,
    ) -> Result<ReloadReport> {
        let _turn = self.reloading.lock().await;
        let (in_effect, again) = self.begin(&loaded);
        let checked = loaded.and_then(|loaded| self.check(in_effect.as_deref(), loaded, trigger));
        let (tls, loaded) = match checked {
            Ok(checked) => checked,
            // It would say the same again: only another file, or somebody who asks, makes a difference.
            Err(error) => {
                attache.reload_failed(&error);
                return Err(error);
            }
        };
        let Loaded { mut settings, text } = loaded;
        let old = self.settings();
        let mut beside = ReloadReport {
            start_only: load::keep_start_only(&mut settings, &old.settings),
            ..ReloadReport::default()
        };
        if old.server.tls != settings.server.tls {
            beside.rebuilt.push("tls");
        }
        match attache.reload_with(settings.store.clone(), beside).await {
            Ok(report) => {
                // Nobody is waited for in between: what the library took, the server takes, too.
                self.settings.store(Arc::new(Effective {
                    settings,
                    generation: report.generation,
                }));
                self.tls.replace(tls);
                self.state().in_effect = text;
                Ok(report)
            }
            Err(error) => {
                let wait = again.map_or(RETRY_FIRST, |failing| (failing.wait * 2).min(RETRY_LAST));
                self.state().failing = Some(Failing {
                    trigger,
                    again: Instant::now() + wait,
                    wait,
                });
                Err(error)
            }
        }
    }

    /// Remembers what is tried. The text that is in effect; and since when the same fails, if it does.
    fn begin(&self, loaded: &Result<Loaded>) -> (Option<String>, Option<Failing>) {
        let mut state = self.state();
        let again = is_tried(loaded, &state.tried);
        state.tried = match loaded {
            Ok(loaded) => Ok(loaded.clone()),
            Err(error) => Err(error.to_string()),
        };
        let failing = state.failing.take();
        (state.in_effect.clone(), failing.filter(|_| again))
    }

    /// What may be put to use, with its certificate. Not in `load`, which looks every few seconds: this reads certificates
    /// and keys.
    fn check(
        &self,
        in_effect: Option<&str>,
        loaded: Loaded,
        trigger: Trigger,
    ) -> Result<(Option<Certificate>, Loaded)> {
        allowed::check(trigger, (&self.settings(), in_effect), &loaded, self.bound)?;
        Auth::check(&loaded.settings.auth)?;
        Ok((tls::load(&loaded.settings.server.tls)?, loaded))
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Whether it is the configuration that was tried, or fails in the same words.
fn is_tried(seen: &Result<Loaded>, tried: &Result<Loaded, String>) -> bool {
    match (seen, tried) {
        (Ok(seen), Ok(tried)) => seen == tried,
        (Err(seen), Err(tried)) => seen.to_string() == *tried,
        _ => false,
    }
}
