//! Keys that sign.

use futures::future::join_all;

use crate::access::keys;
use crate::testing::processes::Processes;

pub async fn a_key_is_the_same_for_everybody_until_it_is_replaced(processes: &Processes) {
    // Each asks more than once at a time.
    let asked = processes.iter().cycle().take(8);
    let asked = asked.map(|process| process.keys.key(keys::LINKS));
    let keys: Vec<_> = join_all(asked)
        .await
        .into_iter()
        .map(|key| key.expect("a key"))
        .collect();
    assert!(keys.iter().all(|key| *key == keys[0]));
    let other = processes[0].keys.key("another").await.expect("a key");
    assert_ne!(other, keys[0]);
    processes[1]
        .keys
        .replace(keys::LINKS)
        .await
        .expect("replaced");
    let fresh = processes[0].keys.key(keys::LINKS).await.expect("a key");
    assert_ne!(fresh, keys[0]);
    let kept = processes[1].keys.key("another").await.expect("a key");
    assert_eq!(kept, other);
}
