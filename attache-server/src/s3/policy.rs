//! What a policy allows a form to hold
//! (<https://docs.aws.amazon.com/AmazonS3/latest/API/sigv4-HTTPPOSTConstructPolicy.html>). Pure: the time is an argument.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use http::StatusCode;
use serde_json::Value;
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

use super::error::{S3Error, S3Result};

/// The fields of a form, in the order in which they came; their names in lower case.
#[derive(Debug, Default)]
pub(super) struct Fields(pub(super) Vec<(String, String)>);

impl Fields {
    pub(super) fn get(&self, name: &str) -> Option<&str> {
        let mut fields = self.0.iter();
        fields
            .find(|(known, _)| known == name)
            .map(|(_, value)| value.as_str())
    }
}

/// Whether a form is one that its policy allows; how many bytes the file may have, at least and at most.
///
/// # Errors
///
/// `InvalidPolicyDocument`, `AccessDenied`.
pub(super) fn check(
    policy: &str,
    fields: &Fields,
    bucket: &str,
    now: OffsetDateTime,
) -> S3Result<(u64, u64)> {
    let wrong = |what: &str| {
        S3Error::new(
            StatusCode::BAD_REQUEST,
            "InvalidPolicyDocument",
            format!("Invalid Policy: {what}"),
        )
    };
    let failed = |what: &str| {
        S3Error::denied(format!(
            "Invalid according to Policy: Policy Condition failed: {what}"
        ))
    };
    let text = STANDARD
        .decode(policy.trim())
        .map_err(|_| wrong("it is not base64"))?;
    let policy: Value = serde_json::from_slice(&text).map_err(|_| wrong("it is not JSON"))?;
    let expiration = policy["expiration"]
        .as_str()
        .ok_or_else(|| wrong("it has no expiration"))?;
    let expiration = OffsetDateTime::parse(expiration, &Rfc3339)
        .map_err(|_| wrong("its expiration is not a time"))?;
    if now >= expiration {
        return Err(S3Error::denied(
            "Invalid according to Policy: Policy expired.",
        ));
    }
    let conditions = policy["conditions"]
        .as_array()
        .ok_or_else(|| wrong("it has no conditions"))?;
    let mut range = (0, u64::MAX);
    let mut covered = Vec::new();
    for condition in conditions {
        let one: (String, String, bool) = match condition {
            Value::Object(pairs) if pairs.len() == 1 => {
                let pair = pairs.iter().next();
                let pair = pair
                    .and_then(|(name, value)| Some((name.to_ascii_lowercase(), text_of(value)?)));
                let (name, value) = pair.ok_or_else(|| wrong("a condition has no text"))?;
                (name, value, false)
            }
            Value::Array(parts) => match parts.as_slice() {
                [Value::String(word), min, max]
                    if word.eq_ignore_ascii_case("content-length-range") =>
                {
                    let (min, max) = (number_of(min), number_of(max));
                    let (least, most) = min
                        .zip(max)
                        .ok_or_else(|| wrong("content-length-range has no numbers"))?;
                    // Of several all hold.
                    range = (range.0.max(least), range.1.min(most));
                    continue;
                }
                [
                    Value::String(word),
                    Value::String(name),
                    Value::String(value),
                ] => {
                    let starts = match word.to_ascii_lowercase().as_str() {
                        "eq" => false,
                        "starts-with" => true,
                        _ => return Err(wrong("a condition is none that is known")),
                    };
                    let name = name
                        .strip_prefix('$')
                        .ok_or_else(|| wrong("a condition names no field"))?;
                    (name.to_ascii_lowercase(), value.clone(), starts)
                }
                _ => return Err(wrong("a condition is none that is known")),
            },
            _ => return Err(wrong("a condition is none that is known")),
        };
        let (name, want, starts) = one;
        let got = match name.as_str() {
            "bucket" => Some(bucket),
            name => fields.get(name),
        };
        let holds = match (got, starts) {
            // A prefix of nothing allows a field that is not there.
            (None, true) => want.is_empty(),
            (None, false) => false,
            (Some(got), true) => got.starts_with(&want),
            (Some(got), false) => got == want,
        };
        if !holds {
            return Err(failed(&condition.to_string()));
        }
        covered.push(name);
    }
    let free = [
        "policy",
        "x-amz-signature",
        "signature",
        "awsaccesskeyid",
        "file",
        "submit",
    ];
    let extra = fields.0.iter().find(|(name, _)| {
        !free.contains(&name.as_str()) && !name.starts_with("x-ignore-") && !covered.contains(name)
    });
    match extra {
        Some((name, _)) => Err(S3Error::denied(format!(
            "Invalid according to Policy: Extra input fields: {name}"
        ))),
        None => Ok(range),
    }
}

