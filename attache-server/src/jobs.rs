//! What runs by itself beside the requests, until the server ends.

use std::time::Duration;

use attache::observe::history::SAMPLE_EVERY;
use tokio::signal::unix::Signal;
use tokio::task::JoinSet;

use crate::state::App;

/// How often what was interrupted is looked for.
const SWEEP_EVERY: Duration = Duration::from_secs(60 * 60);

/// How often it is looked for processes that died and left something, and for what this one could not finish. With the time after
/// which a replica counts as dead it makes less than half a minute.
const TAKE_OVER_EVERY: Duration = Duration::from_secs(10);

/// Starts all of it. Dropping the set ends it.
pub(crate) fn start(app: &App, hangup: Signal) -> JoinSet<()> {
    let mut jobs = JoinSet::new();
    jobs.spawn(sweep_regularly(app.clone()));
    jobs.spawn(take_over_regularly(app.clone()));
    jobs.spawn(watch_configuration(app.clone()));
    jobs.spawn(reload_on_hangup(app.clone(), hangup));
    jobs.spawn(app.tokens.clone().watch());
    if let Ok(keys) = app.s3_keys() {
        jobs.spawn(keys.watch());
        jobs.spawn(sweep_buckets_regularly(app.clone()));
    }
    jobs.spawn(observe_regularly(app.clone()));
    jobs
}

async fn sweep_regularly(app: App) {
    let mut timer = tokio::time::interval(SWEEP_EVERY);
    loop {
        timer.tick().await;
        match app.attache.sweep().await {
            Ok(report) if report == attache::observe::status::SweepReport::default() => {}
            Ok(report) => tracing::info!(?report, "swept"),
            Err(error) => tracing::warn!(error = error.report(), "sweeping failed"),
        }
    }
}

/// Removes what clients of the S3 endpoint gave up.
async fn sweep_buckets_regularly(app: App) {
    let mut timer = tokio::time::interval(SWEEP_EVERY);
    loop {
        timer.tick().await;
        for (name, config) in &app.settings().s3.buckets {
            let bucket = app.attache.bucket(&config.place(name), &config.prefix);
            let swept = match bucket {
                Ok(bucket) => bucket.sweep().await,
                Err(error) => Err(error),
            };
            match swept {
                Ok(0) => {}
                Ok(removed) => tracing::info!(bucket = name, removed, "swept a bucket"),
                Err(error) => {
                    tracing::warn!(
                        bucket = name,
                        error = error.report(),
                        "sweeping a bucket failed"
                    );
                }
            }
        }
    }
}

async fn take_over_regularly(app: App) {
    let mut timer = tokio::time::interval(TAKE_OVER_EVERY);
    timer.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    // The first sweep looks, too.
    timer.tick().await;
    loop {
        timer.tick().await;
        match app.attache.take_over().await {
            Ok(report) if report == attache::observe::status::SweepReport::default() => {}
            Ok(report) => tracing::info!(?report, "finished what was interrupted"),
            Err(error) => tracing::debug!(
                error = error.report(),
                "cannot look for what was interrupted"
            ),
        }
    }
}

/// Writes the history of the status page.
async fn observe_regularly(app: App) {
    let mut timer = tokio::time::interval(SAMPLE_EVERY);
    timer.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        timer.tick().await;
        app.attache.observe().await;
    }
}

async fn watch_configuration(app: App) {
    app.reloader.watch(&app.attache).await;
}

async fn reload_on_hangup(app: App, mut hangup: Signal) {
    while hangup.recv().await.is_some() {
        // Logged where it is decided.
        let _ = app.reloader.reload(&app.attache).await;
    }
}
