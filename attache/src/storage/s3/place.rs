//! Where a bucket is: the endpoint, and how URLs name the bucket in it.

use super::dialect::Dialect;
use crate::config::value::is_loopback_url;
use crate::error::{Error, ErrorKind, Result};

/// A bucket, and the way to it.
#[derive(Clone, Debug)]
pub(crate) struct Place {
    pub(crate) dialect: Dialect,
    pub(crate) bucket: String,
    /// That signatures are made for.
    pub(crate) region: String,
    pub(crate) endpoint: Endpoint,
    /// That of signed URLs.
    pub(crate) public_endpoint: Endpoint,
    /// The bucket stands in the path of URLs and not in their host.
    pub(crate) path_style: bool,
    /// How the messages name who we are.
    pub(crate) credential: &'static str,
    /// The store creates only where it is told to, and refuses to replace.
    pub(crate) conditional_writes: bool,
    /// The key of the configuration that names the bucket, if that is not `bucket` of the section.
    pub(crate) named_by: Option<&'static str>,
}

/// A service: scheme, and host with its port.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Endpoint {
    scheme: &'static str,
    authority: String,
}

/// A bucket as a URL names it.
#[derive(Clone, Debug)]
pub(super) struct Base {
    pub(super) scheme: &'static str,
    /// As it stands in `Host`, and is signed.
    pub(super) host: String,
    /// The path of the bucket, without a `/` at its end.
    pub(super) path: String,
}

impl Endpoint {
    /// Reads `https://host[:port]`.
    ///
    /// # Errors
    ///
    /// What is wrong, to be put behind the key.
    pub(crate) fn read(text: &str) -> Result<Self, String> {
        let uri: http::Uri = text
            .parse()
            .map_err(|_| "is not a URL; give it as https://host".to_owned())?;
        let Some(authority) = uri.authority().map(|authority| authority.as_str()) else {
            return Err("has no host; give it as https://host".to_owned());
        };
        if authority.contains('@') {
            return Err("must have no user name and password".to_owned());
        }
        if !matches!(uri.path(), "" | "/") || uri.query().is_some() {
            return Err(
                "must be the endpoint alone, without a path: the bucket has a key of its own"
                    .to_owned(),
            );
        }
        let (scheme, usual) = match uri.scheme_str() {
            Some("https") => ("https", ":443"),
            Some("http") if is_loopback_url(text) => ("http", ":80"),
            _ => {
                return Err(
                    "must be https, or http on this machine: what is sent there opens the whole bucket"
                        .to_owned(),
                );
            }
        };
        let authority = authority.strip_suffix(usual).unwrap_or(authority);
        Ok(Self {
            scheme,
            authority: authority.to_ascii_lowercase(),
        })
    }

    /// The name or address of it.
    pub(crate) fn host(&self) -> &str {
        &self.authority
    }

    /// `https`, or `http` on this machine.
    pub(crate) fn scheme(&self) -> &'static str {
        self.scheme
    }

    fn base(&self, bucket: &str, path_style: bool) -> Base {
        let (host, path) = match path_style {
            true => (self.authority.clone(), format!("/{bucket}")),
            false => (format!("{bucket}.{}", self.authority), String::new()),
        };
        Base {
            scheme: self.scheme,
            host,
            path,
        }
    }
}

impl Place {
    /// For requests of our own.
    pub(super) fn base(&self) -> Base {
        self.endpoint.base(&self.bucket, self.path_style)
    }

    /// For clients.
    pub(super) fn public_base(&self) -> Base {
        self.public_endpoint.base(&self.bucket, self.path_style)
    }

    /// Another bucket of the service.
    pub(super) fn beside(&self, bucket: &str) -> Result<Self> {
        if let Some(what) = bucket_fault(self.dialect, bucket) {
            return Err(Error::new(
                ErrorKind::Misconfigured,
                format!("{CONTAINER} {what}"),
            ));
        }
        Ok(Self {
            bucket: bucket.to_owned(),
            // A certificate of the service covers one label (<https://docs.aws.amazon.com/AmazonS3/latest/userguide/VirtualHosting.html>).
            path_style: self.path_style || bucket.contains('.'),
            named_by: Some(CONTAINER),
            ..self.clone()
        })
    }

