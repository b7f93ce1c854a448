//! What goes, what is left behind, and what must stay.

use futures::StreamExt as _;
use tokio::sync::oneshot;

use crate::testing::objects::{
    BLOCK, Store, assert_absent, body, content, facts, fresh_key, get, interrupt_put, pattern, put,
};
use crate::transfer::body::Body;

pub async fn discard_removes_what_an_interrupted_put_left(store: &Store) {
    let (key, bytes) = (fresh_key(), pattern(6 * BLOCK, 8));
    interrupt_put(&**store, &key, &bytes).await;
    for _ in 0..2 {
        store.discard(&key).await.expect("discard, and again");
        assert_absent(store, &key).await;
    }
    put(&**store, &key, &bytes).await.expect("the key is free");
    assert!(get(&**store, &key, None).await.expect("get").bytes == bytes);
}

pub async fn discard_removes_an_object_and_nothing_is_success(store: &Store) {
    let (key, other) = (fresh_key(), fresh_key());
    put(&**store, &other, &pattern(10, 8)).await.expect("put");
    for size in [10, 3 * BLOCK] {
        put(&**store, &key, &pattern(size, 9)).await.expect("put");
        store.discard(&key).await.expect("discard");
        assert_absent(store, &key).await;
    }
    store.discard(&fresh_key()).await.expect("nothing there");
    get(&**store, &other, None).await.expect("others stay");
}

pub async fn delete_removes_one_object_for_good(store: &Store) {
    let (key, other) = (fresh_key(), fresh_key());
    let (bytes, small) = (pattern(3 * BLOCK, 12), pattern(10, 13));
    put(&**store, &key, &bytes).await.expect("put");
    put(&**store, &other, &bytes).await.expect("put");
    store.delete(&key).await.expect("delete");
    assert_absent(store, &key).await;
    assert!(get(&**store, &other, None).await.expect("get").bytes == bytes);
    // What comes later under the key is new in every way.
    put(&**store, &key, &small).await.expect("the key is free");
    assert!(get(&**store, &key, None).await.expect("get").bytes == small);
}

pub async fn delete_of_an_absent_object_is_success(store: &Store) {
    let key = fresh_key();
    store.delete(&key).await.expect("it was never there");
    put(&**store, &key, &pattern(10, 14)).await.expect("put");
    for _ in 0..2 {
        store.delete(&key).await.expect("delete, and again");
    }
}

pub async fn tidy_takes_nothing_that_is_in_use(store: &Store) {
    let (old, new) = (fresh_key(), fresh_key());
    let (bytes, rest) = (pattern(3 * BLOCK, 16), pattern(BLOCK, 17));
    put(&**store, &old, &bytes).await.expect("put");
    let (told, written_so_far) = oneshot::channel();
    let (resume, wait) = oneshot::channel();
    let last = futures::stream::once(async move {
        let _ = told.send(());
        Ok(wait.await.expect("it is sent"))
    });
    let content = content(facts(&new));
    let writer = store.put(
        &new,
        &content,
        Body::new(body(&bytes).chain(last)).hashed(true),
    );
    let tidier = async {
        written_so_far.await.expect("the writer asks for more");
        assert_eq!(store.remove_temporary_files().await.expect("removed"), 0);
        resume.send(rest.clone()).expect("the writer waits");
    };
    let (written, ()) = futures::future::join(writer, tidier).await;
    written.expect("put");
    assert_eq!(store.remove_temporary_files().await.expect("removed"), 0);
    assert!(get(&**store, &old, None).await.expect("get").bytes == bytes);
    let whole = get(&**store, &new, None).await.expect("get");
    assert!(whole.bytes == [bytes, rest].concat());
}

pub async fn tidying_up_leaves_the_object_and_where_there_is_none_it_is_success(store: &Store) {
    let key = fresh_key();
    store.tidy_up(&key).await.expect("nothing is there");
    let bytes = pattern(3 * BLOCK + 1, 31);
    put(&**store, &key, &bytes).await.expect("put");
    store.tidy_up(&key).await.expect("tidied");
    let whole = get(&**store, &key, None).await.expect("it stays");
    assert!(whole.bytes == bytes);
}
