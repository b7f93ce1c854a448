use super::*;

fn body(chunks: &[&'static [u8]]) -> Body {
    let chunks: Vec<_> = chunks.iter().map(|c| Ok(Bytes::from_static(c))).collect();
    Body::new(futures::stream::iter(chunks))
}

async fn end(mut body: Body) -> Result<Digests> {
    while let Some(chunk) = body.next().await {
        chunk?;
    }
    Ok(body.digests().expect("a body that ended has digests"))
}

#[tokio::test]
async fn digests_are_known_at_the_end_and_do_not_depend_on_the_chunks() {
    let whole = end(body(&[b"123456789"]).hashed(true)).await.expect("ends");
    let split = end(body(&[b"1234", b"", b"56789"]).hashed(true))
        .await
        .expect("ends");
    assert_eq!(whole, split);
    assert_eq!(whole.size, 9);
    assert_eq!(whole.crc64, Some(0xAE8B_1486_0A79_9888), "the check value");
    assert_eq!(
        whole.md5.expect("asked for").to_string(),
        "25f9e794323b453885f5181f1b624d0b"
    );
}

#[tokio::test]
async fn md5_is_of_what_is_short_enough_unless_somebody_promised_it() {
    let digests = async |up_to, promised| {
        let expected = Expected {
            md5: promised,
            ..Expected::default()
        };
        let body = body(&[b"12345", b"6789"])
            .hashed(false)
            .with_md5_up_to(up_to);
        end(body.expecting(expected)).await
    };
    let md5 = digests(9, None)
        .await
        .expect("ends")
        .md5
        .expect("nine bytes");
    assert_eq!(md5.to_string(), "25f9e794323b453885f5181f1b624d0b");
    for up_to in [0, 4, 8] {
        assert_eq!(
            digests(up_to, None).await.expect("ends").md5,
            None,
            "{up_to}"
        );
        let promised = digests(up_to, Some(md5.0)).await.expect("kept");
        assert_eq!(promised.md5, Some(md5), "{up_to}");
        let broken = digests(up_to, Some([0; 16])).await.expect_err("broken");
        assert_eq!(broken.kind(), ErrorKind::DigestMismatch);
    }
}

#[tokio::test]
async fn a_broken_promise_is_an_error_in_place_of_the_end() {
    for (expected, kind) in [
        (
            Expected {
                size: Some(8),
                ..Expected::default()
            },
            ErrorKind::DigestMismatch,
        ),
        (
            Expected {
                size: Some(10),
                ..Expected::default()
            },
            ErrorKind::DigestMismatch,
        ),
        (
            Expected {
                max_size: Some(8),
                ..Expected::default()
            },
            ErrorKind::TooLarge,
        ),
        (
            Expected {
                md5: Some([0; 16]),
                ..Expected::default()
            },
            ErrorKind::DigestMismatch,
        ),
        (
            Expected {
                sha256: Some([0; 32]),
                ..Expected::default()
            },
            ErrorKind::DigestMismatch,
        ),
        (
            Expected {
                crc64: Some(0),
                ..Expected::default()
            },
            ErrorKind::DigestMismatch,
        ),
    ] {
        let mut body = body(&[b"1234", b"56789"]).expecting(expected);
        let error = loop {
            match body.next().await.expect("an error before the end") {
                Ok(_) => {}
                Err(error) => break error,
            }
        };
        assert_eq!(error.kind(), kind, "{expected:?}");
        assert!(body.next().await.is_none(), "nothing follows an error");
        assert!(body.digests().is_none());
    }
}

#[tokio::test]
async fn a_bad_digest_holds_back_the_last_chunk_where_the_length_is_known() {
    let mut body = body(&[b"1234", b"56789"]).expecting(Expected {
        size: Some(9),
        crc64: Some(0),
        ..Expected::default()
    });
    assert!(body.next().await.expect("the first chunk").is_ok());
    assert!(body.next().await.expect("the last chunk").is_err());
}

/// Yields a chunk, waits for the next for ever, and once it was suspended takes this long to open again.
struct Reopens {
    first: Option<Bytes>,
    takes: Duration,
    opening: Option<Pin<Box<tokio::time::Sleep>>>,
    suspended: bool,
}

impl Stream for Reopens {
    type Item = Result<Bytes>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Bytes>>> {
        if let Some(first) = self.first.take() {
            return Poll::Ready(Some(Ok(first)));
        }
        if !self.suspended {
            return Poll::Pending;
        }
        let takes = self.takes;
        let opening = self
            .opening
            .get_or_insert_with(|| Box::pin(tokio::time::sleep(takes)));
        std::future::Future::poll(opening.as_mut(), cx)
            .map(|()| Some(Ok(Bytes::from_static(b"rest"))))
    }
}

impl Suspend for Reopens {
    fn suspend(&mut self) -> bool {
        !std::mem::replace(&mut self.suspended, true)
    }
}

#[tokio::test(start_paused = true)]
async fn how_long_a_body_was_suspended_is_no_silence_of_its_source() {
    let idle = Duration::from_secs(60);
    let allowance = Allowance {
        base: Duration::from_secs(3600),
        rate: 1,
    };
    let source = Reopens {
        first: Some(Bytes::from_static(b"first")),
        takes: Duration::from_secs(20),
        opening: None,
        suspended: false,
    };
    let mut body = Body::suspending(source).paced(idle, allowance, None, store_late);
    body.next().await.expect("a chunk").expect("at once");
    assert!(futures::poll!(std::pin::pin!(body.next())).is_pending());
    assert!(body.suspend());
    assert!(!body.suspend(), "it is");
    tokio::time::sleep(Duration::from_secs(50)).await;
    let rest = body.next().await.expect("a chunk");
    assert_eq!(rest.expect("in time"), "rest");
}
