//! How an attachment reaches a client: what a request asks for, and what the store offers, decide between
//! relay, redirect, delegate and "you have it already".

pub mod config;
pub mod embedding;
pub mod lifetime;

use std::time::{Duration, SystemTime};

use time::OffsetDateTime;

use crate::attachment::Attachment;
use crate::attachment::filename::Disposition;
use crate::attachment::media::{self, Guarded};
use crate::config::Config;
use crate::delivery::config::DeliveryMode;
use crate::delivery::lifetime::Lifetime;
use crate::error::{Error, ErrorKind, Result};
use crate::secret::SignedUrl;
use crate::storage::{Grant, Offer};
use crate::transfer::body::Body;
use crate::transfer::ranges::{self, Part};

/// What a request asks for. The values of headers as they came.
#[derive(Clone, Debug, Default)]
pub struct Ask {
    /// Shown or saved.
    pub disposition: Disposition,
    /// Only the head is wanted.
    pub head: bool,
    /// `Range`
    pub range: Option<String>,
    /// `If-Match`
    pub if_match: Option<String>,
    /// `If-None-Match`
    pub if_none_match: Option<String>,
    /// `If-Modified-Since`
    pub if_modified_since: Option<String>,
    /// `If-Unmodified-Since`
    pub if_unmodified_since: Option<String>,
    /// `If-Range`
    pub if_range: Option<String>,
    /// Another way than the configured one: `relay` is for everybody, `redirect` only where that is the configured way.
    pub via: Option<DeliveryMode>,
    /// It came with an `Authorization` header. Many clients (wget, Java, Python's urllib) send that header on to where they
    /// are redirected, and Azure refuses it beside a signature; so such a request is relayed, unless `via` says otherwise.
    pub authorization: bool,
    /// It came through a web server that is known to be in front: one that understands `X-Accel-Redirect` and shows it to
    /// nobody. Without this nothing is delegated.
    pub through_proxy: bool,
}

/// How a client gets an attachment.
#[derive(Debug)]
pub enum Delivery {
    /// The client has it already: 304.
    NotModified(Representation),
    /// The bytes, or for a request of the head alone none.
    Relay {
        /// What they are.
        representation: Representation,
        /// How much of it.
        part: Part,
        /// The bytes, in the framing of `part`.
        body: Option<Box<Body>>,
    },
    /// Go there: 302.
    Redirect {
        /// A temporary URL of the store.
        url: SignedUrl,
        /// How long the redirect itself may be kept.
        max_age: Duration,
    },
    /// The web server in front has it.
    Delegate {
        /// What it is.
        representation: Representation,
        /// How much of it: all, or one range.
        part: Part,
        /// A path within the internal location, with the query of a signed URL where the store has such.
        internal: SignedUrl,
    },
}

/// What is sent of an attachment besides its bytes; the same in all ways of delivery.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Representation {
    /// Length of the whole.
    pub size: u64,
    /// `Content-Type`
    pub content_type: String,
    /// `Content-Disposition`
    pub disposition: String,
    /// `ETag`
    pub entity_tag: String,
    /// `Last-Modified`
    pub last_modified: OffsetDateTime,
    /// `Content-Security-Policy`
    pub policy: &'static str,
}

/// What remains to do once the request is understood.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Plan {
    NotModified,
    Send(Part),
}

impl Representation {
    /// How `attachment` is presented to somebody who asks for `asked`.
    pub fn new(
        attachment: &Attachment,
        asked: Disposition,
        inline_types: &[String],
        guarded: Guarded,
    ) -> Self {
        let served = media::serve(&attachment.content_type, asked, inline_types, guarded);
        Self {
            size: attachment.size,
            content_type: served.content_type,
            disposition: served.disposition.header(&attachment.filename),
            entity_tag: attachment.entity_tag(),
            last_modified: attachment.created_at,
            policy: served.policy,
        }
    }

