//! Authorises requests with a key of the account
//! (<https://learn.microsoft.com/rest/api/storageservices/authorize-with-shared-key>). For Azurite, and for accounts
//! that still allow it; Entra ID is the better way.

use std::fmt::Write as _;
use std::sync::Arc;

use async_trait::async_trait;
use azure_core::http::headers::AUTHORIZATION;
use azure_core::http::policies::{Policy, PolicyResult};
use azure_core::http::{Context, Request};
use hmac::{Hmac, KeyInit, Mac};
use sha2::Sha256;
use time::OffsetDateTime;
use zeroize::Zeroizing;

/// A key of the account.
#[derive(Clone)]
pub(super) struct AccountKey {
    account: String,
    key: Zeroizing<Vec<u8>>,
}

impl AccountKey {
    /// `None` if the key is not base64.
    pub(super) fn new(account: &str, key: &str) -> Option<Self> {
        Some(Self {
            account: account.to_owned(),
            key: Zeroizing::new(crate::base64::decode(key)?),
        })
    }

    /// HMAC-SHA256 of `text`, as base64.
    pub(super) fn sign(&self, text: &str) -> String {
        let mut mac =
            Hmac::<Sha256>::new_from_slice(&self.key).expect("HMAC takes keys of any length");
        mac.update(text.as_bytes());
        crate::base64::encode(mac.finalize().into_bytes())
    }

    /// The value of `Authorization` for a request.
    pub(super) fn authorise(&self, request: &Signable<'_>) -> String {
        let signature = self.sign(&self.string_to_sign(request));
        format!("SharedKey {}:{signature}", self.account)
    }

    fn string_to_sign(&self, request: &Signable<'_>) -> String {
        let header = |wanted: &str| {
            let found = request.headers.iter().find(|(name, _)| *name == wanted);
            found.map_or("", |(_, value)| *value)
        };
        let length = match request.length {
            0 => String::new(),
            length => length.to_string(),
        };
        let mut text = format!(
            "{}\n{}\n{}\n{}\n{}\n{}\n\n{}\n{}\n{}\n{}\n{}\n",
            request.method,
            header("content-encoding"),
            header("content-language"),
            length,
            header("content-md5"),
            header("content-type"),
            header("if-modified-since"),
            header("if-match"),
            header("if-none-match"),
            header("if-unmodified-since"),
            header("range"),
        );
        let mut extra: Vec<&(&str, &str)> = request
            .headers
            .iter()
            .filter(|(name, _)| name.starts_with("x-ms-"))
            .collect();
        extra.sort_unstable();
        for (name, value) in extra {
            let _ = writeln!(text, "{name}:{}", value.trim());
        }
        let _ = write!(text, "/{}{}", self.account, request.path);
        let mut query = request.query.clone();
        query.sort_unstable();
        for (name, value) in query {
            let _ = write!(text, "\n{name}:{value}");
        }
        text
    }
}

/// What of a request a signature covers.
pub(super) struct Signable<'a> {
    pub(super) method: &'a str,
    /// As it is sent, escapes included.
    pub(super) path: &'a str,
    /// Decoded, with names in lower case.
    pub(super) query: Vec<(String, String)>,
    /// Of the body, in bytes.
    pub(super) length: u64,
    /// With names in lower case; `x-ms-date` is among them.
    pub(super) headers: Vec<(&'a str, &'a str)>,
}

/// The value of `x-ms-date`.
pub(super) fn date() -> String {
    azure_core::time::to_rfc7231(&OffsetDateTime::now_utc())
}

#[async_trait]
impl Policy for AccountKey {
    async fn send(
        &self,
        ctx: &Context,
        request: &mut Request,
        next: &[Arc<dyn Policy>],
    ) -> PolicyResult {
        request.insert_header("x-ms-date", date());
        let headers = request.headers().iter();
        let signable = Signable {
            method: request.method().as_str(),
            path: request.url().path(),
            query: request
                .url()
                .query_pairs()
                .map(|(name, value)| (name.to_lowercase(), value.into_owned()))
                .collect(),
            length: request.body().len().unwrap_or_default(),
            headers: headers
                .map(|(name, value)| (name.as_str(), value.as_str()))
                .collect(),
        };
        let authorisation = self.authorise(&signable);
        request.insert_header(AUTHORIZATION, authorisation);
        next[0].send(ctx, request, &next[1..]).await
    }
}

impl std::fmt::Debug for AccountKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("AccountKey")
            .field("account", &self.account)
            .finish_non_exhaustive()
    }
}
