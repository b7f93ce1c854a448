//! `attache key`: access keys for programs that speak S3.

use attache::access::access_keys::{AccessKey, AccessKeyId, AccessKeys, NewAccessKey};
use attache::access::{Scope, Scopes};
use attache::catalog::sqlite;
use attache::secret::Secret;
use attache::service::open_database;
use clap::{Args, Subcommand};
use serde::Serialize;

use super::expiry::{end, shown};
use super::out::{json, note, print, print_json, table, timestamp};
use super::outcome::{Exit, Outcome};
use super::store::block_on;
use crate::config::Settings;

/// Create, list and remove access keys, for programs that speak S3. A running server notices within two seconds.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  attache key create --name wiki --bucket media --expires 90d
  attache key create --name reports --bucket media --bucket archive --prefix reports/ --scope read
  attache key ls
  attache key rm ATTA0123456789ABCDEF

Two keys may have one name, so that a new one is handed out before the old one is removed.")]
pub(super) struct KeyCommand {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Create an access key and print its id and secret once: the secret is stored sealed, and never shown again.
    Create(Create),
    /// List access keys: id, name, scopes, buckets, key prefix, expiry.
    #[command(visible_alias = "list")]
    Ls {
        /// Print each access key as a line of JSON.
        #[arg(long)]
        json: bool,
    },
    /// Remove access keys, by their ids: they open nothing any more.
    #[command(visible_alias = "revoke")]
    Rm {
        /// The ids, from the first column of `attache key ls`.
        #[arg(required = true)]
        ids: Vec<String>,
    },
}

#[derive(Debug, Args)]
struct Create {
    /// What it is for, in the list. Two access keys at a time may have one name.
    #[arg(long)]
    name: String,

    /// Which bucket it opens; repeatable, up to 100.
    #[arg(long, value_delimiter = ',', required = true)]
    bucket: Vec<String>,

    /// What the keys of all objects that it opens begin with: 'wiki/' is what is below it, 'wiki' also wiki2/a.
    #[arg(long, default_value = "")]
    prefix: String,

    /// What it permits: read, write, delete. None implies another.
    #[arg(long, value_delimiter = ',', default_value = "read,write,delete")]
    scope: Vec<Scope>,

    /// When it expires: 90d, 12h, or never.
    #[arg(long, default_value = "90d")]
    expires: String,

    /// Print the id, the secret and the properties as JSON.
    #[arg(long)]
    json: bool,
}

#[derive(Serialize)]
struct KeyJson<'a> {
    access_key_id: &'a AccessKeyId,
    #[serde(skip_serializing_if = "Option::is_none")]
    secret_access_key: Option<&'a str>,
    name: &'a str,
    buckets: &'a [String],
    prefix: &'a str,
    scopes: Vec<&'static str>,
    created_at: String,
    expires_at: Option<String>,
}

impl<'a> KeyJson<'a> {
    fn new(key: &'a AccessKey, secret: Option<&'a Secret>) -> Self {
        Self {
            access_key_id: &key.id,
            secret_access_key: secret.map(Secret::expose),
            name: &key.name,
            buckets: &key.buckets,
            prefix: &key.prefix,
            scopes: key.scopes.iter().map(Scope::as_str).collect(),
            created_at: timestamp(key.created_at),
            expires_at: key.expires_at.map(timestamp),
        }
    }
}

impl KeyCommand {
    pub(super) fn run(self, settings: &Settings) -> Outcome {
        let file = settings.store.catalog.url.file();
        // A database of another kind is there, or it is a fault.
        let exists = file.is_none_or(sqlite::exists);
        block_on(async {
            // Nothing is made before the first access key is.
            if !exists && let Some(outcome) = self.command.without_database() {
                return outcome;
            }
            let database = open_database(&settings.store).await?;
            let outcome = self.command.run(&database.access_keys).await;
            database.catalog.close().await;
            outcome
        })
    }
}

