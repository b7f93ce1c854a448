//! The suite of tokens and keys, tested: databases that lie in one way each, and the promise that catches each of them.

use std::path::Path;
use std::sync::{Arc, Mutex};

use async_trait::async_trait;
use attache::access::access_keys::{AccessKeyId, AccessKeyStore, SealedAccessKey};
use attache::access::keys::{KeyStore, LINKS, SigningKey, generate};
use attache::access::tokens::{StoredToken, TokenId, TokenStore};
use attache::access::{Owners, Scopes};
use attache::testing::access::{access_keys, keys, tokens};
use attache::testing::processes::Process;
use attache::testing::{Fresh, access_suite};
use attache::{Error, ErrorKind, Result};

/// One way to lie.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Lie {
    KeepsTokensToItself,
    RefusesToRepeat,
    LosesOwners,
    NotesNoUse,
    RevokesNothing,
    RevokesWhatIsNotThere,
    StandsStill,
    ChangesWithUse,
    HidesEndedSessions,
    EndsNothing,
    RemembersForEver,
    HasKeysOfItsOwn,
    HasOneKeyForEverything,
    ReplacesNothing,
    ReplacesEverything,
    KeepsAccessKeysToItself,
    RefusesToRepeatAccessKeys,
    OpensEverythingBelow,
    PermitsEverything,
    NeverEnds,
    SpoilsWhatIsSealed,
    RevokesNoAccessKey,
    RevokesAccessKeysThatAreNotThere,
    HidesThatAccessKeysChange,
    HasRoomForAThird,
    HasRoomForOne,
    NeverFreesAName,
    NotAtAll,
}

#[derive(Debug)]
struct Liar {
    lie: Lie,
    honest: Process,
    inserted: Mutex<Vec<StoredToken>>,
    ended: Mutex<Vec<[u8; 32]>>,
    /// Names and ids of access keys that were made here.
    made: Mutex<Vec<(String, AccessKeyId)>>,
    own: SigningKey,
}

impl Liar {
    fn process(lie: Lie, honest: Process) -> Process {
        let liar = Arc::new(Self {
            lie,
            honest,
            inserted: Mutex::default(),
            ended: Mutex::default(),
            made: Mutex::default(),
            own: generate(),
        });
        Process {
            tokens: liar.clone(),
            keys: liar.clone(),
            access_keys: liar,
        }
    }

    fn lies(&self, lie: Lie) -> bool {
        self.lie == lie
    }
}

#[async_trait]
impl TokenStore for Liar {
    async fn version(&self) -> Result<i64> {
        match self.lie {
            Lie::StandsStill => Ok(1),
            Lie::HidesThatAccessKeysChange => Ok(self.tokens().await?.len() as i64),
            _ => self.honest.tokens.version().await,
        }
    }

    async fn tokens(&self) -> Result<Vec<StoredToken>> {
        let mut tokens = self.honest.tokens.tokens().await?;
        match self.lie {
            Lie::KeepsTokensToItself => {
                let inserted = self.inserted.lock().expect("not poisoned");
                tokens.retain(|token| inserted.contains(token));
            }
            Lie::LosesOwners => {
                for token in &mut tokens {
                    token.token.owners = Owners::all();
                }
            }
            _ => {}
        }
        Ok(tokens)
    }

    async fn insert(&self, token: &StoredToken) -> Result<()> {
        {
            let mut inserted = self.inserted.lock().expect("not poisoned");
            if self.lies(Lie::RefusesToRepeat) && inserted.contains(token) {
                return Err(Error::new(ErrorKind::Conflict, "it is there"));
            }
            inserted.push(token.clone());
        }
        self.honest.tokens.insert(token).await
    }

    async fn revoke(&self, id: &TokenId) -> Result<bool> {
        match self.lie {
            Lie::RevokesNothing => Ok(false),
            Lie::RevokesWhatIsNotThere => self.honest.tokens.revoke(id).await.map(|_| true),
            _ => self.honest.tokens.revoke(id).await,
        }
    }

