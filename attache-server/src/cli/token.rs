//! `attache token`: API tokens for `auth.mode = "token"`.

use attache::access::keys;
use attache::access::tokens::{Token, TokenId, TokenStore};
use attache::access::{OwnerPattern, Owners, Scope, Scopes};
use attache::catalog::open::Database;
use attache::catalog::sqlite;
use attache::service::open_database;
use clap::{Args, Subcommand};
use serde::Serialize;

use super::expiry::{end, shown};
use super::out::{json, minute, note, print, print_json, table, timestamp};
use super::outcome::{CommandError, Exit, Outcome};
use super::store::block_on;
use crate::config::Settings;
use crate::config::auth::AuthMode;

/// Create, list and revoke API tokens, for auth.mode = "token". A running server notices within a second.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  attache token create --name wiki --scope read,write,delete --owner 'page:*' --expires 90d
  attache token create --name prometheus --scope admin --expires never
  attache token list
  attache token revoke 0123456789abcdef

A token is sent as `Authorization: Bearer TOKEN`, or used to sign in on the page.")]
pub(super) struct TokenCommand {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Create a token and print it once: only its hash is stored.
    Create(Create),
    /// List tokens: id, name, scopes, owners, expiry, last use.
    #[command(visible_alias = "ls")]
    List {
        /// Print each token as a line of JSON.
        #[arg(long)]
        json: bool,
    },
    /// Revoke tokens, by their ids.
    #[command(visible_alias = "rm")]
    Revoke {
        /// The ids, from the first column of `attache token list`.
        #[arg(required = true)]
        ids: Vec<String>,
    },
    /// End all sessions of the page and all of attache's own temporary links, when the servers are started next.
    ///
    /// Makes a new key that signs them. URLs that a store signed work until they expire.
    EndSessions,
}

#[derive(Debug, Args)]
struct Create {
    /// What it is for: shown in the list and in the audit log.
    #[arg(long)]
    name: String,

    /// What it permits: read, write, delete, admin (status, metrics, reload, sweep). None implies another.
    #[arg(long, value_delimiter = ',', required = true)]
    scope: Vec<Scope>,

    /// Whose attachments: '*' (everything), 'page:*', 'page:42'; repeatable. A '*' stands for any ending: 'page:1*' matches
    /// page:1 and page:10.
    #[arg(long, value_delimiter = ',', default_value = "*")]
    owner: Vec<OwnerPattern>,

    /// When it expires: 90d, 12h, or never.
    #[arg(long, default_value = "90d")]
    expires: String,

    /// Print the token and its properties as JSON.
    #[arg(long)]
    json: bool,
}

#[derive(Serialize)]
struct TokenJson<'a> {
    id: &'a TokenId,
    name: &'a str,
    scopes: Vec<&'static str>,
    owners: Vec<String>,
    created_at: String,
    expires_at: Option<String>,
    last_used: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    token: Option<&'a str>,
}

impl<'a> TokenJson<'a> {
    fn new(token: &'a Token, text: Option<&'a str>) -> Self {
        let owners = token.owners.patterns().iter();
        Self {
            id: &token.id,
            name: &token.name,
            scopes: token.scopes.iter().map(Scope::as_str).collect(),
            owners: owners.map(ToString::to_string).collect(),
            created_at: timestamp(token.created_at),
            expires_at: token.expires_at.map(timestamp),
            last_used: token.last_used.map(timestamp),
            token: text,
        }
    }
}

impl TokenCommand {
    pub(super) fn run(self, settings: Settings) -> Outcome {
        let file = settings.store.catalog.url.file();
        // A database of another kind is there, or it is a fault.
        let exists = file.is_none_or(sqlite::exists);
        block_on(async {
            // Nothing is made before the first token is.
            if !exists && let Some(outcome) = self.command.without_database() {
                return outcome;
            }
            let database = open_database(&settings.store).await?;
            let outcome = self.command.run(&settings, &database).await;
            database.catalog.close().await;
            outcome
        })
    }
}

