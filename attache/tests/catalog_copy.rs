//! A catalog copied into another one, of either kind: all of it, however often it is cut, and nothing that is not the copy's own.
#![expect(
    clippy::print_stdout,
    reason = "the measurement that is run by hand prints"
)]

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use attache::access::keys::{self, KeyStore as _};
use attache::access::sealed::SealedKeys;
use attache::access::tokens::{StoredToken, Token};
use attache::access::{Owners, Scope};
use attache::attachment::{AttachmentId, Hex};
use attache::catalog::bulk::{Bulk, Row, State};
use attache::catalog::config::CatalogConfig;
use attache::catalog::copy::{self, Inventory, Mode, Progress, Report};
use attache::catalog::moves::MoveNote;
use attache::catalog::open::{open_source, open_target};
use attache::catalog::partial::{NewUpload, Step};
use attache::catalog::sqlite::SqliteCatalog;
use attache::catalog::{Begun, Draft};
use attache::storage::Stored;
use attache::storage::multipart::{PartReceipt, UploadRef};
use attache::testing::processes::access_key;
use attache::testing::rows::{draft, stored, with_key};
use attache::{ErrorKind, Result};
use time::OffsetDateTime;

#[path = "postgres/ground.rs"]
mod ground;

use ground::Ground;

/// Where a catalog of a test is.
enum Place {
    File(tempfile::TempDir),
    Database(Ground),
}

impl Place {
    fn file() -> Self {
        Self::File(tempfile::tempdir().expect("a folder"))
    }

    async fn open(&self) -> Arc<dyn Bulk> {
        match self {
            Self::File(folder) => Arc::new(
                SqliteCatalog::open(&folder.path().join("attache.db")).expect("a writable folder"),
            ),
            Self::Database(ground) => ground.open().await,
        }
    }
}

/// From where to where; those with PostgreSQL only where there is one.
async fn directions() -> Vec<(Place, Place)> {
    let mut all = vec![(Place::file(), Place::file())];
    for (from, to) in [(true, false), (false, true), (true, true)] {
        let place = async |postgres| match postgres {
            true => Ground::pooled().await.map(Place::Database),
            false => Some(Place::file()),
        };
        if let (Some(from), Some(to)) = (place(from).await, place(to).await) {
            all.push((from, to));
        }
    }
    all
}

async fn still(source: &Arc<dyn Bulk>, target: &Arc<dyn Bulk>) -> Result<Report> {
    copy::copy(&**source, &**target, Mode::Still, &mut |_| ()).await
}

async fn live(source: &Arc<dyn Bulk>, target: &Arc<dyn Bulk>) -> Result<Report> {
    copy::copy(&**source, &**target, Mode::Live, &mut |_| ()).await
}

async fn rows(catalog: &Arc<dyn Bulk>) -> Vec<Row> {
    catalog.rows(None, 100_000).await.expect("rows")
}

fn token(name: &str) -> StoredToken {
    let owners: Owners = ["page:*".parse().expect("a pattern")].into_iter().collect();
    let scopes = [Scope::Read, Scope::Write].into_iter().collect();
    let end = OffsetDateTime::now_utc() + Duration::from_secs(1000);
    let made = Token::generate(name, scopes, owners, Some(end));
    made.expect("a token").0
}

/// A partial upload of 100 reserved bytes.
async fn suspend(catalog: &dyn Bulk) -> AttachmentId {
    let draft = draft();
    catalog.begin(&draft).await.expect("begin");
    let upload = UploadRef::new(draft.key.clone(), "tok-en.1".to_owned()).expect("plain");
    let partial = catalog.partial().expect("it keeps them");
    let end = OffsetDateTime::now_utc() + Duration::from_secs(1000);
    partial
        .suspend(&draft.id, &upload, end)
        .await
        .expect("suspended");
    draft.id
}