    async fn note_used(&self, used: Vec<(TokenId, i64)>) -> Result<()> {
        match self.lie {
            Lie::NotesNoUse => Ok(()),
            Lie::ChangesWithUse => {
                // As if a session had ended that nobody had.
                self.honest.tokens.end_sessions(vec![([9; 32], 1)]).await?;
                self.honest.tokens.note_used(used).await
            }
            _ => self.honest.tokens.note_used(used).await,
        }
    }

    async fn ended_sessions(&self) -> Result<Vec<[u8; 32]>> {
        match self.lie {
            Lie::HidesEndedSessions => Ok(Vec::new()),
            Lie::RemembersForEver => Ok(self.ended.lock().expect("not poisoned").clone()),
            _ => self.honest.tokens.ended_sessions().await,
        }
    }

    async fn end_sessions(&self, ended: Vec<([u8; 32], i64)>) -> Result<()> {
        if self.lies(Lie::EndsNothing) {
            return Ok(());
        }
        let hashes = ended.iter().map(|(hash, _)| *hash);
        self.ended.lock().expect("not poisoned").extend(hashes);
        self.honest.tokens.end_sessions(ended).await
    }
}

#[async_trait]
impl KeyStore for Liar {
    async fn key(&self, name: &'static str) -> Result<SigningKey> {
        match self.lie {
            Lie::HasKeysOfItsOwn => Ok(self.own.clone()),
            Lie::HasOneKeyForEverything => self.honest.keys.key(LINKS).await,
            _ => self.honest.keys.key(name).await,
        }
    }

    async fn replace(&self, name: &'static str) -> Result<()> {
        match self.lie {
            Lie::ReplacesNothing => Ok(()),
            Lie::ReplacesEverything => {
                self.honest.keys.replace("another").await?;
                self.honest.keys.replace(name).await
            }
            _ => self.honest.keys.replace(name).await,
        }
    }
}

#[async_trait]
impl AccessKeyStore for Liar {
    async fn access_keys(&self) -> Result<Vec<SealedAccessKey>> {
        let mut keys = self.honest.access_keys.access_keys().await?;
        if self.lies(Lie::KeepsAccessKeysToItself) {
            let made = self.made.lock().expect("not poisoned");
            keys.retain(|kept| made.iter().any(|(_, id)| *id == kept.key.id));
        }
        for SealedAccessKey { key, sealed } in &mut keys {
            match self.lie {
                Lie::OpensEverythingBelow => key.prefix = String::new(),
                Lie::PermitsEverything => key.scopes = Scopes::all(),
                Lie::NeverEnds => key.expires_at = None,
                Lie::SpoilsWhatIsSealed => sealed.reverse(),
                _ => {}
            }
        }
        Ok(keys)
    }

    async fn insert_access_key(&self, new: &SealedAccessKey) -> Result<()> {
        let key = &new.key;
        {
            let mut made = self.made.lock().expect("not poisoned");
            let of_its_name = made.iter().filter(|(name, _)| *name == key.name);
            let repeated = made.iter().any(|(_, id)| *id == key.id);
            let refused = match self.lie {
                Lie::RefusesToRepeatAccessKeys => repeated,
                Lie::HasRoomForOne => !repeated && of_its_name.count() > 0,
                Lie::NeverFreesAName => !repeated && of_its_name.count() > 2,
                _ => false,
            };
            if refused {
                return Err(Error::new(ErrorKind::Conflict, "there is no room"));
            }
            made.push((key.name.clone(), key.id.clone()));
        }
        match self.honest.access_keys.insert_access_key(new).await {
            Err(_) if self.lies(Lie::HasRoomForAThird) => Ok(()),
            outcome => outcome,
        }
    }

    async fn revoke_access_key(&self, id: &AccessKeyId) -> Result<bool> {
        let honest = &self.honest.access_keys;
        match self.lie {
            Lie::RevokesNoAccessKey => Ok(false),
            Lie::RevokesAccessKeysThatAreNotThere => {
                honest.revoke_access_key(id).await.map(|_| true)
            }
            _ => honest.revoke_access_key(id).await,
        }
    }
}