impl Command {
    async fn run(self, settings: &Settings, database: &Database) -> Outcome {
        match self {
            Self::Create(create) => create.run(settings, &*database.tokens).await,
            Self::List { json } => list(&all(&*database.tokens).await?, json),
            Self::Revoke { ids } => revoke(&*database.tokens, &ids).await,
            Self::EndSessions => {
                database.keys.replace(keys::LINKS).await?;
                note(
                    "sessions and links end when the servers that use this catalog are started next",
                );
                Ok(Exit::Done)
            }
        }
    }

    /// What there is to say where nothing was made yet; `None` for what makes something.
    fn without_database(&self) -> Option<Outcome> {
        match self {
            Self::Create(_) => None,
            Self::List { json } => Some(list(&[], *json)),
            Self::Revoke { ids } => Some(none_of(ids)),
            Self::EndSessions => {
                note("there are no sessions and links yet");
                Some(Ok(Exit::Done))
            }
        }
    }
}

/// Oldest first.
async fn all(store: &dyn TokenStore) -> attache::Result<Vec<Token>> {
    let stored = store.tokens().await?;
    let mut tokens: Vec<Token> = stored.into_iter().map(|stored| stored.token).collect();
    tokens.sort_by(|a, b| (a.created_at, &a.id).cmp(&(b.created_at, &b.id)));
    Ok(tokens)
}

impl Create {
    async fn run(self, settings: &Settings, store: &dyn TokenStore) -> Outcome {
        let length = self.name.chars().count();
        if !(1..=64).contains(&length) || self.name.chars().any(char::is_control) {
            return Err(CommandError::Usage(
                "--name is 1 to 64 printable characters, such as \"wiki\"".to_owned(),
            ));
        }
        let expires = end(&self.expires)?;
        let scopes: Scopes = self.scope.into_iter().collect();
        let owners: Owners = self.owner.into_iter().collect();
        let (stored, text) = Token::generate(&self.name, scopes, owners, expires)?;
        store.insert(&stored).await?;
        let token = stored.token;
        if !settings.auth.accepts(AuthMode::Token) {
            note(
                "note: auth.mode does not include \"token\", so a server with this configuration accepts no tokens",
            );
        }
        match self.json {
            true => print_json(&TokenJson::new(&token, Some(text.expose())))?,
            false => {
                note(format_args!(
                    "token {} \"{}\" may {}; it is shown this once:",
                    token.id, token.name, token.scopes
                ));
                print(&format!("{}\n", text.expose()))?;
            }
        }
        Ok(Exit::Done)
    }
}

fn list(tokens: &[Token], as_json: bool) -> Outcome {
    if as_json {
        let mut text = String::new();
        for token in tokens {
            text.push_str(&json(&TokenJson::new(token, None))?);
            text.push('\n');
        }
        print(&text)?;
        return Ok(Exit::Done);
    }
    let rows = tokens.iter().map(|token| {
        let owners: Vec<String> = token
            .owners
            .patterns()
            .iter()
            .map(ToString::to_string)
            .collect();
        [
            token.id.to_string(),
            token.name.clone(),
            token.scopes.to_string().replace(' ', ","),
            owners.join(","),
            shown(token.expires_at),
            token.last_used.map_or_else(|| "never".to_owned(), minute),
        ]
    });
    let rows: Vec<[String; 6]> = rows.collect();
    if rows.is_empty() {
        note("there are no tokens; `attache token create --help` shows how to create one");
        return Ok(Exit::Done);
    }
    let heading = ["ID", "NAME", "SCOPES", "OWNERS", "ENDS", "LAST USED"];
    print(&table(heading, rows))?;
    Ok(Exit::Done)
}

fn none_of(ids: &[String]) -> Outcome {
    for id in ids {
        let id: TokenId = id.parse()?;
        note(format_args!("there is no token {id}"));
    }
    Ok(Exit::NotFound)
}

async fn revoke(store: &dyn TokenStore, ids: &[String]) -> Outcome {
    let ids: Vec<TokenId> = ids.iter().map(|id| id.parse()).collect::<Result<_, _>>()?;
    let mut exit = Exit::Done;
    for id in ids {
        match store.revoke(&id).await? {
            true => note(format_args!("token {id} is revoked")),
            false => {
                note(format_args!("there is no token {id}"));
                exit = Exit::NotFound;
            }
        }
    }
    Ok(exit)
}
