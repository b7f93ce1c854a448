//! The tokens of a server: kept by the database, held in memory, and looked at for changes every second. A request costs no
//! I/O, and a token that was revoked works for a second more at most.

use std::sync::Arc;
use std::time::Duration;

use attache::Result;
use attache::access::tokens::{TokenId, TokenStore};

use super::caller::Caller;
use super::known::Known;
use super::session::Ended;

/// How often a server looks whether tokens were made or revoked, and notes which were used.
const LOOK_EVERY: Duration = Duration::from_secs(1);
const NOTE_EVERY: u32 = 60;

/// All tokens.
#[derive(Debug)]
pub(crate) struct Tokens {
    store: Arc<dyn TokenStore>,
    known: Known,
}

impl Tokens {
    /// Reads all tokens of `store`.
    pub(crate) async fn open(store: Arc<dyn TokenStore>) -> Result<Self> {
        let tokens = Self {
            store,
            known: Known::default(),
        };
        tokens.load().await?;
        Ok(tokens)
    }

    /// Ends sessions before their time, for every server on this database. One that is over by itself is forgotten.
    pub(crate) async fn end_sessions(&self, ended: Vec<Ended>) -> Result<()> {
        self.store.end_sessions(ended).await?;
        self.load().await
    }

    /// Whether somebody signed out of this session.
    pub(super) fn has_ended(&self, session: &Ended) -> bool {
        self.known.has_ended(session)
    }

    /// Whose token this is.
    pub(super) fn check(&self, text: &str) -> Option<Caller> {
        self.known.check(text)
    }

    /// The caller of a token that has not ended.
    pub(super) fn find(&self, id: &TokenId) -> Option<Caller> {
        self.known.find(id)
    }

    /// Whether there is any.
    pub(crate) fn is_empty(&self) -> bool {
        self.known.is_empty()
    }

    /// Keeps a server's memory of them true, until the future is dropped.
    pub(crate) async fn watch(self: Arc<Self>) {
        let mut version = None;
        for round in 1_u32.. {
            tokio::time::sleep(LOOK_EVERY).await;
            let note = round.is_multiple_of(NOTE_EVERY);
            if let Err(error) = self.look(&mut version, note).await {
                // Once a minute is enough for what is wrong all the time.
                if note || round == 1 {
                    tracing::warn!(
                        error = error.report(),
                        "cannot read tokens; those already loaded stay valid"
                    );
                }
                version = None;
            }
        }
    }

    async fn look(&self, version: &mut Option<i64>, note: bool) -> Result<()> {
        let now = self.store.version().await?;
        if *version != Some(now) {
            self.load().await?;
            *version = Some(now);
        }
        if note {
            self.note_used().await?;
        }
        Ok(())
    }

    /// Notes what was used since the last time; also before the process ends.
    pub(crate) async fn note_used(&self) -> Result<()> {
        let used = self.known.take_used();
        self.store.note_used(used.into_iter().collect()).await
    }

    async fn load(&self) -> Result<()> {
        let tokens = self.store.tokens().await?;
        let ended = self.store.ended_sessions().await?;
        self.known.replace(tokens, ended.into_iter().collect());
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use attache::access::Owners;
    use attache::access::config::SecretsConfig;
    use attache::access::tokens::{PREFIX, Token};
    use attache::catalog::config::CatalogConfig;
    use attache::catalog::open::open;
    use attache::secret::Secret;
    use time::OffsetDateTime;

    use super::*;

    async fn store(folder: &tempfile::TempDir) -> Arc<dyn TokenStore> {
        let url = format!("sqlite://{}", folder.path().join("attache.db").display());
        let catalog = CatalogConfig::of(url.parse().expect("a URL"));
        let secrets = SecretsConfig::default();
        open(&catalog, &secrets, None).await.expect("opened").tokens
    }

    async fn make(
        store: &Arc<dyn TokenStore>,
        name: &str,
        expires: Option<OffsetDateTime>,
    ) -> (Token, Secret) {
        let scopes = ["read", "write"].map(|scope| scope.parse().expect("a scope"));
        let owners: Owners = ["page:*".parse().expect("a pattern")].into_iter().collect();
        let (stored, text) =
            Token::generate(name, scopes.into_iter().collect(), owners, expires).expect("few");
        store.insert(&stored).await.expect("kept");
        (stored.token, text)
    }

    #[tokio::test]
    async fn a_token_opens_until_it_ends_or_is_revoked_and_nothing_like_it_does() {
        let folder = tempfile::tempdir().expect("a folder");
        let store = store(&folder).await;
        let (token, text) = make(&store, "ci", None).await;
        let soon = OffsetDateTime::now_utc() + Duration::from_secs(60);
        let (other, _) = make(&store, "other", Some(soon)).await;
        let past = OffsetDateTime::now_utc() - Duration::from_secs(60);
        let (_, ended) = make(&store, "ended", Some(past)).await;
        let tokens = Tokens::open(store.clone()).await.expect("read");
        let caller = tokens.check(text.expose()).expect("known");
        assert_eq!(&*caller.name, "token:ci");
        assert_eq!(
            (caller.scopes, caller.owners),
            (token.scopes, token.owners.clone())
        );
        assert_eq!(token.scopes.to_string(), "read write");
        assert!(tokens.find(&other.id).is_some());
        assert!(tokens.check(ended.expose()).is_none());
        let secret = text.expose().rsplit_once('_').expect("parts").1;
        let mixed = format!("{PREFIX}{}_{secret}", other.id);
        let unknown = format!("{PREFIX}{}_{secret}", TokenId::generate());
        for wrong in [
            &mixed,
            &unknown,
            &text.expose()[..text.expose().len() - 1],
            "att_",
            "",
        ] {
            assert!(tokens.check(wrong).is_none(), "{wrong}");
        }
        assert!(store.revoke(&token.id).await.expect("revoked"));
        assert!(!store.revoke(&token.id).await.expect("nothing to do"));
        tokens.load().await.expect("read");
        assert!(tokens.check(text.expose()).is_none());
    }

    #[tokio::test]
    async fn a_server_sees_what_another_process_makes_and_revokes_and_notes_what_was_used() {
        let folder = tempfile::tempdir().expect("a folder");
        let server = Tokens::open(store(&folder).await).await.expect("read");
        let cli = store(&folder).await;
        let mut version = None;
        server.look(&mut version, false).await.expect("looked");
        let (token, text) = make(&cli, "ci", None).await;
        assert!(server.check(text.expose()).is_none(), "not before it looks");
        server.look(&mut version, false).await.expect("looked");
        assert!(server.check(text.expose()).is_some());
        server.look(&mut version, true).await.expect("looked");
        let listed = cli.tokens().await.expect("listed");
        assert!(listed[0].token.last_used.is_some());
        cli.revoke(&token.id).await.expect("revoked");
        server.look(&mut version, false).await.expect("looked");
        assert!(server.check(text.expose()).is_none());
    }
}
