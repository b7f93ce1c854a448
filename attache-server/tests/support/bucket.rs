//! An S3 client that sends exactly what it is told to, signed.

use std::net::SocketAddr;
use std::path::Path;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use ring::hmac;
use sha2::{Digest as _, Sha256};

use super::{Answer, command, connect, read_answer};

/// A key, and where it is good.
#[derive(Clone, Debug)]
pub struct Client {
    pub address: SocketAddr,
    /// What it names as the host.
    pub host: String,
    pub id: String,
    pub secret: String,
}

impl Client {
    /// With a key of its own, made by `attache key create`, in the folder of a server.
    pub fn new(
        address: SocketAddr,
        folder: &Path,
        variables: &[(&str, &str)],
        arguments: &[&str],
    ) -> Self {
        let made = command(folder, variables)
            .args(["key", "create", "--name", "test", "--json"])
            .args(arguments)
            .output()
            .expect("the binary starts");
        assert!(
            made.status.success(),
            "{}",
            String::from_utf8_lossy(&made.stderr)
        );
        let key: serde_json::Value = serde_json::from_slice(&made.stdout).expect("JSON");
        let text = |name: &str| key[name].as_str().expect("text").to_owned();
        let client = Self {
            address,
            host: address.to_string(),
            id: text("access_key_id"),
            secret: text("secret_access_key"),
        };
        // A server looks every second.
        let known = || client.send("GET", "/", "", &[], b"").status == 200;
        let start = std::time::Instant::now();
        while !known() {
            assert!(start.elapsed().as_secs() < 10, "the key is not known");
        }
        client
    }

    /// Sends a request that is signed in a header.
    pub fn send(
        &self,
        method: &str,
        path: &str,
        query: &str,
        headers: &[(&str, &str)],
        body: &[u8],
    ) -> Answer {
        let request = self.signed(method, path, query, headers, body);
        let mut stream = connect(self.address);
        std::io::Write::write_all(&mut stream, &request).expect("sent");
        read_answer(&mut stream)
    }

    /// The bytes of a request that is signed in a header.
    pub fn signed(
        &self,
        method: &str,
        path: &str,
        query: &str,
        headers: &[(&str, &str)],
        body: &[u8],
    ) -> Vec<u8> {
        let payload = headers
            .iter()
            .find(|(name, _)| *name == "x-amz-content-sha256");
        let payload = payload.map_or_else(
            || hex(&Sha256::digest(body)),
            |(_, value)| (*value).to_owned(),
        );
        let date = timestamp(time::Duration::ZERO);
        let mut signed: Vec<(String, String)> = vec![
            ("host".to_owned(), self.host.clone()),
            ("x-amz-content-sha256".to_owned(), payload.clone()),
            ("x-amz-date".to_owned(), date.clone()),
        ];
        for (name, value) in headers
            .iter()
            .filter(|(name, _)| name.starts_with("x-amz-") && *name != "x-amz-content-sha256")
        {
            signed.push(((*name).to_owned(), (*value).to_owned()));
        }
        signed.sort();
        let signature = self.signature(method, path, query, &signed, &payload, &date);
        let names: Vec<&str> = signed.iter().map(|(name, _)| name.as_str()).collect();
        let authorization = format!(
            "AWS4-HMAC-SHA256 Credential={}/{}/auto/s3/aws4_request,SignedHeaders={},Signature={signature}",
            self.id,
            &date[..8],
            names.join(";")
        );
        let target = target(path, query);
        let mut all: Vec<(&str, &str)> = vec![
            ("x-amz-date", &date),
            ("x-amz-content-sha256", &payload),
            ("authorization", &authorization),
        ];
        all.extend(
            headers
                .iter()
                .filter(|(name, _)| *name != "x-amz-content-sha256"),
        );
        super::request(&self.host, method, &target, &all, body)
    }

    /// A target that anybody may ask for, signed in its query.
    pub fn presigned(&self, method: &str, path: &str, query: &str, seconds: u32) -> String {
        self.presigned_at(method, path, query, seconds, time::Duration::ZERO)
    }