    /// A grant for reading it elsewhere.
    pub(crate) fn grant(&self, lifetime: Lifetime) -> Grant {
        let Lifetime { longest, step, .. } = lifetime;
        Grant {
            lifetime: longest,
            step,
            disposition: self.disposition.clone(),
            content_type: self.content_type.clone(),
            // The whole lifetime and not what is left of it, so that the URL stays the same for whoever asks again.
            cache_control: Some(cache_control(Some(longest))),
        }
    }

    /// Evaluates the conditions of a request, in the order of RFC 9110 section 13.2.2, and its range.
    ///
    /// The same for all ways of delivery: whoever holds our entity tag has the bytes, and a redirect would only make them
    /// fetch the bytes again. (Section 13.2.1 lets a redirect go before conditions, for servers that know nothing of what
    /// lies behind it. We do.)
    ///
    /// # Errors
    ///
    /// [`ErrorKind::PreconditionFailed`]; [`ErrorKind::BadRange`].
    pub(crate) fn plan(&self, ask: &Ask) -> Result<Plan> {
        let failed = |what: &str| Err(Error::new(ErrorKind::PreconditionFailed, what));
        match (&ask.if_match, &ask.if_unmodified_since) {
            // Strong comparison: a weak tag never matches (section 13.1.1).
            (Some(tags), _) if !self.is_listed(tags, false) => {
                return failed("If-Match does not hold: the attachment has another entity tag");
            }
            (None, Some(date)) if parse_date(date).is_some_and(|date| self.modified() > date) => {
                return failed("If-Unmodified-Since does not hold");
            }
            _ => {}
        }
        match (&ask.if_none_match, &ask.if_modified_since) {
            (Some(tags), _) => {
                if self.is_listed(tags, true) {
                    return Ok(Plan::NotModified);
                }
            }
            (None, Some(date)) => {
                if parse_date(date).is_some_and(|date| self.modified() <= date) {
                    return Ok(Plan::NotModified);
                }
            }
            (None, None) => {}
        }
        let Some(range) = &ask.range else {
            return Ok(Plan::Send(Part::Whole));
        };
        // Range is defined for GET alone (section 14.2).
        if ask.head
            || ask
                .if_range
                .as_deref()
                .is_some_and(|value| !self.is_same(value))
        {
            return Ok(Plan::Send(Part::Whole));
        }
        let ranges = ranges::parse(range, self.size)?;
        Ok(Plan::Send(Part::of(ranges, &self.content_type, self.size)))
    }

    /// Whether `tags` (`*`, or a list of entity tags) name this one.
    fn is_listed(&self, tags: &str, weak_counts: bool) -> bool {
        tags.trim() == "*"
            || tags.split(',').any(|tag| {
                let tag = tag.trim();
                match tag.strip_prefix("W/") {
                    Some(tag) => weak_counts && tag == self.entity_tag,
                    None => tag == self.entity_tag,
                }
            })
    }

    /// `If-Range`: a strong tag, or exactly our date (section 13.1.5).
    fn is_same(&self, value: &str) -> bool {
        let value = value.trim();
        if value.starts_with('"') || value.starts_with("W/") {
            return value == self.entity_tag;
        }
        parse_date(value).is_some_and(|date| date == self.modified())
    }

    /// To the second, as in headers.
    fn modified(&self) -> i64 {
        self.last_modified.unix_timestamp()
    }
}

/// How to deliver: what the request asks for, as far as the operator lets it, or the configured way.
pub(crate) fn mode(config: &Config, ask: &Ask) -> DeliveryMode {
    let configured = config.delivery_mode();
    let wanted = match (ask.via, configured) {
        // A signed URL works without us for as long as it lives; where the operator chose that every byte passes through
        // attache, or through the web server in front, no reader can choose otherwise.
        (Some(DeliveryMode::Redirect), configured) => configured,
        (Some(via), _) => via,
        (None, DeliveryMode::Redirect) if ask.authorization => DeliveryMode::Relay,
        (None, configured) => configured,
    };
    match wanted {
        // Whoever is not the web server in front would be shown the path, and get no bytes.
        DeliveryMode::Delegate if !ask.through_proxy => DeliveryMode::Relay,
        mode => mode,
    }
}

