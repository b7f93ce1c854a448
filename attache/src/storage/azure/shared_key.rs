//! Authorises requests with a key of the account
//! (<https://learn.microsoft.com/rest/api/storageservices/authorize-with-shared-key>). For Azurite, and for accounts
//! that still allow it; Entra ID is the better way.

use std::fmt::Write as _;
use std::sync::Arc;

use async_trait::async_trait;
use azure_core::http::headers::{AUTHORIZATION, HeaderName};
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

    fn string_to_sign(&self, request: &Request) -> String {
        let header = |name: &'static str| {
            request
                .headers()
                .get_optional_str(&HeaderName::from_static(name))
                .unwrap_or_default()
        };
        let length = match request.body().len() {
            None | Some(0) => String::new(),
            Some(length) => length.to_string(),
        };
        let mut text = format!(
            "{}\n{}\n{}\n{}\n{}\n{}\n\n{}\n{}\n{}\n{}\n{}\n",
            request.method().as_str(),
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
        let mut extra: Vec<(&str, &str)> = request
            .headers()
            .iter()
            .map(|(name, value)| (name.as_str(), value.as_str()))
            .filter(|(name, _)| name.starts_with("x-ms-"))
            .collect();
        extra.sort_unstable();
        for (name, value) in extra {
            let _ = writeln!(text, "{name}:{}", value.trim());
        }
        let _ = write!(text, "/{}{}", self.account, request.url().path());
        let mut query: Vec<(String, String)> = request
            .url()
            .query_pairs()
            .map(|(name, value)| (name.to_lowercase(), value.into_owned()))
            .collect();
        query.sort_unstable();
        for (name, value) in query {
            let _ = write!(text, "\n{name}:{value}");
        }
        text
    }
}

#[async_trait]
impl Policy for AccountKey {
    async fn send(
        &self,
        ctx: &Context,
        request: &mut Request,
        next: &[Arc<dyn Policy>],
    ) -> PolicyResult {
        request.insert_header(
            "x-ms-date",
            azure_core::time::to_rfc7231(&OffsetDateTime::now_utc()),
        );
        let signature = self.sign(&self.string_to_sign(request));
        request.insert_header(
            AUTHORIZATION,
            format!("SharedKey {}:{signature}", self.account),
        );
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
