//! Access keys, as sealed as they are.

use futures::future::join_all;

use crate::access::access_keys::AccessKeyId;
use crate::error::ErrorKind;
use crate::testing::processes::{Processes, access_key};

pub async fn access_keys_are_found_as_they_were_made_until_they_are_revoked(processes: &Processes) {
    let (one, other) = (&processes[0].access_keys, &processes[1].access_keys);
    assert_eq!(one.access_keys().await.expect("read"), []);
    let mut keys = [access_key("写真 wiki"), access_key("for ever")];
    keys[1].key.expires_at = None;
    keys[1].key.prefix = String::new();
    keys.sort_by(|a, b| a.key.id.cmp(&b.key.id));
    for key in &keys {
        one.insert_access_key(key).await.expect("kept");
        one.insert_access_key(key).await.expect("repeated");
    }
    let mut found = other.access_keys().await.expect("read");
    found.sort_by(|a, b| a.key.id.cmp(&b.key.id));
    assert_eq!(found, keys);
    let id = &keys[0].key.id;
    assert!(other.revoke_access_key(id).await.expect("revoked"));
    assert!(!other.revoke_access_key(id).await.expect("there is none"));
    let unknown = AccessKeyId::generate();
    assert!(!one.revoke_access_key(&unknown).await.expect("none"));
    assert_eq!(one.access_keys().await.expect("read"), keys[1..]);
}

pub async fn the_version_changes_with_every_access_key_that_any_process_makes_or_revokes(
    processes: &Processes,
) {
    let (one, other) = (&processes[0].access_keys, &processes[1].access_keys);
    let mut seen = vec![one.version().await.expect("read")];
    assert_eq!(one.version().await.expect("read"), seen[0]);
    let key = access_key("wiki");
    other.insert_access_key(&key).await.expect("kept");
    seen.push(one.version().await.expect("read"));
    other.revoke_access_key(&key.key.id).await.expect("revoked");
    seen.push(one.version().await.expect("read"));
    seen.dedup();
    assert_eq!(seen.len(), 3, "{seen:?}");
}

pub async fn two_access_keys_at_a_time_have_one_name_however_many_are_made(processes: &Processes) {
    let keys: Vec<_> = (0..6).map(|_| access_key("wiki")).collect();
    let asked = processes.iter().cycle().zip(&keys);
    let asked = asked.map(|(process, key)| process.access_keys.insert_access_key(key));
    let outcomes = join_all(asked).await;
    let made = outcomes.iter().filter(|outcome| outcome.is_ok()).count();
    assert_eq!(made, 2, "{outcomes:?}");
    for refused in outcomes.into_iter().filter_map(Result::err) {
        assert_eq!(refused.kind(), ErrorKind::Conflict, "{refused}");
    }
    let store = &processes[1].access_keys;
    let kept = store.access_keys().await.expect("read");
    assert_eq!(kept.len(), 2);
    // Both are there, and so both are good when they are sent once more.
    for key in &kept {
        store.insert_access_key(key).await.expect("repeated");
    }
    let other = access_key("another name");
    store.insert_access_key(&other).await.expect("kept");
    // Whichever of the two goes, there is room for another one.
    for old in &kept {
        store.revoke_access_key(&old.key.id).await.expect("revoked");
        let next = access_key("wiki");
        store.insert_access_key(&next).await.expect("the next one");
        let third = store.insert_access_key(&access_key("wiki")).await;
        assert_eq!(third.expect_err("a third").kind(), ErrorKind::Conflict);
    }
    assert_eq!(store.access_keys().await.expect("read").len(), 3);
}