impl Command {
    async fn run(self, keys: &AccessKeys) -> Outcome {
        match self {
            Self::Create(create) => create.run(keys).await,
            Self::Ls { json } => list(&all(keys).await?, json),
            Self::Rm { ids } => remove(keys, &ids).await,
        }
    }

    /// What there is to say where nothing was made yet; `None` for what makes something.
    fn without_database(&self) -> Option<Outcome> {
        match self {
            Self::Create(_) => None,
            Self::Ls { json } => Some(list(&[], *json)),
            Self::Rm { ids } => Some(none_of(ids)),
        }
    }
}

/// Oldest first.
async fn all(keys: &AccessKeys) -> attache::Result<Vec<AccessKey>> {
    let opened = keys.list().await?;
    let mut keys: Vec<AccessKey> = opened.into_iter().map(|(key, _)| key).collect();
    keys.sort_by(|a, b| (a.created_at, &a.id).cmp(&(b.created_at, &b.id)));
    Ok(keys)
}

impl Create {
    async fn run(self, keys: &AccessKeys) -> Outcome {
        let scopes: Scopes = self.scope.into_iter().collect();
        let new = NewAccessKey {
            name: self.name,
            buckets: self.bucket,
            prefix: self.prefix,
            scopes,
            expires_at: end(&self.expires)?,
        };
        let (key, secret) = keys.create(new).await?;
        if self.json {
            print_json(&KeyJson::new(&key, Some(&secret)))?;
            return Ok(Exit::Done);
        }
        note(format_args!(
            "access key {} \"{}\" may {} in {}; its secret is shown this once:",
            key.id,
            key.name,
            key.scopes,
            place(&key)
        ));
        print(&format!("{}\n{}\n", key.id, secret.expose()))?;
        note(
            "the first line is AWS_ACCESS_KEY_ID, the second one AWS_SECRET_ACCESS_KEY: set both where the program runs, or write \
             them into its settings",
        );
        Ok(Exit::Done)
    }
}

/// Which objects it opens.
fn place(key: &AccessKey) -> String {
    let buckets = key.buckets.join(", ");
    match key.prefix.as_str() {
        "" => buckets,
        prefix => format!("{buckets} below \"{prefix}\""),
    }
}

fn list(keys: &[AccessKey], as_json: bool) -> Outcome {
    if as_json {
        let mut text = String::new();
        for key in keys {
            text.push_str(&json(&KeyJson::new(key, None))?);
            text.push('\n');
        }
        print(&text)?;
        return Ok(Exit::Done);
    }
    if keys.is_empty() {
        note("there are no access keys; `attache key create --help` shows how to create one");
        return Ok(Exit::Done);
    }
    let rows = keys.iter().map(|key| {
        [
            key.id.to_string(),
            key.name.clone(),
            key.scopes.to_string().replace(' ', ","),
            key.buckets.join(","),
            key.prefix.clone(),
            shown(key.expires_at),
        ]
    });
    let heading = ["ID", "NAME", "SCOPES", "BUCKETS", "PREFIX", "ENDS"];
    print(&table(heading, rows.collect()))?;
    Ok(Exit::Done)
}

fn none_of(ids: &[String]) -> Outcome {
    for id in ids {
        let id: AccessKeyId = id.parse()?;
        note(format_args!("there is no access key {id}"));
    }
    Ok(Exit::NotFound)
}

async fn remove(keys: &AccessKeys, ids: &[String]) -> Outcome {
    let ids: Vec<AccessKeyId> = ids.iter().map(|id| id.parse()).collect::<Result<_, _>>()?;
    let mut exit = Exit::Done;
    for id in ids {
        match keys.revoke(&id).await? {
            true => note(format_args!("access key {id} is removed")),
            false => {
                note(format_args!("there is no access key {id}"));
                exit = Exit::NotFound;
            }
        }
    }
    Ok(exit)
}
