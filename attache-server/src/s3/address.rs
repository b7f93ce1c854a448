//! Which bucket and which object a request names, by its host or by its path; and under which names its signature may have been made.

use attache::storage::bucket::Key;
use http::StatusCode;

use super::error::{S3Error, S3Result};
use super::signature::decode;
use crate::config::s3::S3Config;

/// What a request names.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Address {
    /// `None` for the root.
    pub(crate) bucket: Option<String>,
    /// `None` for the bucket itself.
    pub(crate) key: Option<Key>,
    /// The host names the bucket, and the path the key alone.
    pub(crate) by_host: bool,
    /// Hosts under which the request may have been signed.
    pub(crate) hosts: Vec<String>,
}

impl Address {
    /// Of a request to `host` for `path`, both as they were received.
    ///
    /// # Errors
    ///
    /// A path or a key that cannot be.
    pub(crate) fn of(config: &S3Config, host: &str, path: &str) -> S3Result<Self> {
        let named = config.hosts.iter().find_map(|name| {
            let front = host.len().checked_sub(name.len() + 1)?;
            let (bucket, rest) = (host.get(..front)?, host.get(front + 1..)?);
            let dot = host.as_bytes().get(front) == Some(&b'.');
            let known = dot && rest.eq_ignore_ascii_case(name);
            (known && !bucket.is_empty()).then(|| bucket.to_ascii_lowercase())
        });
        let is_ours = |host: &str| {
            config
                .hosts
                .iter()
                .any(|name| name.eq_ignore_ascii_case(host))
        };
        let mut hosts = vec![host.to_owned()];
        match &named {
            Some(bucket) => {
                hosts.extend(config.hosts.iter().map(|name| format!("{bucket}.{name}")))
            }
            None if is_ours(host) => hosts.extend(config.hosts.iter().cloned()),
            None => {}
        }
        // A name that is one of ours is not a bucket of another one of ours.
        let named = named.filter(|_| !is_ours(host));
        let path = path.strip_prefix('/').unwrap_or(path);
        let by_host = named.is_some();
        let (bucket, key) = match named {
            Some(bucket) => (Some(bucket), path),
            None => {
                let (bucket, key) = path.split_once('/').unwrap_or((path, ""));
                let bucket = decode(bucket, false).ok_or_else(bad_path)?;
                (Some(bucket).filter(|bucket| !bucket.is_empty()), key)
            }
        };
        if bucket.is_none() && !key.is_empty() {
            return Err(S3Error::new(
                StatusCode::BAD_REQUEST,
                "InvalidBucketName",
                "the path names no bucket before the key",
            ));
        }
        Ok(Self {
            bucket,
            key: match key.is_empty() {
                true => None,
                false => Some(parse_key(decode(key, false).ok_or_else(bad_path)?)?),
            },
            by_host,
            hosts,
        })
    }
}

/// A key that a client wrote.
///
/// # Errors
///
/// The code that S3 has for what is wrong with it.
pub(crate) fn parse_key(text: String) -> S3Result<Key> {
    let too_long = text.len() > attache::storage::bucket::MAX_KEY_BYTES;
    Key::try_from(text).map_err(|error| match too_long {
        true => S3Error::new(
            StatusCode::BAD_REQUEST,
            "KeyTooLongError",
            "the key is longer than 1024 bytes",
        ),
        false => S3Error::invalid(error.detail().to_owned()),
    })
}

fn bad_path() -> S3Error {
    S3Error::new(
        StatusCode::BAD_REQUEST,
        "InvalidURI",
        "the path is not UTF-8",
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    fn config(hosts: &[&str]) -> S3Config {
        S3Config {
            hosts: hosts.iter().map(|host| (*host).to_owned()).collect(),
            ..S3Config::default()
        }
    }

    fn of(hosts: &[&str], host: &str, path: &str) -> (Option<String>, Option<String>, Vec<String>) {
        let address = Address::of(&config(hosts), host, path).expect("an address");
        (address.bucket, address.key.map(String::from), address.hosts)
    }

    fn some(text: &str) -> Option<String> {
        Some(text.to_owned())
    }

    #[test]
    fn a_path_names_bucket_and_key_as_they_were_written() {
        for (path, bucket, key) in [
            ("/", None, None),
            ("/files", some("files"), None),
            ("/files/", some("files"), None),
            ("/files/a/b.png", some("files"), some("a/b.png")),
            ("/files//a", some("files"), some("/a")),
            ("/files/a+b%20c%2Fd%252F", some("files"), some("a+b c/d%2F")),
            ("/files/../x", some("files"), some("../x")),
            ("/files/%C3%BC/", some("files"), some("ü/")),
        ] {
            let (found, object, hosts) = of(&[], "127.0.0.1:9000", path);
            assert_eq!((found, object), (bucket, key), "{path}");
            assert_eq!(hosts, ["127.0.0.1:9000"]);
        }
        for (path, code) in [
            ("/files/%ff", "InvalidURI"),
            ("/files/%00", "InvalidArgument"),
            ("//a", "InvalidBucketName"),
            (&format!("/files/{}", "a".repeat(1025)), "KeyTooLongError"),
        ] {
            let error = Address::of(&config(&[]), "h", path).expect_err("no address");
            assert_eq!(error.code(), code, "{path}");
        }
    }

    #[test]
    fn a_host_may_name_the_bucket_below_a_name_of_ours() {
        let hosts = ["files.example.org", "attache:9000"];
        let (bucket, key, signed) = of(&hosts, "Wiki.Files.example.org", "/a/b");
        assert_eq!((bucket, key), (some("wiki"), some("a/b")));
        assert_eq!(
            signed,
            [
                "Wiki.Files.example.org",
                "wiki.files.example.org",
                "wiki.attache:9000"
            ]
        );
        let (bucket, _, signed) = of(&hosts, "attache:9000", "/wiki/a");
        assert_eq!(bucket, some("wiki"));
        assert_eq!(
            signed,
            ["attache:9000", "files.example.org", "attache:9000"]
        );
        // A name that is not listed is good for itself alone.
        let (bucket, _, signed) = of(&hosts, "wiki.example.org", "/wiki/a");
        assert_eq!(
            (bucket, signed),
            (some("wiki"), vec!["wiki.example.org".to_owned()])
        );
    }
}
