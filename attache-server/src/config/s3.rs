//! `[s3]`: the endpoint for S3 clients, and its buckets.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::Arc;

use attache::config::load::Faults;
use attache::config::value::{Format, List, Optional, Own, Plain, Quoted, Raw, Text};
use attache::delivery::config::{DeliveryMode, MODES};
use attache::section;
use attache::storage::bucket::BucketPlace;
use attache::storage::config::Backend;

use super::origin::Origin;
use super::server::Host;

section! {
    /// `[s3]`
    #[derive(Clone, Debug, PartialEq, Eq)]
    pub struct S3Config in "s3" {
        /// Where S3 clients connect to: an address of its own, because S3 has the root. Over https if server.tls is set. Read at start
        /// only.
        #[start_only = true]
        #[example = "\"127.0.0.1:9000\""]
        listen: Option<SocketAddr> = None => Optional(Quoted("an address and a port, such as \"127.0.0.1:9000\"")),
        /// Names under which S3 clients and browsers reach it, inside and outside, with a port where it is not the usual one, such as
        /// ["attache:9000", "files.example.org"]: a URL that was signed for one of them is good at all. "BUCKET.NAME" is understood.
        hosts: Vec<String> = Vec::new() => List(Host),
        /// Whether presigned URLs of signature version 2 are good. boto3 still makes them by default with an endpoint of one's own.
        sigv2: bool = false => Plain("true or false"),
        /// The buckets, a table each: [s3.buckets.NAME]. Keys of a bucket:
        ///   container       the container of the account (Azure), the bucket (S3, Google), or the folder below "buckets" beside
        ///                   storage.local.root, or a whole path (local); without it, the name of the bucket
        ///   prefix          precedes all keys in the store, and clients do not see it
        ///   delivery        how presigned reads are answered: "redirect" (where the store can sign), "relay", "delegate"
        ///   public          prefixes of keys that anybody may read, such as ["public/"]; [""] for all
        ///   cors_origins    pages of these origins may use presigned URLs by scripts
        #[table = true]
        #[example = "{ files = { container = \"files\", delivery = \"redirect\" } }"]
        buckets: BTreeMap<String, Arc<BucketConfig>> = BTreeMap::new() => Buckets,
    }
}

/// `[s3.buckets.NAME]`
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct BucketConfig {
    container: Option<String>,
    /// Precedes all keys in the store.
    pub(crate) prefix: String,
    delivery: Option<DeliveryMode>,
    /// Prefixes of keys that anybody may read.
    pub(crate) public: Vec<String>,
    /// Pages of these origins may use presigned URLs by scripts.
    pub(crate) cors_origins: Vec<Origin>,
}

impl BucketConfig {
    /// Which place of the store the bucket of this name is.
    pub(crate) fn place(&self, name: &str) -> BucketPlace {
        BucketPlace {
            container: self.container.clone().unwrap_or_else(|| name.to_owned()),
        }
    }

    /// How presigned reads are answered.
    pub(crate) fn delivery(&self, backend: Backend) -> DeliveryMode {
        let signs = backend.signs_urls();
        match self.delivery {
            Some(DeliveryMode::Redirect) | None if !signs => DeliveryMode::Relay,
            Some(mode) => mode,
            None => DeliveryMode::Redirect,
        }
    }

    fn set(&mut self, key: &str, raw: &Raw) -> Result<(), String> {
        match key {
            "container" => self.container = Optional(Text).read(raw)?,
            // Not trimmed: it is the beginning of a key.
            "prefix" => self.prefix = raw.text()?.to_owned(),
            "delivery" => self.delivery = Optional(MODES).read(raw)?,
            "public" => self.public = raw.list(),
            "cors_origins" => self.cors_origins = List(Own).read(raw)?,
            _ => {
                return Err(format!(
                    "is an unknown key; a bucket has {}",
                    KEYS.join(", ")
                ));
            }
        }
        Ok(())
    }