/// How to deliver this attachment: what may be shown only under our policy does not come from the store, which sends none,
/// unless that was asked for.
pub(crate) fn mode_for(
    mode: DeliveryMode,
    ask: &Ask,
    attachment: &Attachment,
    inline_types: &[String],
) -> DeliveryMode {
    let elsewhere = mode == DeliveryMode::Redirect && ask.via.is_none();
    let shown = ask.disposition == Disposition::Inline
        && media::needs_policy(&attachment.content_type, inline_types);
    match elsewhere && shown {
        true => DeliveryMode::Relay,
        false => mode,
    }
}

/// Whether our policy comes with what is delivered in this way.
pub(crate) fn guarded(mode: DeliveryMode) -> Guarded {
    match mode {
        DeliveryMode::Redirect => Guarded::No,
        DeliveryMode::Relay | DeliveryMode::Delegate => Guarded::Yes,
    }
}

/// Whether the web server in front comes to the same answer as we did.
///
/// It reads the request once more and knows nothing of ours: nginx compares `If-Match` and `If-Unmodified-Since` with the
/// file's own tag and time, and ranges that we refuse to serve as such, or that `If-Range` switched off, it would serve.
/// Such requests are rare; we answer them ourselves.
pub(crate) fn may_delegate(ask: &Ask, part: &Part) -> bool {
    let ranges_agree = match part {
        Part::Whole => ask.range.is_none(),
        // It may be what is left of several.
        Part::One(_) => ask.range.as_ref().is_some_and(|range| !range.contains(',')),
        Part::Several(_) => false,
    };
    ranges_agree && ask.if_match.is_none() && ask.if_unmodified_since.is_none()
}

/// Where the web server in front finds what the store offers, below its internal location: the path of a file, or
/// `azure` and then path and query of a signed URL, whose host the web server knows.
pub(crate) fn internal(prefix: &str, offer: Offer) -> Result<SignedUrl> {
    Ok(SignedUrl::new(match offer {
        Offer::InternalPath(path) => format!("{prefix}{path}"),
        Offer::SignedUrl { url, .. } => {
            let uri: http::Uri = url
                .expose()
                .parse()
                .map_err(|_| Error::internal("the signed URL is not a URL"))?;
            let rest = uri.path_and_query().map_or("/", |rest| rest.as_str());
            format!("{prefix}azure{rest}")
        }
    }))
}

/// The value of `Cache-Control` of an attachment, of its 304, and of nothing else.
///
/// `right_left` is how long the right by which somebody reads lasts, if it ends by itself: a temporary link's. An
/// attachment never changes under its id, so besides that it need never be asked for again (RFC 8246).
///
/// Always `private`: what one person may read is not for the next one who comes through the same cache. That holds for
/// `auth.mode = "open"` too, which listens on loopback only: whoever comes from outside comes through a web server that
/// may have asked who is there, and what it keeps for one it would give to all.
pub fn cache_control(right_left: Option<Duration>) -> String {
    let seconds = right_left.map_or(A_YEAR, |left| left.min(A_YEAR)).as_secs();
    format!("private, max-age={seconds}, immutable")
}

/// The longest `max-age` that means anything (RFC 9111 section 1.2.2 allows more; caches do not keep it).
const A_YEAR: Duration = Duration::from_secs(365 * 24 * 60 * 60);

/// How long a redirect to a URL that expires at `expires_at` may be kept, by a client that needs the URL for `need` when it
/// follows it.
pub(crate) fn redirect_max_age(
    expires_at: OffsetDateTime,
    now: OffsetDateTime,
    need: Duration,
) -> Duration {
    let left: Duration = (expires_at - now).try_into().unwrap_or(Duration::ZERO);
    left.saturating_sub(need)
}

