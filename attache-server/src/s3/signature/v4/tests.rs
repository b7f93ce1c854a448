//! AWS's own examples.

use http::HeaderValue;
use time::macros::datetime;

use super::*;

/// The key, the requests and the signatures of AWS's own examples
/// (<https://docs.aws.amazon.com/AmazonS3/latest/API/sig-v4-header-based-auth.html>,
/// <https://docs.aws.amazon.com/AmazonS3/latest/API/sigv4-query-string-auth.html>,
/// <https://docs.aws.amazon.com/AmazonS3/latest/API/sigv4-streaming.html>).
const SECRET: &str = "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY";
const HOST_NAME: &str = "examplebucket.s3.amazonaws.com";
const THEN: OffsetDateTime = datetime!(2013-05-24 0:00 UTC);

fn headers(pairs: &[(&'static str, &str)]) -> HeaderMap {
    let pairs = pairs.iter().map(|(name, value)| {
        let value = HeaderValue::from_str(value).expect("a value");
        (http::HeaderName::from_static(name), value)
    });
    pairs.collect()
}

fn get_object(signature: &str) -> HeaderMap {
    let authorization = format!(
        "AWS4-HMAC-SHA256 Credential=AKIAIOSFODNN7EXAMPLE/20130524/us-east-1/s3/aws4_request,SignedHeaders=host;range;\
         x-amz-content-sha256;x-amz-date,Signature={signature}"
    );
    headers(&[
        ("host", HOST_NAME),
        ("range", "bytes=0-9"),
        ("x-amz-content-sha256", EMPTY),
        ("x-amz-date", "20130524T000000Z"),
        ("authorization", &authorization),
    ])
}

const GET_OBJECT: &str = "f0e8bdb87c964420e857bd35b5d6ed310bd44f0170aba48dd91039c6036bdb41";

fn verify(headers: &HeaderMap, hosts: &[&str], now: OffsetDateTime) -> Result<(), BadSignature> {
    let claim = Claim::of_header(headers)?.expect("signed");
    assert_eq!(claim.access_key_id, "AKIAIOSFODNN7EXAMPLE");
    let hosts: Vec<String> = hosts.iter().map(|host| (*host).to_owned()).collect();
    let request = Signed {
        method: "GET",
        path: "/test.txt",
        query: &Query::default(),
        headers,
        hosts: &hosts,
    };
    claim.verify(&Secret::new(SECRET), &request, now).map(drop)
}

#[test]
fn the_signature_of_a_header_is_the_one_that_aws_documents() {
    let good = get_object(GET_OBJECT);
    assert_eq!(verify(&good, &[HOST_NAME], THEN), Ok(()));
    // Under one of several names.
    assert_eq!(verify(&good, &["127.0.0.1:9000", HOST_NAME], THEN), Ok(()));
    assert_eq!(
        verify(&good, &["127.0.0.1:9000"], THEN),
        Err(BadSignature::Differs)
    );
    let bad = get_object(&GET_OBJECT.replace('f', "e"));
    assert_eq!(verify(&bad, &[HOST_NAME], THEN), Err(BadSignature::Differs));
    let mut other = get_object(GET_OBJECT);
    other.insert("range", HeaderValue::from_static("bytes=0-10"));
    assert_eq!(
        verify(&other, &[HOST_NAME], THEN),
        Err(BadSignature::Differs)
    );
    other.remove("range");
    let missing = verify(&other, &[HOST_NAME], THEN);
    assert_eq!(missing, Err(BadSignature::NotSent("range".to_owned())));
}

#[test]
fn clocks_may_differ_by_a_quarter_of_an_hour() {
    let good = get_object(GET_OBJECT);
    for minutes in [-15, 15] {
        let now = THEN + time::Duration::minutes(minutes);
        assert_eq!(verify(&good, &[HOST_NAME], now), Ok(()));
        let beyond = THEN + time::Duration::minutes(minutes) + time::Duration::seconds(minutes);
        assert_eq!(
            verify(&good, &[HOST_NAME], beyond),
            Err(BadSignature::Skewed)
        );
    }
}

#[test]
fn the_signature_of_a_presigned_url_is_the_one_that_aws_documents() {
    let query = "X-Amz-Algorithm=AWS4-HMAC-SHA256&X-Amz-Credential=AKIAIOSFODNN7EXAMPLE%2F20130524%2Fus-east-1%2Fs3%2F\
                 aws4_request&X-Amz-Date=20130524T000000Z&X-Amz-Expires=86400&X-Amz-SignedHeaders=host&X-Amz-Signature=\
                 aeeed9bbccd4d02ee5c0109b86d86835f995330da4c265957d157751f604d404";
    let query = Query::parse(query).expect("a query");
    let headers = headers(&[("host", HOST_NAME)]);
    let claim = Claim::of_query(&query, &headers)
        .expect("well formed")
        .expect("signed");
    let hosts = [HOST_NAME.to_owned()];
    let request = Signed {
        method: "GET",
        path: "/test.txt",
        query: &query,
        headers: &headers,
        hosts: &hosts,
    };
    let verify = |now| claim.verify(&Secret::new(SECRET), &request, now).map(drop);
    let day = time::Duration::days(1);
    assert_eq!(verify(THEN + day), Ok(()));
    assert_eq!(
        verify(THEN + day + time::Duration::seconds(1)),
        Err(BadSignature::Expired)
    );
    assert_eq!(claim.good_until(), Some(THEN + day));
}

#[test]
fn the_signatures_of_chunks_are_those_that_aws_documents() {
    let authorization = "AWS4-HMAC-SHA256 Credential=AKIAIOSFODNN7EXAMPLE/20130524/us-east-1/s3/aws4_request,\
         SignedHeaders=content-encoding;content-length;host;x-amz-content-sha256;x-amz-date;x-amz-decoded-content-length;\
         x-amz-storage-class,Signature=4f232c4386841ef735655705268965c44a0e4690baa4adea153f7db9fa80a0a9";
    let headers = headers(&[
        ("host", "s3.amazonaws.com"),
        ("content-encoding", "aws-chunked"),
        ("content-length", "66824"),
        ("x-amz-content-sha256", "STREAMING-AWS4-HMAC-SHA256-PAYLOAD"),
        ("x-amz-date", "20130524T000000Z"),
        ("x-amz-decoded-content-length", "66560"),
        ("x-amz-storage-class", "REDUCED_REDUNDANCY"),
        ("authorization", authorization),
    ]);
    let claim = Claim::of_header(&headers)
        .expect("well formed")
        .expect("signed");
    let hosts = ["s3.amazonaws.com".to_owned()];
    let request = Signed {
        method: "PUT",
        path: "/examplebucket/chunkObject.txt",
        query: &Query::default(),
        headers: &headers,
        hosts: &hosts,
    };
    let mut chunks = claim
        .verify(&Secret::new(SECRET), &request, THEN)
        .expect("good");
    let digest = |bytes: &[u8]| -> [u8; 32] { Sha256::digest(bytes).into() };
    for (bytes, signature) in [
        (
            vec![b'a'; 65536],
            "ad80c730a21e5b8d04586a2213dd63b9a0e99e0e2307b0ade35a65485a288648",
        ),
        (
            vec![b'a'; 1024],
            "0055627c9e194cb4542bae2aa5492e3c1575bbb81b612b7d234b86a503ef5497",
        ),
        (
            vec![],
            "b6c6ea8a5354eaf15b3cb7646744f4275b71ea724fed81ceb9323e279d449df9",
        ),
    ] {
        assert_eq!(chunks.chunk(digest(&bytes), signature), Ok(()));
    }
    assert_eq!(
        chunks.chunk(digest(b""), GET_OBJECT),
        Err(BadSignature::Differs)
    );
}

#[test]
fn what_is_written_wrongly_is_said_to_be() {
    let claim = |authorization: &str| {
        let authorization = format!("AWS4-HMAC-SHA256 {authorization}");
        let pairs = [
            ("x-amz-date", "20130524T000000Z"),
            ("x-amz-content-sha256", UNSIGNED),
            ("authorization", authorization.as_str()),
        ];
        Claim::of_header(&headers(&pairs))
    };
    let good = "Credential=A/20130524/r/s3/aws4_request, SignedHeaders=host, Signature=0";
    assert!(claim(good).is_ok());
    for (part, bad) in [
        ("Credential=A", "Credential="),
        ("20130524", "2013"),
        ("/s3/", "/ec2/"),
        ("aws4_request", "aws4"),
        ("SignedHeaders=host", "SignedHeaders=x-amz-date"),
        ("SignedHeaders=host", "SignedHeaders=Host"),
        ("SignedHeaders=host", "SignedHeaders=host;a"),
        (", Signature=0", ""),
    ] {
        let outcome = claim(&good.replace(part, bad));
        assert!(
            matches!(outcome, Err(BadSignature::Malformed(_))),
            "{bad}: {outcome:?}"
        );
    }
    let other = headers(&[("authorization", "Bearer att_x")]);
    assert_eq!(Claim::of_header(&other), Ok(None));
}
