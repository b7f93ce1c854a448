//! What is tried again, and when: growing waits with jitter, as long as somebody still waits for the outcome.

use std::time::{Duration, SystemTime};

/// How often something is tried again, and how long.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Backoff {
    /// Tries after the first.
    pub retries: u32,
    /// No try begins later than this after the first.
    pub within: Duration,
    /// The wait before the first retry, doubled for each further one.
    pub first: Duration,
    /// The longest wait.
    pub longest: Duration,
}

impl Backoff {
    /// How long to wait after `retries` retries and `elapsed`, where the service has `asked` to be left alone for a while.
    /// `None` if there were enough, or it asks for more patience than a caller has.
    pub fn wait(&self, retries: u32, elapsed: Duration, asked: Duration) -> Option<Duration> {
        if retries >= self.retries || elapsed >= self.within {
            return None;
        }
        let jitter = Duration::from_millis(rand::random::<u8>().into());
        let wait = (self.first * 2_u32.saturating_pow(retries) + jitter).min(self.longest);
        (asked <= self.longest).then_some(wait.max(asked))
    }
}

/// What `Retry-After` asks for: seconds, or a date (RFC 9110 section 10.2.3).
pub fn retry_after(text: &str) -> Option<Duration> {
    if let Ok(seconds) = text.parse() {
        return Some(Duration::from_secs(seconds));
    }
    let date = httpdate::parse_http_date(text).ok()?;
    date.duration_since(SystemTime::now()).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    const BACKOFF: Backoff = Backoff {
        retries: 5,
        within: Duration::from_secs(60),
        first: Duration::from_millis(400),
        longest: Duration::from_secs(10),
    };

    #[test]
    fn waits_grow_and_end() {
        let ms = Duration::from_millis;
        for (retries, least) in [(0, 400), (1, 800), (2, 1600), (3, 3200), (4, 6400)] {
            let wait = BACKOFF.wait(retries, ms(0), ms(0)).expect("another try");
            assert!((ms(least)..ms(least + 256)).contains(&wait), "{wait:?}");
        }
        assert_eq!(BACKOFF.wait(5, ms(0), ms(0)), None);
        assert_eq!(BACKOFF.wait(0, BACKOFF.within, ms(0)), None);
    }

    #[test]
    fn who_asks_for_patience_gets_it_up_to_the_longest_wait() {
        let wait = |asked| BACKOFF.wait(0, Duration::ZERO, Duration::from_secs(asked));
        assert_eq!(wait(7), Some(Duration::from_secs(7)));
        assert_eq!(wait(11), None);
        assert_eq!(retry_after("7"), Some(Duration::from_secs(7)));
        assert_eq!(retry_after("soon"), None);
        let past = "Sun, 06 Nov 1994 08:49:37 GMT";
        assert_eq!(retry_after(past), None, "what is over is no wait");
    }
}
