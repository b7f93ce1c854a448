//! What handlers know of a request.

use std::sync::Arc;

use attache::access::Scope;
use attache::service::BucketHandle;
use attache::storage::bucket::{Entry, Key, Properties};
use axum::response::Response;
use http::header::{HeaderName, ToStrError};
use http::request::Parts;
use http::{StatusCode, Version};

use super::authenticate::{Caller, Proof};
use super::body;
use super::error::{S3Error, S3Result};
use super::signature::{Query, v2};
use crate::audit::{self, Action};
use crate::config::s3::BucketConfig;
use crate::net::limits::Uploading;
use crate::net::outgoing::Backpressure;
use crate::net::peer::Peer;
use crate::reload::Effective;
use crate::state::App;

/// A request to a bucket, by somebody who is known.
pub(super) struct S3Request {
    pub(super) app: App,
    pub(super) settings: Arc<Effective>,
    pub(super) head: Parts,
    pub(super) query: Query,
    pub(super) peer: Peer,
    pub(super) caller: Caller,
    pub(super) name: String,
    pub(super) config: Arc<BucketConfig>,
    pub(super) bucket: BucketHandle,
}

impl S3Request {
    /// Whether the caller may do something with an object.
    ///
    /// # Errors
    ///
    /// `AccessDenied`.
    pub(super) fn need(&self, scope: Scope, key: &str) -> S3Result<()> {
        self.caller.need(scope, &self.name, key)
    }

    /// Whether the caller may read an object: by its key, or because anybody may.
    ///
    /// # Errors
    ///
    /// `AccessDenied`.
    pub(super) fn need_read(&self, key: &Key) -> S3Result<()> {
        match matches!(self.caller.proof, Proof::Nothing) && self.is_public(key) {
            true => Ok(()),
            false => self.need(Scope::Read, key.as_str()),
        }
    }

    pub(super) fn is_public(&self, key: &Key) -> bool {
        let public = &self.config.public;
        public.iter().any(|prefix| key.as_str().starts_with(prefix))
    }

    /// Counts an upload of this caller in, until what it returns is dropped.
    ///
    /// # Errors
    ///
    /// `SlowDown`.
    pub(super) fn begin_upload(&self) -> S3Result<Uploading> {
        let begun = self
            .app
            .limits
            .upload(&self.settings.limits, &self.caller.name());
        begun.map_err(|exceeded| {
            self.app.limited(exceeded, None);
            S3Error::slow_down(None)
        })
    }

    /// What the client wants kept beside the bytes, by headers; presigned, by parameters, too.
    ///
    /// # Errors
    ///
    /// As [`body::properties`].
    pub(super) fn properties(&self) -> S3Result<Properties> {
        let headers = &self.head.headers;
        // A header that was signed is in the query of newer clients' URLs. What is not signed anybody can have added.
        let is_signed = |name: &str| match self.caller.proof {
            Proof::Presigned { all, .. } => all || v2::Claim::signs(name),
            _ => false,
        };
        let in_query = |name: &str| {
            let value = self.query.get_any_case(name).filter(|_| is_signed(name))?;
            Some(value.to_owned())
        };
        let parameters: Vec<String> = self
            .query
            .iter()
            .map(|(name, _)| name.to_ascii_lowercase())
            .filter(|name| is_signed(name))
            .collect();
        let names = headers.keys().map(HeaderName::as_str);
        let names = names.chain(parameters.iter().map(String::as_str));
        body::properties(names, |name| {
            body::text(headers, name).or_else(|| in_query(name))
        })
    }

    /// What a signed request wants a header to be instead of what is kept (`response-content-type`).
    pub(super) fn override_of(&self, name: &HeaderName) -> Option<&str> {
        // Nobody who is not known chooses what others see.
        self.caller.key.as_ref()?;
        let asked = self.query.get(&format!("response-{name}"))?;
        (!asked.chars().any(char::is_control)).then_some(asked)
    }

    pub(super) fn backpressure(&self) -> Backpressure {
        match self.head.version {
            Version::HTTP_2 => Backpressure::Stream {
                patience: self.settings.store.download.idle_timeout,
            },
            _ => Backpressure::Socket(self.peer.valve.clone()),
        }
    }

    /// The value of a header that must be text.
    ///
    /// # Errors
    ///
    /// `InvalidArgument`.
    pub(super) fn header(&self, name: &'static str) -> S3Result<Option<&str>> {
        let value = self.head.headers.get(name).map(|value| value.to_str());
        let value: Result<Option<&str>, ToStrError> = value.transpose();
        value.map_err(|_| S3Error::invalid(format!("{name} is not text")))
    }

    /// A parameter that is a whole number.
    ///
    /// # Errors
    ///
    /// `InvalidArgument`.
    pub(super) fn number(&self, name: &str) -> S3Result<Option<u32>> {
        match self.query.get(name) {
            None | Some("") => Ok(None),
            Some(text) => text.parse().map(Some).map_err(|_| {
                S3Error::invalid(format!(
                    "{name} must be a whole number from 0 to {}",
                    u32::MAX
                ))
            }),
        }
    }

    /// What is known of an object.
    ///
    /// # Errors
    ///
    /// `NoSuchKey`.
    pub(super) async fn found(&self, key: &Key) -> S3Result<Entry> {
        self.refuse_version()?;
        let found = self.bucket.head(key).await?;
        found.ok_or_else(S3Error::no_such_key)
    }

    /// Buckets have no versions; "null" is that of an object without.
    ///
    /// # Errors
    ///
    /// `NoSuchVersion`.
    pub(super) fn refuse_version(&self) -> S3Result<()> {
        match self.query.get("versionId") {
            None | Some("null") => Ok(()),
            Some(_) => Err(S3Error::new(
                StatusCode::NOT_FOUND,
                "NoSuchVersion",
                "there is no such version: buckets of attache have none",
            )),
        }
    }

    /// Writes the line of the audit log.
    pub(super) fn record(
        &self,
        operation: &'static str,
        key: Option<&Key>,
        outcome: &S3Result<Response>,
    ) {
        let action = match operation {
            "put_object"
            | "copy_object"
            | "post_object"
            | "complete_multipart_upload"
            | "put_object_tagging"
            | "delete_object_tagging" => Action::Upload,
            "delete_object" => Action::Delete,
            "get_object" | "head_object" => Action::Read,
            _ => return,
        };
        let word = outcome.as_ref().err().map_or("ok", S3Error::outcome);
        let on = format!("{}/{}", self.name, key.map_or("", Key::as_str));
        audit::record_word(&self.caller.name(), action, &on, word);
    }

    pub(super) fn record_delete(&self, key: &Key, outcome: &attache::Result<()>) {
        let on = format!("{}/{key}", self.name);
        audit::record_as(&self.caller.name(), Action::Delete, &on, outcome);
    }
}