async fn liars(lie: Lie, folder: &Path) -> Vec<Process> {
    let honest = crate::processes(folder).await;
    let liars = honest.into_iter().map(|honest| Liar::process(lie, honest));
    liars.collect()
}

/// `$lie` breaks `$promise`, and its test says so.
macro_rules! caught {
    ($($lie:ident by $about:ident::$promise:ident;)*) => {$(
        #[tokio::test]
        #[allow(non_snake_case, reason = "the test is named as the lie")]
        async fn $lie() {
            let folder = tempfile::tempdir().expect("a folder");
            let liars = liars(Lie::$lie, folder.path()).await.into();
            let judged = tokio::spawn(async move { $about::$promise(&liars).await });
            let verdict = judged.await.expect_err("the lie goes through");
            assert!(verdict.is_panic());
        }
    )*};
}

caught! {
    KeepsTokensToItself by tokens::tokens_are_found_as_they_were_made_until_they_are_revoked;
    RefusesToRepeat by tokens::tokens_are_found_as_they_were_made_until_they_are_revoked;
    LosesOwners by tokens::tokens_are_found_as_they_were_made_until_they_are_revoked;
    NotesNoUse by tokens::tokens_are_found_as_they_were_made_until_they_are_revoked;
    RevokesNothing by tokens::tokens_are_found_as_they_were_made_until_they_are_revoked;
    RevokesWhatIsNotThere by tokens::tokens_are_found_as_they_were_made_until_they_are_revoked;
    StandsStill by tokens::the_version_changes_with_what_any_process_makes_revokes_or_ends_and_not_with_use;
    ChangesWithUse by tokens::the_version_changes_with_what_any_process_makes_revokes_or_ends_and_not_with_use;
    EndsNothing by tokens::the_version_changes_with_what_any_process_makes_revokes_or_ends_and_not_with_use;
    HidesEndedSessions by tokens::ended_sessions_are_known_until_they_would_have_ended_by_themselves;
    RemembersForEver by tokens::ended_sessions_are_known_until_they_would_have_ended_by_themselves;
    HasKeysOfItsOwn by keys::a_key_is_the_same_for_everybody_until_it_is_replaced;
    HasOneKeyForEverything by keys::a_key_is_the_same_for_everybody_until_it_is_replaced;
    ReplacesNothing by keys::a_key_is_the_same_for_everybody_until_it_is_replaced;
    ReplacesEverything by keys::a_key_is_the_same_for_everybody_until_it_is_replaced;
    KeepsAccessKeysToItself by access_keys::access_keys_are_found_as_they_were_made_until_they_are_revoked;
    RefusesToRepeatAccessKeys by access_keys::access_keys_are_found_as_they_were_made_until_they_are_revoked;
    OpensEverythingBelow by access_keys::access_keys_are_found_as_they_were_made_until_they_are_revoked;
    PermitsEverything by access_keys::access_keys_are_found_as_they_were_made_until_they_are_revoked;
    NeverEnds by access_keys::access_keys_are_found_as_they_were_made_until_they_are_revoked;
    SpoilsWhatIsSealed by access_keys::access_keys_are_found_as_they_were_made_until_they_are_revoked;
    RevokesNoAccessKey by access_keys::access_keys_are_found_as_they_were_made_until_they_are_revoked;
    RevokesAccessKeysThatAreNotThere by access_keys::access_keys_are_found_as_they_were_made_until_they_are_revoked;
    HidesThatAccessKeysChange by access_keys::the_version_changes_with_every_access_key_that_any_process_makes_or_revokes;
    HasRoomForAThird by access_keys::two_access_keys_at_a_time_have_one_name_however_many_are_made;
    HasRoomForOne by access_keys::two_access_keys_at_a_time_have_one_name_however_many_are_made;
    NeverFreesAName by access_keys::two_access_keys_at_a_time_have_one_name_however_many_are_made;
}

async fn honest() -> Fresh<[Process]> {
    let folder = tempfile::tempdir().expect("a folder");
    Fresh::processes(liars(Lie::NotAtAll, folder.path()).await).on(folder)
}

// The wrapper itself breaks nothing: what is caught is the lie.
access_suite!(without_a_lie: honest);