/// An upload of several requests, of which two parts are there.
async fn part_of(catalog: &dyn Bulk, direct: bool) -> AttachmentId {
    let draft = Draft {
        reserve: 0,
        ..draft()
    };
    let partial = catalog.partial().expect("it keeps them");
    let name = UploadRef::new(draft.key.clone(), "tok-en.2".to_owned()).expect("plain");
    let end = OffsetDateTime::now_utc() + Duration::from_secs(1000);
    let end = end.replace_nanosecond(0).expect("a time");
    let new = NewUpload {
        upload: name,
        length: direct.then_some(500),
        digests: vec![1, 0, 255],
        direct,
        metadata: "filename YQ==".to_owned(),
        claim: direct.then(|| "image/png".to_owned()),
        caller: "token:wiki".to_owned(),
        expires_at: end,
    };
    partial.create(&draft, &new).await.expect("created");
    let now = OffsetDateTime::now_utc();
    for number in 1..3 {
        let held = partial.take(&draft.id, now, false).await.expect("there");
        let held = held.expect("free");
        let step = Step {
            epoch: held.epoch,
            from: held.offset,
            offset: held.offset + 50,
            length: None,
            receipt: Some(PartReceipt {
                number,
                size: 50,
                crc64: u64::MAX - u64::from(number),
                tag: format!("tag.{number}"),
            }),
            first: vec![0, 1, 2],
            digests: vec![9; 300],
            content_type: None,
            expires_at: end,
            quota: None,
        };
        partial.advance(&draft.id, &step).await.expect("recorded");
        partial
            .release(&draft.id, held.epoch)
            .await
            .expect("released");
    }
    draft.id
}

/// Rows of all kinds, tokens and ended sessions, and a key unless there is one.
async fn fill(catalog: &dyn Bulk, count: usize) {
    let sealed: [u8; 61] = std::array::from_fn(|_| rand::random());
    let kept = catalog.swap(keys::LINKS, None, sealed.to_vec()).await;
    kept.expect("kept");
    let names = [
        "a.txt",
        "写真 — \u{202e}gpj.png",
        "it's \"quoted\"; DROP TABLE x; --.pdf",
        "{a,b}\\NULL",
        "👩‍👩‍👧.jpeg",
        "e\u{301}",
    ];
    let make = async |n: usize| {
        let mut draft = match n % 3 {
            0 => with_key(&format!("key {n} \\ {{}}")),
            _ => draft(),
        };
        draft.filename = names[n % names.len()].parse().expect("a file name");
        draft.owner =
            (!n.is_multiple_of(4)).then(|| format!("page:{}", n % 50).parse().expect("an owner"));
        draft.created_by =
            (!n.is_multiple_of(5)).then(|| "Jürgen, O'Neil".parse().expect("an author"));
        draft.content_type =
            ["text/plain", "image/png", "text/html; charset=big5"][n % 3].to_owned();
        let stored = Stored {
            sha256: Some(Hex([(n % 251) as u8; 32])),
            md5: n.is_multiple_of(2).then_some(Hex([(n % 7) as u8; 16])),
            crc64: (!n.is_multiple_of(7)).then_some(u64::MAX - n as u64),
            utf8: [None, Some(true), Some(false)][n % 3],
            store_tag: (!n.is_multiple_of(2)).then(|| format!("\"0x{n}\"")),
            ..stored((n * n) as u64)
        };
        catalog.begin(&draft).await.expect("begin");
        catalog.commit(&draft.id, &stored).await.expect("commit");
    };
    for first in (0..count).step_by(50) {
        let some = first..count.min(first + 50);
        futures::future::join_all(some.map(make)).await;
    }
    for n in 0..3 {
        match n {
            0 => drop(suspend(catalog).await),
            n => drop(part_of(catalog, n == 1).await),
        }
        let made = token(&format!("tökén {n}"));
        catalog.insert(&made).await.expect("kept");
        let used = vec![(made.token.id, 1_700_000_000)];
        catalog.note_used(used).await.expect("noted");
        let made = access_key(&format!("tökén {n}"));
        catalog.insert_access_key(&made).await.expect("kept");
    }
    let end = OffsetDateTime::now_utc().unix_timestamp() + 1000;
    let ended = vec![([7; 32], end), ([8; 32], end + 5)];
    catalog.end_sessions(ended).await.expect("ended");
}

/// The key of links, opened with the file in `folder`.
async fn key(catalog: Arc<dyn Bulk>, folder: &Path) -> [u8; 32] {
    #[derive(Debug)]
    struct Behind(Arc<dyn Bulk>);
    #[async_trait::async_trait]
    impl attache::access::sealed::SealedStore for Behind {
        async fn all(&self) -> Result<Vec<(String, Vec<u8>)>> {
            self.0.all().await
        }
        async fn swap(&self, name: &str, old: Option<Vec<u8>>, new: Vec<u8>) -> Result<Vec<u8>> {
            self.0.swap(name, old, new).await
        }
    }
    let file = folder.join("secrets.key");
    let keys = SealedKeys::open(Arc::new(Behind(catalog)), file).await;
    *keys
        .expect("it fits")
        .key(keys::LINKS)
        .await
        .expect("a key")
}

