//! Two stores, while one is emptied into the other: what is written goes into the new one, what is read comes from wherever it is.

use std::cmp::Ordering;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use futures::stream::{self, BoxStream, Peekable, StreamExt as _};

use super::{
    Bucket, BucketPlace, Content, Grant, Multipart, Object, ObjectInfo, Offer, Opened, Probe,
    PutGrant, PutOffer, Remark, Storage, Stored, Vitals,
};
use crate::attachment::{Attachment, ByteRange, ObjectKey};
use crate::bounded::Bounded;
use crate::error::{Error, ErrorKind, Result};
use crate::transfer::body::Body;

/// Objects of which it is remembered that they are in the new store: those that many ask for are looked for once.
const REMEMBERED: usize = 64 * 1024;

/// How long a probe waits for the store that is emptied: less than load balancers, and than [`ready`](crate::Attache::ready) is given, as what
/// has moved does not need it.
const OLD_PROBE_TIME: Duration = Duration::from_secs(2);

/// A store that takes everything that is new, over one that still has what is old.
///
/// An object is read from the new store if it is there, else from the old one. Nothing is written into the old one, and nothing but
/// what is deleted leaves it. An offer of the store itself costs one look into the new store for each object that it was not yet seen in.
#[derive(Debug)]
pub struct Moving {
    to: Arc<dyn Storage>,
    from: Arc<dyn Storage>,
    seen: Mutex<Bounded<ObjectKey, ()>>,
}

impl Moving {
    /// What empties `from` into `to`.
    pub fn new(to: Arc<dyn Storage>, from: Arc<dyn Storage>) -> Self {
        Self {
            to,
            from,
            seen: Mutex::new(Bounded::new(REMEMBERED)),
        }
    }

    /// The store that takes everything.
    pub fn to(&self) -> &Arc<dyn Storage> {
        &self.to
    }

    /// The store that is emptied.
    pub fn from(&self) -> &Arc<dyn Storage> {
        &self.from
    }

    /// Whether an object of the new store is what was uploaded, and its row has the version that the old store names, as it has until it is
    /// noted that its object has come.
    pub(crate) async fn has_just_come(&self, row: &Attachment, object: &ObjectInfo) -> bool {
        let has_other_md5 =
            matches!((row.md5, object.md5), (Some(one), Some(other)) if one != other);
        if has_other_md5 || object.sha256 != Some(row.sha256) {
            return false;
        }
        let old = self.from.head(&row.key).await;
        // Of a store that is away nothing is known.
        old.is_ok_and(|old| old.is_some_and(|old| old.store_tag == row.store_tag))
    }

    /// Asks the old store, for so long at most: one that is away is asked again and again otherwise.
    ///
    /// # Errors
    ///
    /// What is wrong with `storage.moving_from`.
    pub(crate) async fn probe_from(&self, patience: Duration) -> Result<Probe> {
        let probe = tokio::time::timeout(patience, self.from.probe()).await;
        probe.map_or_else(
            |_| Err(old_is_late(patience)),
            |probe| probe.map_err(of_the_old),
        )
    }

    fn seen(&self) -> MutexGuard<'_, Bounded<ObjectKey, ()>> {
        self.seen.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether an object has come to the new store.
    async fn has_moved(&self, key: &ObjectKey) -> Result<bool> {
        if self.seen().get(key).is_some() {
            return Ok(true);
        }
        // What is there for a moment, while an upload is taken back, is not what was moved.
        let found = self.to.head(key).await?;
        let moved = found.is_some_and(|object| object.facts_size == Some(object.size));
        if moved {
            self.seen().insert(key.clone(), ());
        }
        Ok(moved)
    }
}

/// An error of the store that is emptied, which says so to whoever can change something: its sentences name keys of `storage`.
pub(crate) fn of_the_old(error: Error) -> Error {
    match error.is_for_operator() {
        false => error,
        true => error.about("storage.moving_from"),
    }
}

/// The store that is emptied was asked for so long.
pub(crate) fn old_is_late(patience: Duration) -> Error {
    let late = format!("timed out: no response within {} s", patience.as_secs());
    of_the_old(Error::new(ErrorKind::UpstreamTimeout, late).for_operator())
}

/// What came of the new store, or of the old one where the new one has nothing.
async fn either<T>(
    new: impl Future<Output = Result<T>>,
    old: impl Future<Output = Result<T>>,
) -> Result<T> {
    match new.await {
        Err(error) if error.kind() == ErrorKind::NotFound => old.await.map_err(of_the_old),
        outcome => outcome,
    }
}