    /// As [`presigned`](Self::presigned), by a clock that is `ahead`.
    pub fn presigned_at(
        &self,
        method: &str,
        path: &str,
        query: &str,
        seconds: u32,
        ahead: time::Duration,
    ) -> String {
        let date = timestamp(ahead);
        let credential = format!("{}%2F{}%2Fauto%2Fs3%2Faws4_request", self.id, &date[..8]);
        let mut pairs: Vec<String> = query
            .split('&')
            .filter(|pair| !pair.is_empty())
            .map(str::to_owned)
            .collect();
        pairs.extend([
            "X-Amz-Algorithm=AWS4-HMAC-SHA256".to_owned(),
            format!("X-Amz-Credential={credential}"),
            format!("X-Amz-Date={date}"),
            format!("X-Amz-Expires={seconds}"),
            "X-Amz-SignedHeaders=host".to_owned(),
        ]);
        pairs.sort();
        let query = pairs.join("&");
        let headers = [("host".to_owned(), self.host.clone())];
        let signature = self.signature(method, path, &query, &headers, "UNSIGNED-PAYLOAD", &date);
        format!("{path}?{query}&X-Amz-Signature={signature}")
    }

    /// The fields of a form by which whoever has them may put one object, and which is answered with 201.
    pub fn form(&self, bucket: &str, key: &str) -> Vec<(&'static str, String)> {
        let date = timestamp(time::Duration::ZERO);
        let credential = format!("{}/{}/auto/s3/aws4_request", self.id, &date[..8]);
        let mut fields = vec![
            ("key", key.to_owned()),
            ("success_action_status", "201".to_owned()),
            ("x-amz-algorithm", "AWS4-HMAC-SHA256".to_owned()),
            ("x-amz-credential", credential),
            ("x-amz-date", date.clone()),
        ];
        let equal = fields
            .iter()
            .map(|(name, value)| serde_json::json!(["eq", format!("${name}"), value]));
        let conditions = equal.chain([
            serde_json::json!({ "bucket": bucket }),
            serde_json::json!(["content-length-range", 1, 1_000_000]),
        ]);
        let policy = serde_json::json!({
            "expiration": "2100-01-01T00:00:00Z",
            "conditions": conditions.collect::<Vec<_>>(),
        });
        let policy = STANDARD.encode(policy.to_string());
        let signature = sign(&self.signing_key(&date), policy.as_bytes());
        fields.extend([("policy", policy), ("x-amz-signature", hex(&signature))]);
        fields
    }

    fn signature(
        &self,
        method: &str,
        path: &str,
        query: &str,
        headers: &[(String, String)],
        payload: &str,
        date: &str,
    ) -> String {
        let mut pairs: Vec<String> = query
            .split('&')
            .filter(|pair| !pair.is_empty())
            .map(|pair| match pair.contains('=') {
                true => pair.to_owned(),
                false => format!("{pair}="),
            })
            .collect();
        pairs.sort();
        let lines: String = headers
            .iter()
            .map(|(name, value)| format!("{name}:{value}\n"))
            .collect();
        let names: Vec<&str> = headers.iter().map(|(name, _)| name.as_str()).collect();
        let canonical = format!(
            "{method}\n{path}\n{}\n{lines}\n{}\n{payload}",
            pairs.join("&"),
            names.join(";")
        );
        let scope = format!("{}/auto/s3/aws4_request", &date[..8]);
        let text = format!(
            "AWS4-HMAC-SHA256\n{date}\n{scope}\n{}",
            hex(&Sha256::digest(canonical.as_bytes()))
        );
        hex(&sign(&self.signing_key(date), text.as_bytes()))
    }

    fn signing_key(&self, date: &str) -> Vec<u8> {
        let front = format!("AWS4{}", self.secret).into_bytes();
        let parts = [&date[..8], "auto", "s3", "aws4_request"];
        let signed = |key: Vec<u8>, part: &str| sign(&key, part.as_bytes());
        parts.into_iter().fold(front, signed)
    }
}

/// A target with its query.
pub fn target(path: &str, query: &str) -> String {
    match query.is_empty() {
        true => path.to_owned(),
        false => format!("{path}?{query}"),
    }
}

/// The text of the first element of this name.
pub fn element(xml: &str, name: &str) -> Option<String> {
    let (_, rest) = xml.split_once(&format!("<{name}>"))?;
    let (text, _) = rest.split_once(&format!("</{name}>"))?;
    Some(text.replace("&quot;", "\""))
}

fn sign(key: &[u8], text: &[u8]) -> Vec<u8> {
    let key = hmac::Key::new(hmac::HMAC_SHA256, key);
    hmac::sign(&key, text).as_ref().to_vec()
}

pub fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn timestamp(ahead: time::Duration) -> String {
    let format = time::macros::format_description!("[year][month][day]T[hour][minute][second]Z");
    let now = time::OffsetDateTime::now_utc() + ahead;
    now.format(format).expect("a time")
}
