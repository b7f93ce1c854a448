//! Tokens, and sessions that were ended.

use time::OffsetDateTime;

use crate::access::tokens::TokenId;
use crate::testing::processes::{Processes, token};

pub async fn tokens_are_found_as_they_were_made_until_they_are_revoked(processes: &Processes) {
    let (one, other) = (&processes[0].tokens, &processes[1].tokens);
    assert_eq!(one.tokens().await.expect("read"), []);
    let token = token("wiki");
    one.insert(&token).await.expect("kept");
    one.insert(&token).await.expect("repeated");
    assert_eq!(
        other.tokens().await.expect("read"),
        std::slice::from_ref(&token)
    );
    let id = &token.token.id;
    let used = vec![(id.clone(), 1_000), (TokenId::generate(), 1_000)];
    one.note_used(used).await.expect("noted");
    let found = other.tokens().await.expect("read");
    let last_used = found[0].token.last_used.map(OffsetDateTime::unix_timestamp);
    assert_eq!(last_used, Some(1_000));
    assert!(other.revoke(id).await.expect("revoked"));
    assert!(!other.revoke(id).await.expect("there is none"));
    assert_eq!(one.tokens().await.expect("read"), []);
}

pub async fn the_version_changes_with_what_any_process_makes_revokes_or_ends_and_not_with_use(
    processes: &Processes,
) {
    let (one, other) = (&processes[0].tokens, &processes[1].tokens);
    let mut seen = vec![one.version().await.expect("read")];
    let token = token("wiki");
    other.insert(&token).await.expect("kept");
    seen.push(one.version().await.expect("read"));
    let id = token.token.id;
    other
        .note_used(vec![(id.clone(), 1_000)])
        .await
        .expect("noted");
    assert_eq!(Some(&one.version().await.expect("read")), seen.last());
    other.revoke(&id).await.expect("revoked");
    seen.push(one.version().await.expect("read"));
    other
        .end_sessions(vec![([1; 32], i64::MAX)])
        .await
        .expect("ended");
    seen.push(one.version().await.expect("read"));
    seen.dedup();
    assert_eq!(seen.len(), 4, "{seen:?}");
}

pub async fn ended_sessions_are_known_until_they_would_have_ended_by_themselves(
    processes: &Processes,
) {
    let tokens = &processes[0].tokens;
    let later = OffsetDateTime::now_utc().unix_timestamp() + 60;
    let ended = vec![([1; 32], later), ([2; 32], 1)];
    tokens.end_sessions(ended.clone()).await.expect("ended");
    tokens.end_sessions(ended).await.expect("repeated");
    assert_eq!(tokens.ended_sessions().await.expect("read"), [[1; 32]]);
}
