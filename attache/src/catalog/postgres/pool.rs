//! Connections, and statements that are asked until they are answered or out of time.
//!
//! Statements are sent unnamed, in one round trip (`query_typed`), and outside of transactions: so they work through a pooler that
//! hands out connections by transaction, and a connection never comes back inside of one.

use std::time::Duration;

use deadpool_postgres::{
    Client, Hook, HookError, Manager, ManagerConfig, Object, Pool as Connections, RecyclingMethod,
    Runtime, Timeouts,
};
use tokio::time::{Instant, timeout, timeout_at};
use tokio_postgres::Row;

use super::ask::Ask;
use super::connect::{CONNECT_TIME, Connector};
use super::failure::Failure;
use crate::catalog::config::CatalogConfig;
use crate::catalog::url::PostgresUrl;
use crate::error::{Error, Result};

/// From the call to its answer or its error, whatever the database does: a client is told within five seconds.
pub(super) const TIME: Duration = Duration::from_millis(4500);

/// How long a caller waits for a connection that another one uses.
const WAIT_TIME: Duration = Duration::from_secs(3);

/// The first pause before a statement is sent again; doubles, up to [`MAX_PAUSE`], each with jitter.
const MIN_PAUSE: Duration = Duration::from_millis(20);
const MAX_PAUSE: Duration = Duration::from_millis(500);

/// A connection is closed when it is older, so that one does not outlive the right to it for long.
const MAX_AGE: Duration = Duration::from_secs(30 * 60);

/// A connection that was idle this long is asked whether it lives before it is used: a firewall may have forgotten it.
const IDLE: Duration = Duration::from_secs(60);

/// How long such a connection may take to say so.
const CHECK_TIME: Duration = Duration::from_secs(1);

pub(super) struct Pool {
    connections: Connections,
    connector: Connector,
}

/// What a statement brought.
pub(super) struct Answer {
    pub(super) rows: Vec<Row>,
    /// It was sent before, without an answer: it may have happened twice.
    pub(super) repeated: bool,
}

impl Pool {
    pub(super) fn new(
        url: &PostgresUrl,
        config: &CatalogConfig,
        connector: Connector,
    ) -> Result<Self> {
        let mut driver = url.config();
        driver
            .connect_timeout(CONNECT_TIME)
            .tcp_user_timeout(Duration::from_secs(10))
            .keepalives_idle(Duration::from_secs(30));
        if driver.get_application_name().is_none() {
            driver.application_name("attache");
        }
        let manager = ManagerConfig {
            // No round trip: tokio-postgres brings no connection back inside of a transaction of its own making.
            recycling_method: RecyclingMethod::Fast,
        };
        let connections =
            Connections::builder(Manager::from_connect(driver, connector.clone(), manager))
                .max_size(config.connections)
                .runtime(Runtime::Tokio1)
                .pre_recycle(Hook::async_fn(|connection, metrics| {
                    Box::pin(async move {
                        if metrics.last_used() > IDLE {
                            let lives = timeout(CHECK_TIME, connection.check_connection()).await;
                            if !matches!(lives, Ok(Ok(()))) {
                                return Err(HookError::message("it is dead"));
                            }
                        }
                        Ok(())
                    })
                }))
                .timeouts(Timeouts {
                    wait: Some(WAIT_TIME),
                    create: Some(CONNECT_TIME),
                    recycle: Some(CONNECT_TIME),
                })
                .build()
                .map_err(|error| Error::internal("cannot make the pool").with_source(error))?;
        Ok(Self {
            connections,
            connector,
        })
    }

    /// Asks until there is an answer: as long as it makes sense to ask again, and [`TIME`] at most.
    pub(super) async fn ask(&self, ask: &Ask) -> Result<Answer, Failure> {
        self.ask_until(ask, Instant::now() + TIME).await
    }

    /// As [`ask`](Self::ask), until `end`.
    pub(super) async fn ask_until(&self, ask: &Ask, end: Instant) -> Result<Answer, Failure> {
        let (mut pause, mut repeated, mut renewed) = (MIN_PAUSE, false, false);
        loop {
            let failure = match self.once(ask, end).await {
                Ok(rows) => return Ok(Answer { rows, repeated }),
                Err(failure) => failure,
            };
            // A token that was taken back is a matter of another token, once.
            if matches!(failure, Failure::Wrong(..)) && !renewed && self.connector.refused() {
                renewed = true;
                continue;
            }
            let wait = pause.mul_f64(rand::random_range(0.5..1.0));
            if !failure.may_be_repeated() || Instant::now() + wait >= end {
                return Err(failure);
            }
            repeated |= failure.may_have_happened();
            tokio::time::sleep(wait).await;
            pause = (pause * 2).min(MAX_PAUSE);
        }
    }

    async fn once(&self, ask: &Ask, end: Instant) -> Result<Vec<Row>, Failure> {
        let connection = self.connection(end).await?;
        let mut asked = Asked {
            connection: Some(connection),
            long: ask.long,
            connector: &self.connector,
        };
        let Some(connection) = &asked.connection else {
            return Err(Failure::Away("no connection".into()));
        };
        let parameters = ask.parameters();
        let answer = timeout_at(end, connection.query_typed(&ask.sql, &parameters)).await;
        match answer {
            Ok(answer) => {
                asked.long = false;
                answer.map_err(Failure::of)
            }
            Err(_) => {
                asked.give_up();
                Err(Failure::Away("timed out".into()))
            }
        }
    }

    /// A connection for several statements, such as a migration.
    pub(super) async fn connection(&self, end: Instant) -> Result<Client, Failure> {
        let connection = match timeout_at(end, self.connections.get()).await {
            Ok(connection) => connection,
            Err(_) => return Err(Failure::Away("timed out".into())),
        };
        let connection = connection.map_err(|error| {
            let failure = Failure::of_pool(error);
            match self.connector.take_fault() {
                Some(fault) => Failure::Ours(fault),
                None => failure,
            }
        })?;
        Ok(connection)
    }

    /// Connections that are open, and those of them that nobody uses.
    pub(super) fn status(&self) -> (usize, usize) {
        let status = self.connections.status();
        (status.size, status.available)
    }

    /// Lets go of connections that are old.
    pub(super) fn retain_young(&self) {
        self.connections
            .retain(|_, metrics| metrics.age() < MAX_AGE);
    }

    pub(super) fn is_closed(&self) -> bool {
        self.connections.is_closed()
    }

    pub(super) fn close(&self) {
        self.connections.close();
    }
}

/// A connection on which an answer is awaited. Dropped before it came, a statement that may take long is cancelled, and its connection
/// closed: the next one on it would wait for it. A short one is waited for, which costs less than a new connection.
struct Asked<'a> {
    connection: Option<Client>,
    long: bool,
    connector: &'a Connector,
}

impl Asked<'_> {
    /// The statement goes on, and nobody waits for it.
    fn give_up(&mut self) {
        if let Some(connection) = self.connection.take() {
            self.connector.cancel(connection.cancel_token());
            drop(Object::take(connection));
        }
    }
}

impl Drop for Asked<'_> {
    fn drop(&mut self) {
        if self.long {
            self.give_up();
        }
    }
}