fn parse_date(text: &str) -> Option<i64> {
    let date = httpdate::parse_http_date(text.trim()).ok()?;
    let since = date.duration_since(SystemTime::UNIX_EPOCH).ok()?;
    i64::try_from(since.as_secs()).ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::attachment::ByteRange;
    use time::macros::datetime;

    fn representation() -> Representation {
        Representation {
            size: 100,
            content_type: "image/png".to_owned(),
            disposition: "inline".to_owned(),
            entity_tag: "\"tag\"".to_owned(),
            last_modified: datetime!(2026-11-23 20:00:00.5 UTC),
            policy: "sandbox",
        }
    }

    fn plan(change: impl FnOnce(&mut Ask)) -> std::result::Result<Plan, ErrorKind> {
        let mut ask = Ask::default();
        change(&mut ask);
        representation().plan(&ask).map_err(|error| error.kind())
    }

    const SAME: &str = "Mon, 23 Nov 2026 20:00:00 GMT";
    const EARLIER: &str = "Mon, 23 Nov 2026 19:59:59 GMT";
    const WHOLE: std::result::Result<Plan, ErrorKind> = Ok(Plan::Send(Part::Whole));

    #[test]
    fn conditions_follow_rfc_9110() {
        let some = |text: &str| Some(text.to_owned());
        assert_eq!(
            plan(|ask| ask.if_none_match = some("\"tag\"")),
            Ok(Plan::NotModified)
        );
        assert_eq!(
            plan(|ask| ask.if_none_match = some("\"x\", W/\"tag\"")),
            Ok(Plan::NotModified)
        );
        assert_eq!(
            plan(|ask| ask.if_none_match = some("*")),
            Ok(Plan::NotModified)
        );
        assert_eq!(plan(|ask| ask.if_none_match = some("\"x\"")), WHOLE);
        assert_eq!(
            plan(|ask| ask.if_modified_since = some(SAME)),
            Ok(Plan::NotModified)
        );
        assert_eq!(plan(|ask| ask.if_modified_since = some(EARLIER)), WHOLE);
        assert_eq!(plan(|ask| ask.if_modified_since = some("yesterday")), WHOLE);
        // If-None-Match outranks If-Modified-Since.
        assert_eq!(
            plan(|ask| {
                ask.if_none_match = some("\"x\"");
                ask.if_modified_since = some(SAME);
            }),
            WHOLE
        );
        assert_eq!(plan(|ask| ask.if_match = some("\"tag\"")), WHOLE);
        assert_eq!(
            plan(|ask| ask.if_match = some("W/\"tag\"")),
            Err(ErrorKind::PreconditionFailed)
        );
        assert_eq!(plan(|ask| ask.if_unmodified_since = some(SAME)), WHOLE);
        assert_eq!(
            plan(|ask| ask.if_unmodified_since = some(EARLIER)),
            Err(ErrorKind::PreconditionFailed)
        );
    }

    #[test]
    fn ranges_need_their_condition_and_a_get() {
        let some = |text: &str| Some(text.to_owned());
        let part = Ok(Plan::Send(Part::One(ByteRange { start: 0, end: 10 })));
        let ranged = |if_range: Option<&str>, head: bool| {
            plan(|ask| {
                ask.range = some("bytes=0-9");
                ask.if_range = if_range.map(str::to_owned);
                ask.head = head;
            })
        };
        assert_eq!(ranged(None, false), part);
        assert_eq!(ranged(Some("\"tag\""), false), part);
        assert_eq!(ranged(Some(SAME), false), part);
        assert_eq!(ranged(Some("W/\"tag\""), false), WHOLE);
        assert_eq!(ranged(Some("\"x\""), false), WHOLE);
        assert_eq!(ranged(Some(EARLIER), false), WHOLE);
        assert_eq!(ranged(None, true), WHOLE);
        assert_eq!(
            plan(|ask| ask.range = some("bytes=100-")),
            Err(ErrorKind::BadRange)
        );
    }

    #[test]
    fn a_redirect_is_forgotten_before_its_url_dies() {
        let now = datetime!(2026-11-23 20:00:00 UTC);
        let need = Duration::from_secs(15);
        assert_eq!(
            redirect_max_age(now + Duration::from_secs(61), now, need),
            Duration::from_secs(46)
        );
        assert_eq!(redirect_max_age(now, now, need), Duration::ZERO);
    }

    #[test]
    fn caches_of_one_person_keep_a_year_and_never_longer_than_the_right() {
        assert_eq!(cache_control(None), "private, max-age=31536000, immutable");
        let minute = Some(Duration::from_secs(60));
        assert_eq!(cache_control(minute), "private, max-age=60, immutable");
    }

    #[test]
    fn nothing_is_delegated_that_the_web_server_would_answer_otherwise() {
        let one = Part::One(ByteRange { start: 0, end: 10 });
        let some = || Some("x".to_owned());
        let plain = Ask::default();
        let ranged = Ask {
            range: some(),
            ..Ask::default()
        };
        assert!(may_delegate(&plain, &Part::Whole));
        assert!(may_delegate(&ranged, &one));
        assert!(!may_delegate(&ranged, &Part::Whole));
        let joined = Ask {
            range: Some("bytes=0-4,5-9".to_owned()),
            ..Ask::default()
        };
        assert!(!may_delegate(&joined, &one));
        let several = ranges::parse("bytes=0-1,5-6", 100).expect("satisfiable");
        assert!(!may_delegate(&ranged, &Part::of(several, "a/b", 100)));
        for change in [
            |ask: &mut Ask| ask.if_match = Some(String::new()),
            |ask: &mut Ask| ask.if_unmodified_since = Some(String::new()),
        ] {
            let mut ask = Ask::default();
            change(&mut ask);
            assert!(!may_delegate(&ask, &Part::Whole));
        }
        let mut config = Config::default();
        config.delivery.mode = Some(DeliveryMode::Delegate);
        assert_eq!(mode(&config, &plain), DeliveryMode::Relay);
        let proxied = Ask {
            through_proxy: true,
            ..Ask::default()
        };
        assert_eq!(mode(&config, &proxied), DeliveryMode::Delegate);
    }

    #[test]
    fn who_brings_its_own_authorization_is_relayed_and_nobody_redirects_against_the_operator() {
        use DeliveryMode::{Delegate, Redirect, Relay};
        let chosen = |configured, via, authorization| {
            let mut config = Config::default();
            config.delivery.mode = Some(configured);
            let ask = Ask {
                via,
                authorization,
                through_proxy: true,
                ..Ask::default()
            };
            mode(&config, &ask)
        };
        for (configured, via, authorization, expected) in [
            (Redirect, None, false, Redirect),
            (Redirect, None, true, Relay),
            (Redirect, Some(Redirect), true, Redirect),
            (Redirect, Some(Relay), false, Relay),
            (Relay, Some(Redirect), false, Relay),
            (Relay, Some(Redirect), true, Relay),
            (Delegate, Some(Redirect), false, Delegate),
            (Delegate, Some(Relay), false, Relay),
            // The web server in front asks the store with a request of its own.
            (Delegate, None, true, Delegate),
        ] {
            let outcome = chosen(configured, via, authorization);
            assert_eq!(
                outcome, expected,
                "{configured:?}, {via:?}, {authorization}"
            );
        }
    }

    #[test]
    fn a_signed_url_keeps_its_query_below_the_internal_location() {
        let offer = Offer::SignedUrl {
            url: SignedUrl::new("https://acme.example/files/attachment/a.png?sig=a%2Bb%3D"),
            expires_at: OffsetDateTime::UNIX_EPOCH,
        };
        let internal = internal("/internal/", offer).expect("a URL");
        assert_eq!(
            internal.expose(),
            "/internal/azure/files/attachment/a.png?sig=a%2Bb%3D"
        );
    }
}
