//! Several `attache serve` on one database and one store, and what both hold in the end.

#[path = "../../../attache/tests/postgres/books.rs"]
mod books;

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::time::{Duration, Instant, SystemTime};

use fake_azure::FakeAzure;
use test_support::{Database, PgBouncer, Postgres};

use crate::support::{Server, borrowed, files_below, on_azure};

/// Where the bytes are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Store {
    /// A folder that all replicas share.
    Local,
    /// A stand-in for Azure.
    Azure,
}

/// What the replicas stand on: a PostgreSQL, a store and a key of their own.
pub(crate) struct Ground {
    pub(crate) azure: Option<FakeAzure>,
    pub(crate) folder: tempfile::TempDir,
    database: Database,
    _pooler: Option<PgBouncer>,
    pub(crate) postgres: Postgres,
    variables: Variables,
}

/// What every replica is started with.
#[derive(Clone)]
pub(crate) struct Variables(Vec<(&'static str, String)>);

impl Variables {
    pub(crate) fn all(&self) -> Vec<(&str, &str)> {
        borrowed(&self.0)
    }

    /// Sets one, instead of what it was.
    pub(crate) fn set(&mut self, name: &'static str, value: impl Into<String>) {
        self.0.retain(|(have, _)| *have != name);
        self.0.push((name, value.into()));
    }
}

impl Ground {
    /// `None` if there is no PostgreSQL on this machine.
    pub(crate) async fn new(store: Store) -> Option<Self> {
        let postgres = Postgres::start().await?;
        let database = postgres.database().await;
        let folder = tempfile::tempdir().unwrap();
        let mut variables = Variables(Vec::new());
        variables.set("ATTACHE_CATALOG__URL", database.url());
        let key = folder.path().join("secrets.key");
        variables.set("ATTACHE_SECRETS__KEY_FILE", key.display().to_string());
        variables.set("ATTACHE_UPLOAD__BLOCK_BYTES", "64KiB");
        variables.set("ATTACHE_UPLOAD__TOTAL_BYTES", "10GiB");
        let azure = match store {
            Store::Local => {
                let root = folder.path().join("objects");
                variables.set("ATTACHE_STORAGE__LOCAL__ROOT", root.display().to_string());
                None
            }
            Store::Azure => Some(azure(&folder, &mut variables).await),
        };
        Some(Self {
            azure,
            folder,
            database,
            _pooler: None,
            postgres,
            variables,
        })
    }

    /// With PgBouncer in between.
    pub(crate) async fn pooled(store: Store) -> Option<Self> {
        let mut ground = Self::new(store).await?;
        let pooler = PgBouncer::before(&ground.postgres).await?;
        let url = pooler.url(&ground.database);
        ground.set("ATTACHE_CATALOG__URL", url);
        ground._pooler = Some(pooler);
        Some(ground)
    }

    pub(crate) fn set(&mut self, name: &'static str, value: impl Into<String>) {
        self.variables.set(name, value);
    }

    pub(crate) fn variables(&self) -> Variables {
        self.variables.clone()
    }

    /// As many replicas. Each has an address of its own, so that nobody takes its port while it is dead.
    pub(crate) fn start(&self, count: usize) -> Vec<Server> {
        let variables = self.variables.all();
        std::thread::scope(|scope| {
            let starts: Vec<_> = (0..count)
                .map(|n| {
                    let (listen, variables) = (format!("127.0.0.{}:0", n + 2), &variables);
                    scope.spawn(move || Server::start_at(&listen, variables))
                })
                .collect();
            starts.into_iter().map(|one| one.join().unwrap()).collect()
        })
    }

    /// As an operator would.
    pub(crate) async fn run(&self, sql: &str) {
        self.database.admin(sql).await;
    }

    /// One number.
    pub(crate) async fn number(&self, sql: &str) -> i64 {
        books::numbers(&self.database, sql).await[0]
    }

    /// Replicas that were started, those that died included.
    pub(crate) async fn workers(&self) -> i64 {
        self.number("SELECT count(*) FROM attache.workers").await
    }

    /// Whoever does not live counts as dead at once, instead of after a quarter of a minute: `alive` replicas live, and are waited for
    /// until each has said so.
    pub(crate) async fn bury_the_dead(&self, alive: usize) {
        let now = self.database.admin("SELECT clock_timestamp()").await;
        let now = now[0][0].clone().unwrap();
        let seen = format!("SELECT count(*) FROM attache.workers WHERE seen_at > '{now}'");
        let all = async {
            while self.number(&seen).await < i64::try_from(alive).unwrap() {
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
        };
        let limit = Duration::from_secs(30);
        tokio::time::timeout(limit, all).await.expect("they live");
        self.run(&format!(
            "UPDATE attache.workers SET alive_since = alive_since - interval '1 min'; \
             UPDATE attache.workers SET seen_at = seen_at - interval '15 s' WHERE seen_at <= '{now}'"
        ))
        .await;
    }

    /// Waits until every row is an attachment, and every object has one; how long that took.
    pub(crate) async fn await_order(&self, limit: Duration) -> Duration {
        let start = Instant::now();
        loop {
            let unfinished = "SELECT count(*) FROM attache.attachments WHERE state <> 'ready'";
            let left = self.number(unfinished).await;
            let (rows, objects) = (self.keys().await, self.objects());
            if left == 0 && rows == objects {
                return start.elapsed();
            }
            if start.elapsed() > limit {
                let rows_without = rows.difference(&objects);
                let objects_without = objects.difference(&rows);
                let states = self
                    .database
                    .admin(
                        "SELECT state, id, worker, object_key FROM attache.attachments WHERE state <> 'ready' ORDER BY 1, 2",
                    )
                    .await;
                panic!(
                    "{left} rows are no attachments: {states:#?}; without objects: {:#?}; objects without rows: {:#?}",
                    rows_without.collect::<Vec<_>>(),
                    objects_without.collect::<Vec<_>>()
                );
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }

    /// That the counter is what the rows say, in one look.
    pub(crate) async fn check_books(&self) {
        books::check(&self.database).await;
    }

    /// The object keys of all rows.
    async fn keys(&self) -> BTreeSet<String> {
        let rows = self
            .database
            .admin("SELECT object_key FROM attache.attachments");
        rows.await
            .into_iter()
            .map(|row| row.into_iter().next().unwrap().unwrap())
            .collect()
    }

    /// The keys of what is in the store.
    fn objects(&self) -> BTreeSet<String> {
        if let Some(azure) = &self.azure {
            return azure.blobs().into_iter().map(|blob| blob.name).collect();
        }
        let files = self.files();
        files
            .into_iter()
            .filter(|file| !file.starts_with('.'))
            .collect()
    }

    /// That nothing but whole objects is in the store, after a sweep.
    pub(crate) async fn check_store(&self) {
        if let Some(azure) = &self.azure {
            for blob in azure.blobs() {
                assert_eq!(blob.uncommitted_blocks, 0, "{blob:#?}");
                assert!(blob.committed && blob.snapshot.is_none(), "{blob:#?}");
            }
            return;
        }
        let rows = self.keys().await;
        let each = rows.iter();
        let expected: BTreeSet<String> = each
            .flat_map(|key| [key.clone(), format!(".facts/{key}.json")])
            .collect();
        assert_eq!(self.files(), expected, "files");
    }

    /// Facts of objects that never came are old enough to be swept.
    pub(crate) fn age_facts(&self) {
        let objects = self.objects();
        let old = SystemTime::now() - Duration::from_secs(3600);
        for file in self.files() {
            let key = file.strip_prefix(".facts/");
            let key = key.and_then(|file| file.strip_suffix(".json"));
            if key.is_some_and(|key| !objects.contains(key)) {
                let file = std::fs::File::options()
                    .append(true)
                    .open(self.root().join(file));
                file.and_then(|file| file.set_modified(old)).unwrap();
            }
        }
    }

    fn root(&self) -> PathBuf {
        self.folder.path().join("objects")
    }

    /// All files of the shared folder, by their names in it.
    fn files(&self) -> BTreeSet<String> {
        let root = self.root();
        let root = format!("{}/", root.display());
        let files = files_below(&self.root());
        files
            .into_iter()
            .map(|file| file.strip_prefix(&root).unwrap().to_owned())
            .collect()
    }
}

async fn azure(folder: &tempfile::TempDir, variables: &mut Variables) -> FakeAzure {
    let azure = FakeAzure::builder()
        .account("acme")
        .container("files")
        .secret("a-secret")
        .start()
        .await
        .unwrap();
    for (name, value) in on_azure(&azure, folder.path()) {
        variables.set(name, value);
    }
    variables.set("ATTACHE_DELIVERY__MODE", "relay");
    azure
}