async fn sum(catalog: &Arc<dyn Bulk>) -> (u64, u64, u64) {
    let (mut attachments, mut bytes, mut reserved) = (0, 0, 0);
    for row in rows(catalog).await {
        match row.state {
            State::Ready { size, .. } => (attachments, bytes) = (attachments + 1, bytes + size),
            State::Partial { reserved: more, .. } => reserved += more,
        }
    }
    (attachments, bytes, reserved)
}

async fn assert_the_same(source: &Arc<dyn Bulk>, target: &Arc<dyn Bulk>) {
    let (ours, theirs) = (rows(source).await, rows(target).await);
    assert_eq!(ours.len(), theirs.len());
    for (ours, theirs) in ours.iter().zip(&theirs) {
        assert_eq!(ours, theirs);
    }
    assert_books(target).await;
}

/// That the totals are what the rows say.
async fn assert_books(catalog: &Arc<dyn Bulk>) {
    let totals = catalog.totals().await.expect("totals");
    let totals = (totals.attachments, totals.bytes, totals.reserved_bytes);
    assert_eq!(totals, sum(catalog).await);
    catalog.check().await.expect("whole");
}

fn refused(outcome: Result<Report>, word: &str) {
    let error = outcome.expect_err("refused");
    assert_eq!(error.kind(), ErrorKind::Conflict, "{error}");
    assert!(error.to_string().contains(word), "{error}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn rows_tokens_sessions_and_keys_go_over_in_every_direction_and_a_second_copy_changes_nothing()
 {
    let folder = tempfile::tempdir().expect("a folder");
    for (from, to) in directions().await {
        let (source, target) = (from.open().await, to.open().await);
        let signs = key(source.clone(), folder.path()).await;
        fill(&*source, 1_203).await;
        let (attachments, bytes, reserved_bytes) = sum(&source).await;

        let report = still(&source, &target).await.expect("copied");
        assert_eq!((report.passes, report.changes.put), (1, 1_206));
        let compared = report.compared.expect("compared");
        let expected = Inventory {
            attachments,
            bytes,
            uploads: 3,
            reserved_bytes,
            tokens: 3,
            access_keys: 3,
            ended_sessions: 2,
            keys: 1,
            ..compared
        };
        assert_eq!(compared, expected);
        assert_the_same(&source, &target).await;

        let again = still(&source, &target).await.expect("copied");
        assert_eq!((again.changes.rows(), again.compared), (0, report.compared));

        // A server on the target goes on where the one on the source was.
        source.close().await;
        assert_eq!(key(target.clone(), folder.path()).await, signs);
        assert_eq!(target.tokens().await.expect("tokens").len(), 3);
        let all = rows(&target).await;
        let mut retried = 0;
        for row in &all {
            let found = target.find(&row.id).await;
            assert_eq!(found.is_ok(), row.is_ready());
            let Some(key) = row.idempotency_key.clone() else {
                continue;
            };
            retried += 1;
            let mut draft = draft();
            draft.idempotency_key = Some(key);
            (draft.owner, draft.filename) = (row.owner.clone(), row.filename.clone());
            draft.created_by = row.created_by.clone();
            let begun = target.begin(&draft).await.expect("a retry");
            assert_eq!(begun, Begun::Repeated(Box::new(found.expect("ready"))));
        }
        assert_eq!(retried, 401);
        for row in all.iter().filter(|row| !row.is_ready()) {
            let partial = target.partial().expect("it keeps them");
            let resumed = partial.resume(&row.id).await.expect("resumed");
            assert_eq!((resumed.key, resumed.reserved), (row.key.clone(), 100));
            let State::Partial { progress, .. } = &row.state else {
                continue;
            };
            if let Some(progress) = progress {
                let now = OffsetDateTime::now_utc();
                let there = partial.look(&row.id, now).await.expect("there");
                assert_eq!((there.offset, there.length), (100, progress.length));
                assert_eq!((there.parts, there.direct), (2, progress.direct));
                let receipts = partial.receipts(&row.id).await.expect("kept");
                assert_eq!((receipts.len(), &receipts), (2, &progress.receipts));
            }
            target.commit(&row.id, &stored(5)).await.expect("finished");
        }
        assert_books(&target).await;
        target.close().await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_copy_that_is_cut_at_any_moment_goes_on_where_it_was() {
    for (from, to) in directions().await {
        let (source, target) = (from.open().await, to.open().await);
        fill(&*source, 1_200).await;
        let mut cuts = 0;
        let mut seen = 0;
        loop {
            let wait = Duration::from_millis(rand::random_range(1..100) + cuts);
            match tokio::time::timeout(wait, still(&source, &target)).await {
                Ok(done) => {
                    let report = done.expect("copied");
                    assert!(report.compared.is_some());
                    break;
                }
                Err(_) => cuts += 100,
            }
            // Nothing that was copied is lost again.
            let now = rows(&target).await.len();
            assert!(now >= seen, "{now} of {seen}");
            seen = now;
        }
        assert!(cuts > 0, "never cut");
        assert_the_same(&source, &target).await;
        source.close().await;
        target.close().await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_target_that_holds_anything_else_is_refused_and_stays_as_it_was() {
    let keys = tempfile::tempdir().expect("a folder");
    for (from, to) in directions().await {
        let (source, target) = (from.open().await, to.open().await);
        key(source.clone(), keys.path()).await;
        fill(&*source, 10).await;

        // A token of a server that has another key.
        let own = token("its own");
        target.insert(&own).await.expect("kept");
        refused(still(&source, &target).await, "another catalog");
        let tokens = target.tokens().await.expect("tokens");
        assert_eq!(tokens.len(), 1);
        assert_eq!(tokens[0].hash, own.hash);
        assert_eq!(target.all().await.expect("keys"), []);
        target.revoke(&own.token.id).await.expect("revoked");

        // As well an access key.
        let own = access_key("its own");
        target.insert_access_key(&own).await.expect("kept");
        refused(still(&source, &target).await, "another catalog");
        let kept = target.access_keys().await.expect("access keys");
        assert_eq!(kept, std::slice::from_ref(&own));
        let revoked = target.revoke_access_key(&own.key.id).await;
        assert!(revoked.expect("revoked"));

        // A key alone is what looking at an empty database makes.
        key(target.clone(), keys.path()).await;
        still(&source, &target).await.expect("copied");

        // An upload of its own, in whatever state, also after a copy.
        let draft = draft();
        target.begin(&draft).await.expect("begin");
        let before = rows(&target).await;
        for state in ["pending", "ready", "retired"] {
            refused(still(&source, &target).await, draft.id.as_str());
            refused(live(&source, &target).await, draft.id.as_str());
            match state {
                "pending" => drop(target.commit(&draft.id, &stored(1)).await.expect("commit")),
                _ => drop(target.retire(&draft.id).await.expect("retire")),
            }
        }
        assert_eq!(rows(&target).await, before);
        target.forget(&draft.id).await.expect("forgotten");
        still(&source, &target).await.expect("a copy again");

        // The copy of another catalog.
        let other = Place::file();
        let other = other.open().await;
        key(other.clone(), keys.path()).await;
        fill(&*other, 3).await;
        refused(still(&other, &target).await, "another one");
        assert_eq!(rows(&target).await, before);
        for catalog in [source, target, other] {
            catalog.close().await;
        }
    }
}

/// A table without statistics is sorted as a whole for each page that is read of it.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_was_copied_has_statistics_when_it_is_read_again() {
    let Some(ground) = ground::Ground::new().await else {
        return;
    };
    let place = Place::file();
    let (source, target) = (place.open().await, ground.open().await);
    fill(&*source, 10).await;
    ground
        .run("ALTER TABLE attache.attachments SET (autovacuum_enabled = false)")
        .await;
    let rows = "SELECT reltuples::int8 FROM pg_class WHERE oid = 'attache.attachments'::regclass";
    assert!(ground.number(rows).await <= 0);
    let target: Arc<dyn Bulk> = target;
    still(&source, &target).await.expect("copied");
    assert_eq!(
        ground.number(rows).await,
        13,
        "ten and three uploads in parts"
    );
    source.close().await;
    target.close().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_differs_or_was_deleted_at_the_source_is_put_right_at_the_target() {
    for (from, to) in directions().await {
        let (source, target) = (from.open().await, to.open().await);
        fill(&*source, 300).await;
        still(&source, &target).await.expect("copied");

        let all = rows(&source).await;
        let with_key = all.iter().find(|row| row.idempotency_key.is_some());
        let with_key = with_key.expect("some have one").clone();
        // Deleted, and its Idempotency-Key used again by a row that a walk may meet first.
        source.retire(&with_key.id).await.expect("retire");
        source.forget(&with_key.id).await.expect("forget");
        let mut next = draft();
        next.idempotency_key = with_key.idempotency_key.clone();
        source.begin(&next).await.expect("begin");
        source.commit(&next.id, &stored(9)).await.expect("commit");
        // Finished, and one more begun.
        let partial = all.iter().find(|row| !row.is_ready()).expect("some are");
        let keeper = source.partial().expect("it keeps them");
        keeper.resume(&partial.id).await.expect("resumed");
        source.commit(&partial.id, &stored(70)).await.expect("done");
        suspend(&*source).await;
        // Changed, at the source or by hand at the target.
        let ready: Vec<&Row> = all.iter().filter(|row| row.is_ready()).collect();
        let tag = source.note_store_tag(&ready[5].id, Some("new")).await;
        tag.expect("noted");
        let tag = target.note_store_tag(&ready[7].id, Some("odd")).await;
        tag.expect("noted");
        // Access, too.
        let revoked = source.tokens().await.expect("tokens").remove(0);
        source.revoke(&revoked.token.id).await.expect("revoked");
        let fresh = token("fresh");
        source.insert(&fresh).await.expect("kept");
        let used = vec![(fresh.token.id.clone(), 1_800_000_000)];
        source.note_used(used).await.expect("noted");

        let report = still(&source, &target).await.expect("copied");
        assert_eq!((report.changes.put, report.changes.removed), (5, 1));
        assert_the_same(&source, &target).await;
        let mut tokens =
            [source.tokens().await, target.tokens().await].map(|tokens| tokens.expect("tokens"));
        for tokens in &mut tokens {
            tokens.sort_by(|a, b| a.token.id.cmp(&b.token.id));
        }
        assert_eq!(tokens[0], tokens[1]);
        source.close().await;
        target.close().await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn how_far_a_move_is_goes_over_and_is_put_right_by_a_second_copy() {
    for (from, to) in directions().await {
        let (source, target) = (from.open().await, to.open().await);
        let mut note = MoveNote {
            from: "file:///a".to_owned(),
            to: "s3://b".to_owned(),
            objects: 5,
            bytes: 500,
            total_objects: 9,
            total_bytes: 900,
            noted_at: OffsetDateTime::UNIX_EPOCH + Duration::from_millis(1_764_000_000_123),
            is_whole: false,
        };
        for objects in [5, 7, 6] {
            note.objects = objects;
            let ours = source.moves().expect("it notes them");
            let whole = MoveNote {
                is_whole: true,
                ..note.clone()
            };
            ours.note_move(&whole).await.expect("noted");
            still(&source, &target).await.expect("copied");
            let theirs = target.moves().expect("it notes them");
            let kept = theirs.noted_move().await.expect("asked");
            assert_eq!(kept.as_ref(), Some(&note));
        }
        source.close().await;
        target.close().await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn access_keys_are_copied_as_sealed_as_they_are_and_put_right_at_the_target() {
    for (from, to) in directions().await {
        let (source, target) = (from.open().await, to.open().await);
        fill(&*source, 1).await;
        still(&source, &target).await.expect("copied");

        // One access key revoked, and its name used for two others; one changed by hand at the target; one made there.
        let by_name = async |name: &str| {
            let kept = source.access_keys().await.expect("access keys");
            let found = kept.into_iter().find(|kept| kept.key.name == name);
            found.expect("one of this name")
        };
        let old = by_name("tökén 0").await;
        source
            .insert_access_key(&access_key("tökén 0"))
            .await
            .expect("kept");
        still(&source, &target).await.expect("both of a name");
        source
            .revoke_access_key(&old.key.id)
            .await
            .expect("revoked");
        source
            .insert_access_key(&access_key("tökén 0"))
            .await
            .expect("kept");
        let mut changed = by_name("tökén 1").await;
        target
            .revoke_access_key(&changed.key.id)
            .await
            .expect("revoked");
        changed.key.prefix = String::new();
        target.insert_access_key(&changed).await.expect("kept");
        target
            .insert_access_key(&access_key("its own"))
            .await
            .expect("kept");

        still(&source, &target).await.expect("copied");
        let mut keys = [
            source.access_keys().await.expect("access keys"),
            target.access_keys().await.expect("access keys"),
        ];
        for keys in &mut keys {
            keys.sort_by(|a, b| a.key.id.cmp(&b.key.id));
        }
        assert_eq!(keys[0].len(), 4);
        assert_eq!(keys[0], keys[1]);
        source.close().await;
        target.close().await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_live_copy_follows_a_server_that_writes_and_one_without_it_ends_the_same_to_the_byte() {
    for (from, to) in directions().await {
        let (source, target, server) = (from.open().await, to.open().await, from.open().await);
        fill(&*source, 2_000).await;
        if let Place::File(_) = from {
            refused(still(&source, &target).await, "--live");
            assert_eq!(rows(&target).await, []);
        }
        let stop = Arc::new(AtomicBool::new(false));
        let writer = tokio::spawn({
            let (server, stop) = (server.clone(), stop.clone());
            async move {
                let mut made = Vec::new();
                while !stop.load(Ordering::Relaxed) {
                    let draft = with_key(&format!("again {}", made.len() % 7));
                    let mut draft = attache::catalog::Draft {
                        filename: "while it runs".parse().expect("a name"),
                        ..draft
                    };
                    if made.len() % 7 > 4 {
                        draft.idempotency_key = None;
                    }
                    match server.begin(&draft).await.expect("begin") {
                        Begun::New => {
                            server.commit(&draft.id, &stored(3)).await.expect("commit");
                            made.push(draft.id);
                        }
                        Begun::Repeated(first) => {
                            server.retire(&first.id).await.expect("retire");
                            server.forget(&first.id).await.expect("forget");
                        }
                    }
                }
                made.len()
            }
        });
        let report = live(&source, &target).await.expect("caught up");
        assert!(report.compared.is_none());
        assert!(rows(&target).await.len() >= 2_003, "the rows of before");
        stop.store(true, Ordering::Relaxed);
        assert!(writer.await.expect("no panic") > 0);
        server.close().await;
        drop(server);
        let last = still(&source, &target).await.expect("copied");
        assert!(last.compared.is_some());
        assert_the_same(&source, &target).await;
        source.close().await;
        target.close().await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_was_interrupted_at_the_source_is_not_left_behind_in_silence() {
    for (from, to) in directions().await {
        let (source, target) = (from.open().await, to.open().await);
        fill(&*source, 5).await;
        let draft = draft();
        source.begin(&draft).await.expect("begin");
        refused(still(&source, &target).await, "attache sweep");
        assert_eq!(rows(&target).await, []);
        // Beside a server that works on it, it comes with a later copy.
        live(&source, &target).await.expect("copied");
        assert_eq!(rows(&target).await.len(), 8);
        source.retire(&draft.id).await.expect("retire");
        refused(still(&source, &target).await, "attache sweep");
        source.forget(&draft.id).await.expect("forget");
        still(&source, &target).await.expect("copied");
        source.close().await;
        target.close().await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_copy_into_what_another_process_has_open_is_refused() {
    let (from, to) = (Place::file(), Place::file());
    let (source, target) = (from.open().await, to.open().await);
    fill(&*source, 5).await;
    let server = to.open().await;
    refused(live(&source, &target).await, "target");
    server.close().await;
    drop(server);
    still(&source, &target).await.expect("alone");
    // The source under another name is no target.
    let itself = from.open().await;
    refused(
        live(&source, &itself).await,
        "the source under another name",
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_process_that_was_killed_a_moment_ago_is_waited_for() {
    let Some(ground) = Ground::new().await else {
        return;
    };
    let (from, target) = (Place::file(), ground.open().await as Arc<dyn Bulk>);
    let source = from.open().await;
    fill(&*source, 5).await;
    ground
        .run("INSERT INTO attache.workers VALUES ('killed', clock_timestamp(), clock_timestamp(), clock_timestamp())")
        .await;
    let (seen, mut sees) = tokio::sync::mpsc::unbounded_channel();
    let mut progress = |progress| {
        if progress == Progress::Waiting {
            let _ = seen.send(());
        }
    };
    let copied = copy::copy(&*source, &*target, Mode::Still, &mut progress);
    let dies = async {
        sees.recv().await;
        let age =
            "UPDATE attache.workers SET seen_at = seen_at - interval '1 min' WHERE id = 'killed'";
        ground.run(age).await;
    };
    let (copied, ()) = futures::join!(copied, dies);
    assert_eq!(copied.expect("copied").changes.put, 8);
    ground.check_books().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn rows_of_a_server_are_neither_overwritten_nor_removed() {
    for (from, to) in directions().await {
        let (source, target) = (from.open().await, to.open().await);
        let own = draft();
        target.begin(&own).await.expect("begin");
        let found = target.commit(&own.id, &stored(5)).await.expect("commit");
        fill(&*source, 3).await;
        let mut row = rows(&source).await.remove(0);
        (row.id, row.key) = (own.id.clone(), own.key.clone());
        let taken = target.put_rows(vec![row.clone()]).await;
        let taken = taken.expect_err("taken");
        assert_eq!(taken.kind(), ErrorKind::Conflict);
        assert!(taken.to_string().contains(own.id.as_str()), "{taken}");
        row.id = draft().id;
        let taken = target.put_rows(vec![row]).await.expect_err("taken");
        assert_eq!(taken.kind(), ErrorKind::Conflict);
        target
            .remove_rows(vec![own.id.clone()])
            .await
            .expect("done");
        assert_eq!(target.find(&own.id).await.expect("there"), found);
        assert_books(&target).await;
        // Sent twice, as after a lost answer.
        target.retire(&own.id).await.expect("retire");
        target.forget(&own.id).await.expect("forget");
        for _ in 0..2 {
            target.put_rows(rows(&source).await).await.expect("put");
            assert_the_same(&source, &target).await;
        }
        let ids: Vec<AttachmentId> = rows(&source).await.into_iter().map(|row| row.id).collect();
        for _ in 0..2 {
            target.remove_rows(ids.clone()).await.expect("removed");
            assert_eq!(target.totals().await.expect("totals"), Default::default());
        }
        source.close().await;
        target.close().await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_source_whose_keys_cannot_be_opened_is_not_copied() {
    let folder = tempfile::tempdir().expect("a folder");
    let url = format!("sqlite://{}/attache.db", folder.path().display());
    let config = CatalogConfig::of(url.parse().expect("a URL"));
    let secrets = attache::Config::default().secrets;
    let open = async || open_source(&config, &secrets, None).await;
    open().await.expect("a new one").close().await;
    std::fs::remove_file(folder.path().join("secrets.key")).expect("removed");
    let error = open().await.expect_err("no key");
    assert_eq!(error.kind(), ErrorKind::Misconfigured);
    assert!(error.to_string().contains("secrets.key"), "{error}");
    // And a target gets no key of its own.
    let other = tempfile::tempdir().expect("a folder");
    let url = format!("sqlite://{}/attache.db", other.path().display());
    let target = CatalogConfig::of(url.parse().expect("a URL"));
    let target = open_target(&target, None).await.expect("made");
    assert_eq!(target.all().await.expect("keys"), []);
    assert!(!other.path().join("secrets.key").exists());
}

/// How long 100,000 rows take: `cargo test --release -p attache --test catalog_copy -- --ignored --nocapture`.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "a measurement"]
async fn a_hundred_thousand_rows() {
    for (from, to) in directions().await {
        let (source, target) = (from.open().await, to.open().await);
        fill(&*source, 1_000).await;
        let pattern = rows(&source).await;
        for _ in 0..99 {
            let mut page = pattern.clone();
            for row in &mut page {
                let new = draft();
                (row.id, row.key, row.idempotency_key) = (new.id, new.key, None);
                if let State::Partial { upload, .. } = &mut row.state {
                    *upload = UploadRef::new(row.key.clone(), "t".to_owned()).expect("plain");
                }
            }
            source.put_rows(page).await.expect("put");
        }
        let names = (source.name(), target.name());
        for _ in 0..2 {
            let began = std::time::Instant::now();
            let report = still(&source, &target).await.expect("copied");
            println!(
                "{names:?}: {} of {} rows written, pass {:.1?}, all {:.1?}",
                report.changes.put,
                rows(&source).await.len(),
                report.last_took,
                began.elapsed()
            );
        }
        source.close().await;
        target.close().await;
    }
}
