//! What a deletion leaves. In a bucket with versions a plain DELETE hides an object and keeps its bytes, so every version is deleted by
//! its name (<https://docs.aws.amazon.com/AmazonS3/latest/userguide/DeletingObjectVersions.html>).

use futures::stream::{self, StreamExt as _, TryStreamExt as _};
use http::Method;

use super::ask::Ask;
use super::inner::Inner;
use super::page::{Entry, Listed, Next, Pages};
use super::refusal::Fault;
use super::xml::Element;

/// How many deletions run at a time.
const CONCURRENCY: usize = 8;

impl Inner {
    /// Whether deleted objects stay as versions. Who may not ask is taken to have none, and asks again the next time; `attache check` says
    /// so.
    pub(super) async fn keeps_versions(&self) -> Result<bool, Fault> {
        if let Some(known) = self.versioning.known() {
            return Ok(known);
        }
        let status = match self.versioning_status().await {
            Ok(status) => status,
            Err(Fault::Refused(refusal))
                if !refusal.code.contains("Bucket")
                    && matches!(refusal.status, 400 | 403 | 404 | 405 | 501) =>
            {
                return Ok(false);
            }
            Err(fault) => return Err(fault),
        };
        let keeps = status.is_some();
        self.versioning.note(keeps);
        Ok(keeps)
    }

    /// `Enabled`, or `Suspended`, which keeps those that there are; `None` for a bucket that never had versions.
    pub(super) async fn versioning_status(&self) -> Result<Option<String>, Fault> {
        let ask = Ask::new(Method::GET, "").query("versioning", "");
        let document = self.ask(&ask).await?.document().await?;
        let status = Element::read(&document).and_then(|root| {
            let status = root.text_of("Status")?;
            Some(status.to_owned())
        });
        Ok(status.filter(|status| !status.is_empty()))
    }

    /// Deletes an object, all versions of it. Nothing there is success.
    pub(super) async fn delete(&self, key: &str) -> Result<(), Fault> {
        if !self.keeps_versions().await? {
            return self.delete_one(key, "").await;
        }
        let versions = self.pages(Listed::Versions, key, Next::new());
        self.remove(versions.of_one_key()).await
    }

    /// Deletes everything whose key has this prefix. Nothing there is success.
    pub(super) async fn delete_all(&self, prefix: &str) -> Result<(), Fault> {
        let listed = match self.keeps_versions().await? {
            true => Listed::Versions,
            false => Listed::Objects,
        };
        let entries = self.pages(listed, prefix, Next::new());
        self.remove(entries).await
    }

    /// Removes all that is listed, two pages of it in memory at a time: a page begins behind the last entry of the one before, and stores
    /// differ in what they make of one that is gone by then.
    async fn remove(&self, mut pages: Pages<'_>) -> Result<(), Fault> {
        let mut page = pages.next().await?;
        while let Some(entries) = page {
            page = pages.next().await?;
            self.remove_each(pages.listed, entries).await?;
        }
        Ok(())
    }

    async fn remove_each(&self, listed: Listed, entries: Vec<Entry>) -> Result<(), Fault> {
        stream::iter(entries)
            .map(|entry| async move {
                match listed {
                    Listed::Uploads => self.abort_upload(&entry.key, &entry.id).await,
                    Listed::Objects | Listed::Versions => {
                        self.delete_one(&entry.key, &entry.id).await
                    }
                }
            })
            .buffer_unordered(CONCURRENCY)
            .try_collect()
            .await
    }

    /// Deletes one version of an object, or as the bucket does it: it is gone, or hidden. Nothing there is success.
    pub(super) async fn delete_one(&self, key: &str, version: &str) -> Result<(), Fault> {
        let mut ask = Ask::new(Method::DELETE, key);
        if !version.is_empty() {
            ask = ask.query(self.place.dialect.version_parameter(), version);
        }
        match self.ask(&ask).await {
            Ok(_) => Ok(()),
            Err(fault) if fault.is_absent() => Ok(()),
            Err(fault) => Err(fault),
        }
    }

    /// Removes whatever an interrupted upload under `key` left: the object, its pieces, and uploads at the store that nobody will complete.
    pub(super) async fn discard(&self, key: &str) -> Result<(), Fault> {
        self.delete(key).await?;
        self.tidy_up(key).await
    }

    /// Removes all pieces, and uploads that nobody has completed: whatever is not the object itself.
    pub(super) async fn tidy_up(&self, key: &str) -> Result<(), Fault> {
        self.delete_all(&super::staging::folder(key)).await?;
        let uploads = self.pages(Listed::Uploads, key, Next::new());
        self.remove(uploads.of_one_key()).await
    }
}
