//! An object is made if what must hold of its key does.

use futures::future::join_all;

use crate::error::ErrorKind;
use crate::storage::bucket::Condition;
use crate::testing::buckets::{Pail, found, held_body, key, new_if, put, put_new, tag};
use crate::testing::objects::{BLOCK, pattern};

pub async fn an_object_that_must_be_absent_is_made_once(bucket: &Pail) {
    for size in [10, 3 * BLOCK] {
        let (key, first) = (key(&format!("k{size}")), pattern(size, 1));
        let made = put_new(bucket, &key, &new_if(Condition::Absent), &first).await;
        made.expect("nothing is there");
        let error = put_new(bucket, &key, &new_if(Condition::Absent), &pattern(size, 2)).await;
        let error = error.expect_err("something is there");
        assert_eq!(error.kind(), ErrorKind::PreconditionFailed, "{error:?}");
        let (_, bytes) = found(bucket, &key).await.expect("it is there");
        assert!(bytes == first, "it was replaced");
        bucket.delete(&key).await.expect("deleted");
        let made = put_new(bucket, &key, &new_if(Condition::Absent), &first).await;
        made.expect("nothing is there any more");
    }
}

pub async fn two_that_must_be_absent_have_one_winner(bucket: &Pail) {
    for size in [10, 3 * BLOCK] {
        let key = key(&format!("k{size}"));
        let puts = (0..4).map(|seed| {
            let key = &key;
            async move {
                let bytes = pattern(size, seed);
                let made = put_new(bucket, key, &new_if(Condition::Absent), &bytes).await;
                made.map(|_| bytes)
            }
        });
        let mut winners = Vec::new();
        for outcome in join_all(puts).await {
            match outcome {
                Ok(bytes) => winners.push(bytes),
                Err(error) => assert_eq!(error.kind(), ErrorKind::PreconditionFailed, "{error:?}"),
            }
        }
        assert_eq!(winners.len(), 1);
        let (_, bytes) = found(bucket, &key).await.expect("it is there");
        assert!(bytes == winners[0], "of a loser");
    }
}

pub async fn an_object_that_must_match_replaces_that_one_alone(bucket: &Pail) {
    for size in [10, 3 * BLOCK] {
        let (key, first, second) = (key(&format!("k{size}")), pattern(size, 1), pattern(size, 2));
        let matches = new_if(Condition::Matches(tag(&first)));
        let error = put_new(bucket, &key, &matches, &second).await;
        let error = error.expect_err("nothing is there");
        assert_eq!(error.kind(), ErrorKind::NotFound, "{error:?}");
        assert!(found(bucket, &key).await.is_none());
        put(bucket, &key, &first).await.expect("put");
        put_new(bucket, &key, &matches, &second)
            .await
            .expect("it matches");
        let error = put_new(bucket, &key, &matches, &first).await;
        let error = error.expect_err("it is another one");
        assert_eq!(error.kind(), ErrorKind::PreconditionFailed, "{error:?}");
        let (_, bytes) = found(bucket, &key).await.expect("it is there");
        assert!(bytes == second, "it was replaced");
    }
}

pub async fn a_condition_must_hold_until_the_bytes_have_come(bucket: &Pail) {
    let (first, other, ours) = (pattern(9, 1), pattern(9, 2), pattern(3 * BLOCK + 1, 3));
    for condition in [Condition::Absent, Condition::Matches(tag(&first))] {
        let key = key(&format!("{condition:?}"));
        if condition != Condition::Absent {
            put(bucket, &key, &first).await.expect("put");
        }
        let (body, mut held) = held_body(&ours);
        let new = new_if(condition);
        let meanwhile = async {
            held.is_asked().await;
            put(bucket, &key, &other).await.expect("put");
            held.go_on();
        };
        let (outcome, ()) = futures::future::join(bucket.put(&key, &new, body), meanwhile).await;
        let error = outcome.expect_err("it holds no more");
        assert_eq!(error.kind(), ErrorKind::PreconditionFailed, "{error:?}");
        let (_, bytes) = found(bucket, &key).await.expect("it is there");
        assert!(bytes == other, "it was replaced");
    }
}