    /// The key of the configuration that names the bucket.
    pub(super) fn bucket_key(&self) -> String {
        self.named_by
            .map_or_else(|| self.key("bucket"), str::to_owned)
    }

    /// A key of the section in the configuration.
    pub(super) fn key(&self, key: &str) -> String {
        format!("{}.{key}", self.dialect.section())
    }
}

/// What names the buckets of S3 clients.
const CONTAINER: &str = "s3.buckets.NAME.container";

/// One error of all faults of a section.
pub(crate) fn misconfigured(dialect: Dialect, faults: Vec<(&'static str, String)>) -> Error {
    let section = dialect.section();
    let text: Vec<String> = faults
        .into_iter()
        .map(|(key, what)| format!("{section}.{key} {what}"))
        .collect();
    Error::new(ErrorKind::Misconfigured, text.join("; "))
}

/// What is wrong with the name of a bucket, if anything is
/// (<https://docs.aws.amazon.com/AmazonS3/latest/userguide/bucketnamingrules.html>,
/// <https://cloud.google.com/storage/docs/buckets#naming>: that of a domain may be longer, and have `_`).
pub(crate) fn bucket_fault(dialect: Dialect, name: &str) -> Option<String> {
    let (longest, also, rule) = match dialect {
        Dialect::S3 => (63, '.', "3 to 63 of a-z, 0-9, \"-\" and \".\""),
        Dialect::Gcs => (222, '_', "3 to 63 of a-z, 0-9, \"-\", \"_\" and \".\""),
    };
    let plain = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit();
    let part_fits = |part: &str| (1..=63).contains(&part.len());
    let fits = (3..=longest).contains(&name.len())
        && name
            .chars()
            .all(|c| plain(c) || matches!(c, '-' | '.') || c == also)
        && name.starts_with(plain)
        && name.ends_with(plain)
        && name.split('.').all(part_fits)
        && name.parse::<std::net::Ipv4Addr>().is_err();
    (!fits).then(|| {
        format!("is \"{name}\", but a bucket name is {rule}, with a letter or a digit at both ends")
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_endpoint_without_tls_is_refused_except_on_this_machine() {
        for good in [
            "https://s3.example.org",
            "https://s3.example.org:9000/",
            "http://127.0.0.1:9000",
            "http://localhost:9000",
            "http://[::1]:9000",
        ] {
            Endpoint::read(good).expect(good);
        }
        for (bad, why) in [
            ("http://s3.example.org", "https"),
            ("ftp://127.0.0.1", "https"),
            ("https://u:p@s3.example.org", "password"),
            ("https://s3.example.org/files", "bucket"),
            ("https://s3.example.org/?x", "path"),
            ("s3", "must be https"),
            ("https://a b", "not a URL"),
        ] {
            let what = Endpoint::read(bad).expect_err(bad);
            assert!(what.contains(why), "{bad}: {what}");
        }
    }

    #[test]
    fn a_bucket_stands_in_the_host_or_in_the_path_and_usual_ports_in_neither() {
        let endpoint = Endpoint::read("https://S3.example.org:443").expect("an endpoint");
        let virtual_host = endpoint.base("files", false);
        assert_eq!(virtual_host.host, "files.s3.example.org");
        assert_eq!(virtual_host.path, "");
        let path = endpoint.base("files", true);
        assert_eq!(
            (path.host.as_str(), path.path.as_str()),
            ("s3.example.org", "/files")
        );
    }

    #[test]
    fn names_that_no_bucket_can_have_are_refused() {
        for good in ["abc", "a-b.c1", "files"] {
            assert_eq!(bucket_fault(Dialect::S3, good), None);
            assert_eq!(bucket_fault(Dialect::Gcs, good), None);
        }
        let long = "a".repeat(64);
        for bad in [
            "ab", "Abc", "-abc", "abc.", "a..b", "10.0.0.1", &long, "a b",
        ] {
            assert!(bucket_fault(Dialect::S3, bad).is_some(), "{bad}");
        }
        assert!(bucket_fault(Dialect::S3, "a_b").is_some());
        assert_eq!(bucket_fault(Dialect::Gcs, "a_b"), None);
    }
}