    fn show(&self) -> toml::Table {
        let list =
            |values: &[String]| (!values.is_empty()).then(|| toml::Value::from(values.to_vec()));
        let origins: Vec<String> = self.cors_origins.iter().map(ToString::to_string).collect();
        let prefix = Some(&self.prefix).filter(|prefix| !prefix.is_empty());
        let values = [
            self.container.clone().map(toml::Value::from),
            prefix.cloned().map(toml::Value::from),
            self.delivery.map(|mode| toml::Value::from(mode.as_str())),
            list(&self.public),
            list(&origins),
        ];
        KEYS.iter()
            .zip(values)
            .filter_map(|(key, value)| Some(((*key).to_owned(), value?)))
            .collect()
    }
}

const KEYS: [&str; 5] = ["container", "prefix", "delivery", "public", "cors_origins"];

/// `s3.buckets`
struct Buckets;

impl Format<BTreeMap<String, Arc<BucketConfig>>> for Buckets {
    fn read(&self, raw: &Raw) -> Result<BTreeMap<String, Arc<BucketConfig>>, String> {
        let Raw::Table(table) = raw else {
            return Err("must be tables: [s3.buckets.NAME]".to_owned());
        };
        let (mut buckets, mut faults) = (BTreeMap::new(), Vec::new());
        for (name, value) in table {
            let mut bucket = BucketConfig::default();
            if let Err(what) = check_name(name) {
                faults.push(format!("has \"{name}\", {what}"));
            }
            match value {
                toml::Value::Table(keys) => {
                    for (key, value) in keys {
                        if let Err(what) = bucket.set(key, &Raw::of(value)) {
                            faults.push(format!("has {name}.{key}, which {what}"));
                        }
                    }
                }
                _ => faults.push(format!(
                    "has {name}, which must be a table: [s3.buckets.{name}]"
                )),
            }
            buckets.insert(name.clone(), Arc::new(bucket));
        }
        match faults.is_empty() {
            true => Ok(buckets),
            false => Err(faults.join("; ")),
        }
    }

    fn show(&self, buckets: &BTreeMap<String, Arc<BucketConfig>>) -> Option<String> {
        if buckets.is_empty() {
            return None;
        }
        let shown = buckets
            .iter()
            .map(|(name, bucket)| (name.clone(), toml::Value::Table(bucket.show())));
        Some(toml::Value::Table(shown.collect()).to_string())
    }
}

/// What every client takes for the name of a bucket
/// (<https://docs.aws.amazon.com/AmazonS3/latest/userguide/bucketnamingrules.html>).
fn check_name(name: &str) -> Result<(), &'static str> {
    let fits = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit();
    let good = (3..=63).contains(&name.len())
        && name
            .bytes()
            .all(|byte| fits(byte) || byte == b'-' || byte == b'.')
        && name.bytes().next().is_some_and(fits)
        && name.bytes().last().is_some_and(fits)
        && !name.contains("..")
        && name.parse::<std::net::Ipv4Addr>().is_err();
    match good {
        true => Ok(()),
        false => Err(
            "which is not a valid bucket name: 3 to 63 of a-z, 0-9, \"-\" and \".\", with a letter or digit at both ends",
        ),
    }
}

impl S3Config {
    pub(super) fn check(&self, store: &attache::Config, faults: &mut Faults) {
        let backend = store.storage.backend;
        if self.listen.is_some() && backend == Backend::Memory {
            faults.add(format!(
                "s3.listen needs storage.backend \"local\", \"azure\", \"s3\" or \"gcs\": \"{backend}\" has no buckets for it"
            ));
        }
        if self.listen.is_some() && !self.buckets.is_empty() && store.storage.moving_from.is_some()
        {
            faults.add(
                "storage.moving_from moves attachments, and not the objects of s3.buckets, which would not be found; move those by a tool \
                 of S3 (rclone sync), and take s3.buckets out until storage.moving_from is out",
            );
        }
        for (name, bucket) in &self.buckets {
            // What a key of one byte leaves.
            if bucket.prefix.len() > 512 || bucket.prefix.contains('\0') {
                faults.add(format!(
                    "s3.buckets.{name}.prefix must have at most 512 bytes"
                ));
            }
        }
    }

