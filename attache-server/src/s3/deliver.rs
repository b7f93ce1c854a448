//! How presigned and public reads leave: from the store itself, by the web server in front, or through us; under the policy of
//! attachments, because browsers open them.

use std::collections::HashMap;
use std::sync::{LazyLock, Mutex, PoisonError};
use std::time::{Duration, Instant};

use attache::attachment::filename::Disposition;
use attache::attachment::media::{Guarded, Served, serve};
use attache::delivery::config::{DeliveryMode, MAX_URL_LIFETIME};
use attache::delivery::internal_path;
use attache::storage::bucket::{Entry, Key, Properties};
use attache::storage::{Grant, Offer};
use axum::response::{IntoResponse as _, Response};
use http::StatusCode;
use http::header::{
    CACHE_CONTROL, CONTENT_DISPOSITION, CONTENT_SECURITY_POLICY, CONTENT_TYPE, HeaderMap,
    HeaderName, HeaderValue, LOCATION, REFERRER_POLICY, X_CONTENT_TYPE_OPTIONS,
};
use time::OffsetDateTime;

use super::authenticate::Proof;
use super::cors;
use super::error::S3Result;
use super::request::S3Request;
use super::values::{DEFAULT_TYPE, quoted, value};
use crate::respond::http_date;

/// How long a URL of the store lives where anybody may read.
const PUBLIC_LIFETIME: Duration = Duration::from_secs(10 * 60);

/// A URL that lives no longer than this could expire before the client follows it.
const MIN_LIFETIME: Duration = Duration::from_secs(2);

/// Responds to a presigned or public GET from elsewhere, if the bucket says so and the store has something to offer.
pub(super) async fn elsewhere(request: &S3Request, key: &Key) -> S3Result<Option<Response>> {
    let Some(lifetime) = lifetime(request) else {
        return Ok(None);
    };
    let backend = request.settings.store.storage.backend;
    let config = &request.config;
    let mode = config.delivery(backend);
    let trusted = request.settings.server.trusts(request.peer.address);
    match mode {
        DeliveryMode::Relay => return Ok(None),
        DeliveryMode::Delegate if !trusted => return Ok(None),
        // A script of a page that may read here may not read at the store.
        _ if cors::origin(Some(config), &request.head.headers).is_some() => {
            return Ok(None);
        }
        _ => {}
    }
    // The web server in front is told of the version that is there now.
    let delegated = match mode {
        DeliveryMode::Delegate => Some(request.found(key).await?),
        _ => None,
    };
    let properties = match &delegated {
        Some(entry) => entry.properties.clone(),
        None => looks(request, key).await?,
    };
    let dress = dress(request, &properties, Guarded::No);
    let grant = Grant {
        lifetime: lifetime.min(MAX_URL_LIFETIME),
        // Between three quarters of it and all, so that browsers can keep what they got for a while.
        step: (lifetime / 4).max(Duration::from_secs(1)),
        disposition: dress.disposition.clone(),
        content_type: dress.served.content_type.clone(),
        cache_control: asked_or(request, &CACHE_CONTROL, properties.cache_control.as_deref())
            .map(str::to_owned),
    };
    let Some(offer) = request.bucket.offer(key, &grant).await? else {
        return Ok(None);
    };
    match (delegated, offer) {
        (None, Offer::SignedUrl { url, .. }) => {
            let mut headers = HeaderMap::new();
            headers.insert(LOCATION, value(url.expose()));
            headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
            headers.insert(REFERRER_POLICY, HeaderValue::from_static("no-referrer"));
            Ok(Some((StatusCode::FOUND, headers).into_response()))
        }
        (Some(entry), offer) => {
            let dress = self::dress(request, &entry.properties, Guarded::Yes);
            let prefix = &request.settings.store.delivery.internal_prefix;
            let path = internal_path(prefix, offer)?;
            let mut headers = HeaderMap::new();
            headers.insert(http::header::ETAG, quoted(&entry.etag));
            headers.insert(
                http::header::LAST_MODIFIED,
                value(&http_date(entry.modified)),
            );
            wear(&mut headers, &dress);
            let name = HeaderName::from_static("x-accel-redirect");
            headers.insert(name, value(path.expose()));
            Ok(Some((StatusCode::OK, headers).into_response()))
        }
        (None, Offer::InternalPath(_)) => Ok(None),
    }
}

