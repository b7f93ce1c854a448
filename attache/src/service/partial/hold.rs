//! Who works on an upload: one request at a time, the newest one.
//!
//! A client that comes back has given its former request up, though that one may not know it for minutes: its connection is half open,
//! or a proxy holds it. So the newer request ends the older one, which stores what it has, and goes on. In this process the older one
//! is told at once; one of another process asks the catalog several times a second whether somebody waits for it. One that does
//! not let go in time (it was killed, or is paused) is passed over: the upload gets a new epoch, and what the older one still writes
//! does not count.

use std::sync::Arc;
use std::time::Duration;

use time::OffsetDateTime;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::{Attache, Parts};
use crate::attachment::AttachmentId;
use crate::catalog::partial::Upload;
use crate::error::Result;
use crate::observe::trace;
use crate::service::holds::Held;

/// How long a request waits for an older one to store what it has. Clients give up after some 9 s (tus-js-client's four delays).
const LET_GO_TIME: Duration = Duration::from_millis(2000);

/// How often a request of another process is asked for.
const ASK_EVERY: Duration = Duration::from_millis(100);

/// How often it is looked whether another process waits for what this one holds.
const LOOK_EVERY: Duration = Duration::from_millis(250);

/// An upload on which one request works. [`release`](Self::release) it; dropped, it is free in this process, and other ones find out
/// a moment later.
pub(super) struct Hold {
    service: Attache,
    /// As it was when it was taken.
    pub(super) upload: Upload,
    /// Of the configuration by then: from when it was taken it is seen to be in progress, and the store of an earlier one may have been given up
    /// before.
    pub(super) parts: Arc<Parts>,
    place: Place,
}

/// A request's place among those of this process.
struct Place {
    service: Attache,
    id: AttachmentId,
    held: Held,
}

impl Drop for Place {
    fn drop(&mut self) {
        self.service.0.holds.leave(&self.id, self.held.number);
        self.held.gone.cancel();
    }
}

impl Hold {
    /// Somebody waits for this request to end.
    pub(super) fn is_wanted(&self) -> CancellationToken {
        self.place.held.let_go.clone()
    }

    /// Lets go of the upload.
    pub(super) async fn release(self) {
        let Ok(partials) = self.service.partials() else {
            return;
        };
        let released = partials.release(&self.upload.id, self.upload.epoch).await;
        if let Err(error) = released {
            // Whoever comes next waits a moment longer.
            tracing::debug!(id = %self.upload.id, error = error.report(), "an upload was not let go of");
        }
    }
}

impl Attache {
    /// Takes an upload for one request, and ends the one that works on it.
    pub(super) async fn hold(&self, id: &AttachmentId) -> Result<Hold> {
        let place = self.enter(id).await;
        let partials = self.partials()?;
        let until = Instant::now() + LET_GO_TIME;
        let upload = loop {
            let force = Instant::now() >= until;
            let now = OffsetDateTime::now_utc();
            match partials.take(id, now, force).await? {
                Some(upload) => break upload,
                None => tokio::time::sleep(ASK_EVERY).await,
            }
        };
        let first = self.0.holds.taken(id, place.held.number, upload.epoch);
        if first {
            let this = self.clone();
            tokio::spawn(trace::carried(async move { this.watch().await }));
        }
        Ok(Hold {
            service: self.clone(),
            upload,
            parts: self.parts(),
            place,
        })
    }

    async fn enter(&self, id: &AttachmentId) -> Place {
        let mut instead_of = None;
        loop {
            match self.0.holds.enter(id, instead_of) {
                Ok(held) => {
                    return Place {
                        service: self.clone(),
                        id: id.clone(),
                        held,
                    };
                }
                Err(older) => {
                    older.let_go.cancel();
                    let gone = tokio::time::timeout(LET_GO_TIME, older.gone.cancelled()).await;
                    instead_of = gone.is_err().then_some(older.number);
                }
            }
        }
    }

    /// Looks whether requests of other processes wait for what this one holds, as long as it holds anything.
    async fn watch(&self) {
        while let Some(held) = self.0.holds.all() {
            tokio::time::sleep(LOOK_EVERY).await;
            let Ok(partials) = self.partials() else {
                continue;
            };
            match partials.contested(&held).await {
                Ok(contested) => {
                    let told = held.iter().filter(|(id, _)| contested.contains(id));
                    told.for_each(|(id, epoch)| self.0.holds.tell(id, *epoch));
                }
                Err(error) => {
                    tracing::debug!(error = error.report(), "cannot see who waits for uploads");
                }
            }
        }
    }
}
