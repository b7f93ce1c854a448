//! What is wrong with a database, said in a sentence that names what to change; and a database that goes away and comes back.

#[path = "postgres/ground.rs"]
mod ground;

use std::sync::Arc;
use std::time::{Duration, Instant};

use attache::ErrorKind;
use attache::catalog::Catalog;
use attache::catalog::cached::CachedCatalog;
use attache::catalog::config::{CatalogConfig, DatabaseCredential};
use attache::secret::Secret;
use attache::service::open_database;
use attache::storage::azure::CredentialKind;
use attache::testing::rows::{Shared, draft, stored, totals};
use fake_azure::FakeAzure;
use futures::future::join_all;
use ground::{Ground, open, open_with};
use test_support::{PgBouncer, Postgres};

/// That the catalog is refused, with a sentence that holds these words.
async fn refused(url: &str, words: &[&str]) {
    let error = open(url).await.expect_err("refused");
    assert_eq!(error.kind(), ErrorKind::Misconfigured, "{error:?}");
    let detail = error.detail();
    for word in words {
        assert!(detail.contains(word), "{word} is not in: {detail}");
    }
    assert!(!detail.contains("wr0ng"), "{detail}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_wrong_password_and_a_missing_database_name_the_keys_to_change() {
    let Some(ground) = Ground::new().await else {
        return;
    };
    let url = ground.database().url();
    let (head, tail) = url.split_once('@').expect("a user");
    let (user, _) = head.rsplit_once(':').expect("a password");
    refused(
        &format!("{user}:wr0ng@{tail}"),
        &["refuses the user or the password", "catalog.password_file"],
    )
    .await;
    refused(
        &ground.database().url_without_password(),
        &["wants a password", "catalog.password_file"],
    )
    .await;
    let missing = url.replace(ground.database().name(), "no_such_database");
    refused(
        &missing,
        &["no_such_database", "CREATE DATABASE", "catalog.url"],
    )
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_user_who_may_not_make_tables_is_told_what_to_grant_and_needs_it_once() {
    let Some(ground) = Ground::new().await else {
        return;
    };
    let name = ground.database().name();
    ground
        .run(&format!(
            "ALTER DATABASE \"{name}\" OWNER TO CURRENT_USER; REVOKE CREATE ON DATABASE \"{name}\" FROM PUBLIC, {}",
            Postgres::ROLE
        ))
        .await;
    let url = ground.database().url();
    refused(&url, &["GRANT CREATE ON DATABASE"]).await;
    let schema = format!("CREATE SCHEMA attache AUTHORIZATION {}", Postgres::ROLE);
    ground.run(&schema).await;
    // What the sentence says is enough.
    for _ in 0..2 {
        open(&url).await.expect("opened").close().await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn tables_of_a_newer_version_are_refused_only_if_they_say_so() {
    let Some(ground) = Ground::new().await else {
        return;
    };
    ground.open().await.close().await;
    ground
        .run("INSERT INTO attache.migrations VALUES (98, 1, now())")
        .await;
    // An older replica goes on beside a newer one.
    let catalog: Shared = ground.open().await;
    let draft = draft();
    ground
        .run("ALTER TABLE attache.attachments ADD COLUMN of_tomorrow text NOT NULL DEFAULT 'x'")
        .await;
    catalog.begin(&draft).await.expect("begin");
    catalog.commit(&draft.id, &stored(1)).await.expect("commit");
    catalog.find(&draft.id).await.expect("found");
    ground
        .run("INSERT INTO attache.migrations VALUES (99, 99, now())")
        .await;
    refused(
        &ground.database().url(),
        &["version 99", "run the newer attache"],
    )
    .await;
    catalog.find(&draft.id).await.expect("it goes on");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_pooler_that_hands_out_connections_by_statement_is_refused_when_tables_are_made() {
    let Some(postgres) = Postgres::shared().await else {
        return;
    };
    let Some(pooler) = PgBouncer::before_with(postgres, &["pool_mode = statement"]).await else {
        return;
    };
    let database = postgres.database().await;
    refused(&pooler.url(&database), &["pool_mode", "transaction"]).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_encrypted_connection_is_one_to_a_database_that_is_trusted() {
    let Some(postgres) = Postgres::start_tls().await else {
        return;
    };
    let database = postgres.database().await;
    let ca = postgres
        .ca_file()
        .expect("an authority")
        .display()
        .to_string();
    let url = |mode: &str| format!("{}?sslmode={mode}", database.url());
    refused(&url("verify-full"), &["certificate", "catalog.ca_file"]).await;
    for mode in ["require", "verify-ca", "verify-full"] {
        let with_root = format!("{}&sslrootcert={}", url(mode), ca.replace('/', "%2F"));
        open(&with_root).await.expect(mode).close().await;
    }
    let full = url("verify-full");
    let by_key = open_with(&full, |config| config.ca_file = Some(ca.clone().into()));
    by_key.await.expect("trusted").close().await;
    let missing = open_with(&full, |config| {
        config.ca_file = Some("/no/such/file.pem".into());
    });
    let error = missing.await.expect_err("no such file");
    assert!(error.detail().contains("catalog.ca_file"), "{error}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_database_without_encryption_is_sent_nothing_where_encryption_is_asked_for() {
    let Some(ground) = Ground::new().await else {
        return;
    };
    let url = format!("{}?sslmode=verify-full", ground.database().url());
    refused(&url, &["encrypted"]).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_password_may_change_while_the_server_runs() {
    let Some(postgres) = Postgres::start().await else {
        return;
    };
    let database = postgres.database().await;
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("password");
    std::fs::write(&file, format!("{}\n", database.password())).expect("written");
    let url = database.url_without_password();
    let catalog = open_with(&url, |config| {
        config.password_file = Some(file.clone());
        config.connections = 2;
    });
    let catalog = catalog.await.expect("opened");
    catalog.probe().await.expect("it answers");
    std::fs::write(&file, "another one\n").expect("written");
    let role = Postgres::ROLE;
    postgres
        .admin(&format!("ALTER ROLE {role} PASSWORD 'another one'"))
        .await;
    // All connections that there are go; new ones are made with what the file says now.
    postgres
        .admin(&format!(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE usename = '{role}'"
        ))
        .await;
    let draft = draft();
    catalog.begin(&draft).await.expect("begin");
    catalog.commit(&draft.id, &stored(1)).await.expect("commit");
    let url = database.url();
    let both = open_with(&url, |config| config.password_file = Some(file));
    let error = both.await.expect_err("which of the two?");
    assert!(error.detail().contains("take one away"), "{error}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_asks_while_the_database_is_away_is_told_within_five_seconds_and_what_was_found_is_found()
 {
    let Some(mut postgres) = Postgres::start().await else {
        return;
    };
    let database = postgres.database().await;
    let catalog = Arc::new(open(&database.url()).await.expect("opened"));
    let recent = CachedCatalog::over(catalog.clone());
    let (known, lost) = (draft(), draft());
    for draft in [&known, &lost] {
        recent.begin(draft).await.expect("begin");
        recent.commit(&draft.id, &stored(1)).await.expect("commit");
    }
    let first = recent.find(&known.id).await.expect("found");

    postgres.stop_immediately();
    let away = Instant::now();
    let draft = draft();
    let (begun, found, probed, retired, listed) = futures::join!(
        recent.begin(&draft),
        recent.find(&lost.id),
        recent.probe(),
        recent.retire(&lost.id),
        recent.list_by_key(None, 1),
    );
    assert!(
        away.elapsed() < Duration::from_secs(5),
        "{:?}",
        away.elapsed()
    );
    let errors = [
        begun.map(|_| ()),
        found.map(|_| ()),
        probed,
        retired.map(|_| ()),
        listed.map(|_| ()),
    ];
    for outcome in errors {
        let error = outcome.expect_err("away");
        assert_eq!(error.kind(), ErrorKind::UpstreamUnavailable, "{error:?}");
        assert!(error.retry_hint().is_some(), "{error:?}");
    }
    // Nobody says that it is gone.
    let asked = recent.find_uncached(&known.id).await;
    assert_eq!(
        asked.expect_err("away").kind(),
        ErrorKind::UpstreamUnavailable
    );
    // Longer than it is believed otherwise: more than a second has passed.
    for _ in 0..3 {
        let asked = Instant::now();
        let again = recent.find(&known.id).await.expect("remembered");
        assert_eq!(again, first);
        assert!(asked.elapsed() < Duration::from_secs(2));
    }

    postgres.start_again().await;
    let back = async { while recent.find(&lost.id).await.is_err() {} };
    let within = Duration::from_secs(10);
    tokio::time::timeout(within, back)
        .await
        .expect("it is back");
    recent.begin(&draft).await.expect("begin");
    recent.retire(&known.id).await.expect("retire");
    let gone = recent.find(&known.id).await.expect_err("retired");
    assert_eq!(gone.kind(), ErrorKind::NotFound);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_table_that_somebody_has_locked_is_waited_for_five_seconds_at_most() {
    let Some(ground) = Ground::new().await else {
        return;
    };
    let catalog = ground.open().await;
    let draft = draft();
    catalog.begin(&draft).await.expect("begin");
    let held = async {
        ground
            .run("BEGIN; LOCK TABLE attache.attachments; SELECT pg_sleep(6); COMMIT")
            .await;
    };
    let asked = async {
        let is_held = "SELECT count(*) FROM pg_locks WHERE granted AND mode = 'AccessExclusiveLock' \
                       AND relation = 'attache.attachments'::regclass";
        while ground.number(is_held).await == 0 {}
        let (start, stored) = (Instant::now(), stored(1));
        let (found, commit) =
            futures::join!(catalog.find(&draft.id), catalog.commit(&draft.id, &stored));
        let took = start.elapsed();
        assert!(took < Duration::from_secs(5), "{took:?}");
        for error in [found.expect_err("locked"), commit.expect_err("locked")] {
            assert!(error.retry_hint().is_some(), "{error:?}");
        }
    };
    futures::join!(held, asked);
    // The commit that nobody waited for may have happened: repeated, it is the same.
    catalog.commit(&draft.id, &stored(1)).await.expect("commit");
    let shared: Shared = catalog;
    assert_eq!(totals(&shared).await, (1, 1, 0));
    ground.check_books().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_database_that_is_killed_under_load_loses_nothing_that_it_confirmed() {
    let Some(mut postgres) = Postgres::start().await else {
        return;
    };
    let database = postgres.database().await;
    let catalog = Arc::new(open(&database.url()).await.expect("opened"));
    let (stop, stopped) = tokio::sync::watch::channel(false);
    let writers = (0..16).map(|_| {
        let (catalog, stopped) = (catalog.clone(), stopped.clone());
        tokio::spawn(async move {
            let mut done = Vec::new();
            while !*stopped.borrow() {
                let draft = draft();
                let begun = catalog.begin(&draft).await;
                if begun.is_ok() && catalog.commit(&draft.id, &stored(1)).await.is_ok() {
                    done.push(draft.id);
                }
            }
            done
        })
    });
    let writers: Vec<_> = writers.collect();
    for _ in 0..3 {
        let before = catalog.totals().await.expect("it runs").attachments;
        let more = async {
            while catalog.totals().await.map_or(0, |now| now.attachments) < before + 50 {
                tokio::task::yield_now().await;
            }
        };
        let within = Duration::from_secs(30);
        tokio::time::timeout(within, more)
            .await
            .expect("it goes on");
        postgres.stop_immediately();
        postgres.start_again().await;
    }
    stop.send(true).expect("they listen");
    let mut confirmed = 0;
    for done in join_all(writers).await {
        for id in done.expect("no panic") {
            catalog.find(&id).await.expect("it was confirmed");
            confirmed += 1;
        }
    }
    assert!(confirmed >= 150, "{confirmed}");
    Ground::of(database).check_books().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_password_is_a_token_of_entra_id_and_another_one_when_that_is_refused() {
    let Some(postgres) = Postgres::start_tls().await else {
        return;
    };
    let database = postgres.database().await;
    let azure = FakeAzure::builder().secret("a-secret").start().await;
    let azure = azure.expect("started");
    let role = Postgres::ROLE;
    let issue = async |token: &str| {
        postgres
            .admin(&format!("ALTER ROLE {role} PASSWORD '{token}'"))
            .await;
        azure.set_database_token(token);
    };
    issue("the-first-token").await;

    let folder = tempfile::tempdir().expect("a folder");
    let ca = postgres.ca_file().expect("an authority");
    let url = format!("{}?sslmode=verify-full", database.url_without_password());
    let mut config = attache::Config {
        catalog: CatalogConfig::of(url.parse().expect("a URL")),
        ..attache::Config::default()
    };
    config.catalog.ca_file = Some(ca.to_owned());
    config.catalog.credential = DatabaseCredential::Entra;
    config.secrets.key_file = Some(folder.path().join("secrets.key"));
    let identity = &mut config.storage.azure;
    identity.tenant_id = Some(azure.tenant_id().to_owned());
    identity.client_id = Some(azure.client_id().to_owned());
    identity.client_secret = Some(Secret::new("a-secret"));
    identity.authority_host = Some(azure.authority_host());
    identity.ca_pem = Some(azure.ca_pem().to_owned());
    let opened = open_database(&config).await.expect("opened");
    opened.catalog.probe().await.expect("it answers");
    assert_eq!(azure.counts().tokens_issued, 1, "one lease");

    // It was taken back: the next connection asks for another one.
    issue("the-second-token").await;
    postgres
        .admin(&format!(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE usename = '{role}'"
        ))
        .await;
    opened.catalog.probe().await.expect("a new one, at once");

    // In plain text nothing is sent.
    config.catalog.url = database.url_without_password().parse().expect("a URL");
    let error = open_database(&config).await.expect_err("plain text");
    assert!(error.detail().contains("sslmode=verify-full"), "{error}");
    // The key of an account is no identity.
    config.storage.azure.account_key = Some(Secret::new("a2V5"));
    config.storage.azure.credential = CredentialKind::AccountKey;
    let error = open_database(&config).await.expect_err("no identity");
    assert!(error.detail().contains("no identity"), "{error}");
}
