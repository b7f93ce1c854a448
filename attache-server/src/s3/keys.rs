//! The access keys of a server: kept by the database, held in memory, and looked at for changes every second. A request costs no
//! I/O, and an access key that was removed opens nothing after two seconds.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;
use attache::Result;
use attache::access::access_keys::{AccessKey, AccessKeyId, AccessKeys};
use attache::secret::Secret;
use time::OffsetDateTime;

/// How often a server looks whether access keys were made or removed.
const LOOK_EVERY: Duration = Duration::from_secs(1);

/// After how many looks one that fails is logged again: once a minute is enough for what is wrong all the time.
const WARN_EVERY: u32 = 60;

/// All access keys.
#[derive(Debug)]
pub(crate) struct Keys {
    store: Arc<AccessKeys>,
    known: ArcSwap<HashMap<AccessKeyId, Arc<Known>>>,
}

/// An access key, and what its requests are signed with.
#[derive(Debug)]
pub(crate) struct Known {
    pub(crate) key: AccessKey,
    pub(crate) secret: Secret,
}

impl Keys {
    /// Reads all access keys of `store`.
    ///
    /// # Errors
    ///
    /// Those of the store.
    pub(crate) async fn open(store: Arc<AccessKeys>) -> Result<Self> {
        let keys = Self {
            store,
            known: ArcSwap::default(),
        };
        keys.load().await?;
        Ok(keys)
    }

    /// The access key of this id, unless it has ended.
    pub(crate) fn find(&self, id: &str) -> Option<Arc<Known>> {
        let known = self.known.load();
        let found = known.get(id)?;
        let has_ended = found.key.has_ended(OffsetDateTime::now_utc());
        (!has_ended).then(|| found.clone())
    }

    /// Keeps a server's memory of them true, until the future is dropped.
    pub(crate) async fn watch(self: Arc<Self>) {
        let mut version = None;
        for round in 1_u32.. {
            tokio::time::sleep(LOOK_EVERY).await;
            if let Err(error) = self.look(&mut version).await {
                if round == 1 || round.is_multiple_of(WARN_EVERY) {
                    tracing::warn!(
                        error = error.report(),
                        "cannot read access keys; those already loaded stay valid"
                    );
                }
                version = None;
            }
        }
    }

    async fn look(&self, version: &mut Option<i64>) -> Result<()> {
        // Before they are read: what changes meanwhile is seen by the next look.
        let now = self.store.version().await?;
        if *version != Some(now) {
            self.load().await?;
            *version = Some(now);
        }
        Ok(())
    }

    async fn load(&self) -> Result<()> {
        let opened = self.store.list().await?.into_iter();
        let known = opened.map(|(key, secret)| (key.id.clone(), Arc::new(Known { key, secret })));
        self.known.store(Arc::new(known.collect()));
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use attache::access::Scope;
    use attache::access::access_keys::NewAccessKey;
    use attache::access::config::SecretsConfig;
    use attache::catalog::config::CatalogConfig;
    use attache::catalog::open::open;

    use super::*;

    async fn store(folder: &tempfile::TempDir) -> Arc<AccessKeys> {
        let url = format!("sqlite://{}", folder.path().join("attache.db").display());
        let catalog = CatalogConfig::of(url.parse().expect("a URL"));
        let opened = open(&catalog, &SecretsConfig::default(), None).await;
        opened.expect("opened").access_keys
    }

    async fn make(
        store: &AccessKeys,
        name: &str,
        expires_at: Option<OffsetDateTime>,
    ) -> (AccessKey, Secret) {
        let new = NewAccessKey {
            name: name.to_owned(),
            buckets: vec!["media".to_owned()],
            prefix: "wiki/".to_owned(),
            scopes: [Scope::Read].into_iter().collect(),
            expires_at,
        };
        store.create(new).await.expect("made")
    }

    #[tokio::test]
    async fn an_access_key_is_found_with_its_secret_until_it_ends() {
        let folder = tempfile::tempdir().expect("a folder");
        let store = store(&folder).await;
        let (key, secret) = make(&store, "wiki", None).await;
        let now = OffsetDateTime::now_utc();
        let minute = Duration::from_secs(60);
        let (soon, _) = make(&store, "soon", Some(now + minute)).await;
        let (ended, _) = make(&store, "ended", Some(now - minute)).await;
        let keys = Keys::open(store).await.expect("read");
        let known = keys.find(key.id.as_str()).expect("known");
        assert_eq!((&known.key, &known.secret), (&key, &secret));
        assert!(keys.find(soon.id.as_str()).is_some());
        let unknown = AccessKeyId::generate();
        let cut = &key.id.as_str()[1..];
        for wrong in [ended.id.as_str(), unknown.as_str(), cut, ""] {
            assert!(keys.find(wrong).is_none(), "{wrong:?}");
        }
        assert!(!format!("{keys:?}").contains(secret.expose()));
    }

    #[tokio::test(start_paused = true)]
    async fn what_another_process_makes_or_removes_is_seen_within_two_seconds() {
        let folder = tempfile::tempdir().expect("a folder");
        let server = Arc::new(Keys::open(store(&folder).await).await.expect("read"));
        let cli = store(&folder).await;
        let watching = tokio::spawn(server.clone().watch());
        // Not with its first look, which reads in any case.
        let looked = || tokio::time::sleep(LOOK_EVERY * 2);
        looked().await;
        let (key, _) = make(&cli, "wiki", None).await;
        looked().await;
        assert!(server.find(key.id.as_str()).is_some());
        assert!(cli.revoke(&key.id).await.expect("removed"));
        looked().await;
        assert!(server.find(key.id.as_str()).is_none());
        watching.abort();
    }
}