fn text_of(value: &Value) -> Option<String> {
    match value {
        Value::String(text) => Some(text.clone()),
        Value::Number(number) => Some(number.to_string()),
        _ => None,
    }
}

fn number_of(value: &Value) -> Option<u64> {
    match value {
        Value::String(text) => text.parse().ok(),
        value => value.as_u64(),
    }
}

#[cfg(test)]
mod tests {
    use time::macros::datetime;

    use super::*;

    const NOW: OffsetDateTime = datetime!(2026-11-27 12:00 UTC);

    fn policy(conditions: &str) -> String {
        STANDARD.encode(format!(
            "{{\"expiration\":\"2026-11-27T12:00:01Z\",\"conditions\":[{conditions}]}}"
        ))
    }

    fn fields(pairs: &[(&str, &str)]) -> Fields {
        Fields(
            pairs
                .iter()
                .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()))
                .collect(),
        )
    }

    const GOOD: &str = r#"{"bucket":"files"},["starts-with","$key","up/"],{"acl":"private"},["eq","$Content-Type","image/png"],
        ["content-length-range",1,"1000"],["starts-with","$Cache-Control",""],{"x-amz-date":"20261127T120000Z"}"#;

    fn form() -> Vec<(&'static str, &'static str)> {
        vec![
            ("key", "up/${filename}"),
            ("acl", "private"),
            ("content-type", "image/png"),
            ("x-amz-date", "20261127T120000Z"),
            ("policy", "…"),
            ("x-amz-signature", "…"),
            ("x-ignore-me", "1"),
        ]
    }

    #[test]
    fn a_form_that_its_policy_allows_is_good() {
        let range = check(&policy(GOOD), &fields(&form()), "files", NOW);
        assert_eq!(range.expect("allowed"), (1, 1000));
    }

    #[test]
    fn of_several_ranges_of_length_all_hold() {
        let range = |ranges: &str| check(&policy(ranges), &fields(&[]), "files", NOW);
        let (small, large) = (
            r#"["content-length-range",1,10]"#,
            r#"["content-length-range",5,1000]"#,
        );
        for both in [format!("{small},{large}"), format!("{large},{small}")] {
            assert_eq!(range(&both).expect("allowed"), (5, 10), "{both}");
        }
    }

    #[test]
    fn each_condition_that_does_not_hold_is_enough() {
        let deny = |policy: &str, pairs: &[(&str, &str)], bucket: &str, now| {
            let error = check(policy, &fields(pairs), bucket, now).expect_err("denied");
            error.code()
        };
        let good = policy(GOOD);
        for (name, other) in [
            ("key", "down/x"),
            ("acl", "public-read"),
            ("content-type", "text/html"),
            ("x-amz-date", "20261127T120001Z"),
        ] {
            let mut pairs = form();
            for pair in &mut pairs {
                if pair.0 == name {
                    pair.1 = other;
                }
            }
            assert_eq!(deny(&good, &pairs, "files", NOW), "AccessDenied", "{name}");
            pairs.retain(|pair| pair.0 != name);
            assert_eq!(
                deny(&good, &pairs, "files", NOW),
                "AccessDenied",
                "no {name}"
            );
        }
        assert_eq!(deny(&good, &form(), "other", NOW), "AccessDenied");
        let late = NOW + time::Duration::seconds(1);
        assert_eq!(deny(&good, &form(), "files", late), "AccessDenied");
        let mut more = form();
        more.push(("x-amz-meta-a", "b"));
        assert_eq!(deny(&good, &more, "files", NOW), "AccessDenied");
    }

    #[test]
    fn a_policy_that_is_none_is_refused() {
        let json = |text: &str| STANDARD.encode(text);
        for bad in [
            "%".to_owned(),
            json("{"),
            json("{}"),
            json("{\"expiration\":\"soon\",\"conditions\":[]}"),
            json("{\"expiration\":\"2027-01-01T00:00:00Z\"}"),
            policy("[\"ends-with\",\"$key\",\"x\"]"),
            policy("[\"eq\",\"key\",\"x\"]"),
            policy("[\"content-length-range\",\"a\",1]"),
            policy("{\"a\":[1]}"),
            policy("1"),
        ] {
            let error = check(&bad, &fields(&[]), "files", NOW).expect_err("no policy");
            assert_eq!(error.code(), "InvalidPolicyDocument", "{bad}");
        }
    }
}