#[async_trait]
impl Storage for Moving {
    fn name(&self) -> &'static str {
        self.to.name()
    }

    async fn put(&self, key: &ObjectKey, content: &Content, body: Body) -> Result<Stored> {
        self.to.put(key, content, body).await
    }

    fn computes_md5(&self) -> bool {
        self.to.computes_md5()
    }

    async fn get(&self, key: &ObjectKey, range: Option<ByteRange>) -> Result<Object> {
        either(self.to.get(key, range), self.from.get(key, range)).await
    }

    async fn open(&self, key: &ObjectKey, range: Option<ByteRange>) -> Result<Opened> {
        either(self.to.open(key, range), self.from.open(key, range)).await
    }

    async fn head(&self, key: &ObjectKey) -> Result<Option<ObjectInfo>> {
        match self.to.head(key).await? {
            Some(info) => Ok(Some(info)),
            None => self.from.head(key).await.map_err(of_the_old),
        }
    }

    async fn write_facts(
        &self,
        key: &ObjectKey,
        content: &Content,
        stored: &Stored,
    ) -> Result<Option<String>> {
        let written = self.to.write_facts(key, content, stored).await;
        let absent = |error: &Error| error.kind() == ErrorKind::NotFound;
        if written.as_ref().is_err_and(absent)
            && self.from.head(key).await.map_err(of_the_old)?.is_some()
        {
            return Err(Error::new(
                ErrorKind::Retained,
                "this object has not been moved yet, and nothing is written into storage.moving_from; run `attache move` first",
            )
            .during("facts", key.as_str()));
        }
        written
    }

    /// The new store first: what is left by a crash between the two is in the old one, as before.
    async fn delete(&self, key: &ObjectKey) -> Result<()> {
        self.to.delete(key).await?;
        self.seen().remove(key);
        self.from.delete(key).await.map_err(of_the_old)
    }

    async fn discard(&self, key: &ObjectKey) -> Result<()> {
        self.to.discard(key).await?;
        self.seen().remove(key);
        self.from.discard(key).await.map_err(of_the_old)
    }

    async fn tidy_up(&self, key: &ObjectKey) -> Result<()> {
        self.to.tidy_up(key).await?;
        self.from.tidy_up(key).await.map_err(of_the_old)
    }

    fn list(&self, after: Option<ObjectKey>) -> BoxStream<'_, Result<ObjectInfo>> {
        let old = self.from.list(after.clone());
        let old = old.map(|object| object.map_err(of_the_old));
        merged(self.to.list(after), old.boxed())
    }

    async fn offer(&self, key: &ObjectKey, grant: &Grant) -> Result<Option<Offer>> {
        if self.has_moved(key).await? {
            return self.to.offer(key, grant).await;
        }
        let offer = self.from.offer(key, grant).await.map_err(of_the_old)?;
        // The web server in front knows the folder, or the account, of the new store alone.
        Ok(offer.filter(|offer| matches!(offer, Offer::SignedUrl { .. })))
    }

    async fn offer_put(&self, key: &ObjectKey, grant: &PutGrant) -> Result<Option<PutOffer>> {
        self.to.offer_put(key, grant).await
    }

    /// Of the new store. What the old one says is told, and no more: what has moved is there without it.
    async fn probe(&self) -> Result<Probe> {
        let (new, old) = futures::join!(self.to.probe(), self.probe_from(OLD_PROBE_TIME));
        let mut probe = new?;
        probe.summary = match old {
            Ok(old) => format!("{}; moving from: {}", probe.summary, old.summary),
            Err(error) => format!(
                "{}; moving from: {}; what has not been moved cannot be read",
                probe.summary, error
            ),
        };
        Ok(probe)
    }

    /// Both. The new one has to be begun first, which is done once: an empty folder of a disk that is not mounted must not be taken for it.
    async fn is_in_place(&self, begin: bool) -> Result<bool> {
        Ok(self.from.is_in_place(false).await? && self.to.is_in_place(begin).await?)
    }

    fn multipart(&self) -> Option<&dyn Multipart> {
        self.to.multipart()
    }

    fn bucket(&self, place: &BucketPlace) -> Result<Option<Arc<dyn Bucket>>> {
        self.to.bucket(place)
    }

    fn moving(&self) -> Option<&Moving> {
        Some(self)
    }

    async fn remove_temporary_files(&self) -> Result<u64> {
        self.to.remove_temporary_files().await
    }

    async fn remarks(&self, sample: &ObjectKey) -> Vec<Remark> {
        self.to.remarks(sample).await
    }

    fn vitals(&self) -> Vitals {
        let (mut vitals, old) = (self.to.vitals(), self.from.vitals());
        vitals.connections_open += old.connections_open;
        vitals.connections_idle += old.connections_idle;
        vitals
    }
}

/// Both listings as one, in order; of what both have, what the new store says.
fn merged<'a>(
    new: BoxStream<'a, Result<ObjectInfo>>,
    old: BoxStream<'a, Result<ObjectInfo>>,
) -> BoxStream<'a, Result<ObjectInfo>> {
    type Listing<'a> = Peekable<BoxStream<'a, Result<ObjectInfo>>>;
    let start: (Listing<'a>, Listing<'a>) = (new.peekable(), old.peekable());
    stream::unfold(start, async |(mut new, mut old)| {
        let order = {
            let new = std::pin::Pin::new(&mut new).peek().await;
            let old = std::pin::Pin::new(&mut old).peek().await;
            match (new, old) {
                (None, None) => return None,
                (Some(Ok(new)), Some(Ok(old))) => new.key.cmp(&old.key),
                (Some(_), None) | (Some(Err(_)), _) => Ordering::Less,
                (_, Some(_)) => Ordering::Greater,
            }
        };
        let next = match order {
            Ordering::Less => new.next().await,
            Ordering::Greater => old.next().await,
            Ordering::Equal => {
                old.next().await;
                new.next().await
            }
        };
        next.map(|next| (next, (new, old)))
    })
    .boxed()
}