    pub(super) fn remarks(&self, store: &attache::Config) -> Vec<String> {
        let mut remarks = Vec::new();
        if self.listen.is_some() && self.buckets.is_empty() {
            remarks.push("s3.listen is set, but there is no [s3.buckets.NAME], so that S3 clients find nothing".to_owned());
        }
        if self.listen.is_none() && !self.buckets.is_empty() {
            remarks.push(
                "s3.buckets is set, but s3.listen is not, so that nobody reaches them".to_owned(),
            );
        }
        for (name, bucket) in &self.buckets {
            if bucket.delivery == Some(DeliveryMode::Redirect)
                && !store.storage.backend.signs_urls()
            {
                remarks.push(format!(
                    "s3.buckets.{name}.delivery is \"redirect\", but this store cannot sign URLs, so that everything is relayed"
                ));
            }
            if bucket.public.iter().any(String::is_empty) {
                remarks.push(format!(
                    "s3.buckets.{name}.public has \"\", so that anybody may read the whole bucket"
                ));
            }
        }
        remarks
    }
}

#[cfg(test)]
mod tests {
    use attache::config::load;

    use super::super::Settings;
    use super::*;

    fn load(text: &str, environment: &[(&str, &str)]) -> attache::Result<Settings> {
        let environment = environment
            .iter()
            .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()));
        load::from_parts(Some(text), environment)
    }

    #[test]
    fn buckets_are_tables_and_variables_with_names_of_the_operators_own() {
        let text = "[s3]\nlisten = \"127.0.0.1:0\"\n[s3.buckets.growi]\ncontainer = \"wiki\"\npublic = [\"img/\"]\n[s3.buckets.\"a.b-c\"]\n";
        let variables = [
            ("ATTACHE_S3__BUCKETS__GROWI__DELIVERY", "relay"),
            ("ATTACHE_S3__BUCKETS__MORE__PREFIX", "x/"),
        ];
        let settings = load(text, &variables).expect("loads");
        let buckets = &settings.s3.buckets;
        assert_eq!(
            buckets.keys().collect::<Vec<_>>(),
            ["a.b-c", "growi", "more"]
        );
        let growi = &buckets["growi"];
        assert_eq!(growi.place("growi").container, "wiki");
        assert_eq!(growi.delivery, Some(DeliveryMode::Relay));
        assert_eq!(growi.public, ["img/"]);
        assert_eq!(buckets["more"].place("more").container, "more");
        assert_eq!(buckets["more"].prefix, "x/");
        // What is printed is read again.
        let again = load(&load::to_toml(&settings), &[]).expect("loads");
        assert_eq!(again, settings);
    }

    #[test]
    fn all_faults_of_buckets_are_named() {
        let text = "[s3.buckets.growi]\ncontaner = \"x\"\ndelivery = \"mail\"\n[s3.buckets.A]\n[s3]\nbucket = 1";
        let error = load(text, &[]).expect_err("faults").to_string();
        for part in [
            "growi.contaner",
            "unknown key",
            "growi.delivery",
            "mail",
            "\"A\"",
            "s3.bucket\"",
        ] {
            assert!(error.contains(part), "{part}: {error}");
        }
        let error = load("[s3]\nbuckets = 3", &[])
            .expect_err("faults")
            .to_string();
        assert!(error.contains("[s3.buckets.NAME]"), "{error}");
    }

    #[test]
    fn memory_has_no_buckets() {
        let text = "[storage]\nbackend = \"memory\"\n[s3]\nlisten = \"127.0.0.1:0\"";
        let error = load(text, &[]).expect_err("no buckets").to_string();
        assert!(error.contains("s3.listen needs storage.backend"), "{error}");
    }

    #[test]
    fn where_a_store_cannot_sign_everything_is_relayed() {
        let bucket = |delivery| BucketConfig {
            delivery,
            ..BucketConfig::default()
        };
        assert_eq!(
            bucket(None).delivery(Backend::Azure),
            DeliveryMode::Redirect
        );
        assert_eq!(bucket(None).delivery(Backend::Local), DeliveryMode::Relay);
        let redirect = bucket(Some(DeliveryMode::Redirect));
        assert_eq!(redirect.delivery(Backend::Local), DeliveryMode::Relay);
        let delegate = bucket(Some(DeliveryMode::Delegate));
        assert_eq!(delegate.delivery(Backend::Local), DeliveryMode::Delegate);
    }
}