/// How long the reader may read; `None` for one who is relayed in any case.
fn lifetime(request: &S3Request) -> Option<Duration> {
    match &request.caller.proof {
        Proof::Presigned { until, .. } => {
            let left: Duration = (*until - OffsetDateTime::now_utc()).try_into().ok()?;
            (left >= MIN_LIFETIME).then_some(left)
        }
        Proof::Nothing => Some(PUBLIC_LIFETIME),
        Proof::Header { .. } | Proof::Form => None,
    }
}

/// How an object is shown.
struct Dress {
    served: Served,
    disposition: String,
}

fn dress(request: &S3Request, properties: &Properties, guarded: Guarded) -> Dress {
    let kind = asked_or(request, &CONTENT_TYPE, properties.content_type.as_deref());
    let disposition = asked_or(
        request,
        &CONTENT_DISPOSITION,
        properties.content_disposition.as_deref(),
    );
    let word = disposition.map(|text| text.split(';').next().unwrap_or_default().trim());
    let asked = match word {
        Some(word) if !word.eq_ignore_ascii_case("inline") => Disposition::Attachment,
        _ => Disposition::Inline,
    };
    let inline_types = &request.settings.store.delivery.inline_types;
    let served = serve(kind.unwrap_or(DEFAULT_TYPE), asked, inline_types, guarded);
    let word = match served.disposition {
        Disposition::Inline => "inline",
        Disposition::Attachment => "attachment",
    };
    // The name stays, whatever becomes of the word.
    let rest = disposition.and_then(|text| text.split_once(';'));
    let disposition = match rest {
        Some((_, rest)) => format!("{word};{rest}"),
        None => word.to_owned(),
    };
    Dress {
        served,
        disposition,
    }
}

fn asked_or<'r>(
    request: &'r S3Request,
    name: &HeaderName,
    kept: Option<&'r str>,
) -> Option<&'r str> {
    request.override_of(name).or(kept)
}

/// Puts what browsers open under the policy of attachments. What was signed in a header is for a program, and stays as it was kept.
pub(super) fn guard(request: &S3Request, entry: &Entry, headers: &mut HeaderMap) {
    if matches!(
        request.caller.proof,
        Proof::Presigned { .. } | Proof::Nothing
    ) {
        wear(headers, &dress(request, &entry.properties, Guarded::Yes));
    }
}

fn wear(headers: &mut HeaderMap, dress: &Dress) {
    headers.insert(CONTENT_TYPE, value(&dress.served.content_type));
    headers.insert(CONTENT_DISPOSITION, value(&dress.disposition));
    headers.insert(X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    let policy = HeaderValue::from_static(dress.served.policy);
    headers.insert(CONTENT_SECURITY_POLICY, policy);
    headers.insert(REFERRER_POLICY, HeaderValue::from_static("no-referrer"));
}

/// What is kept beside an object, as it was within the last minute: it decides how a redirect shows it, and the URL says so, whatever
/// the object has become. So most redirects need no request to the store.
async fn looks(request: &S3Request, key: &Key) -> S3Result<Properties> {
    let place = (
        request.config.place(&request.name).container,
        request.config.prefix.clone(),
        key.clone(),
    );
    let known = {
        let looks = LOOKS.lock().unwrap_or_else(PoisonError::into_inner);
        looks
            .get(&place)
            .filter(|(at, _)| at.elapsed() < REMEMBERED)
            .map(|(_, properties)| properties.clone())
    };
    if let Some(known) = known {
        return Ok(known);
    }
    let entry = request.found(key).await?;
    let mut looks = LOOKS.lock().unwrap_or_else(PoisonError::into_inner);
    if looks.len() >= MOST {
        looks.clear();
    }
    // Metadata and tags show nothing, and may be large.
    let properties = Properties {
        metadata: Default::default(),
        tags: Default::default(),
        ..entry.properties
    };
    looks.insert(place, (Instant::now(), properties.clone()));
    Ok(properties)
}

type Looks = HashMap<(String, String, Key), (Instant, Properties)>;

static LOOKS: LazyLock<Mutex<Looks>> = LazyLock::new(Mutex::default);

const REMEMBERED: Duration = Duration::from_secs(60);

/// Objects whose looks are remembered, of about 300 bytes each.
const MOST: usize = 4096;
