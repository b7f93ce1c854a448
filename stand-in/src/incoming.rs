//! Bodies on their way in: read frame by frame, and spoilt on order.

use std::sync::atomic::Ordering;
use std::time::Duration;

use bytes::Bytes;
use http_body_util::BodyExt as _;
use hyper::body::Incoming;

use crate::answer::Stop;
use crate::faults::{BodyFaultKind, Service};
use crate::operation::Operation;
use crate::outgoing::time_for;
use crate::scene::{Scene, Traffic};

/// Reads what a refused client is still sending, within reason, so that it gets to read the refusal
/// instead of a broken pipe.
pub async fn swallow(mut body: Incoming) {
    let mut left = SWALLOWED_BYTES;
    let _ = tokio::time::timeout(SWALLOW_TIME, async {
        while let Some(Ok(frame)) = body.frame().await {
            left = left.saturating_sub(frame.data_ref().map_or(0, Bytes::len));
            if left == 0 {
                break;
            }
        }
    })
    .await;
}

/// Reads frame by frame, as the client sends them, at the speed and to the point that the faults allow.
///
/// # Errors
///
/// If the client leaves, or a fault ends the connection.
pub async fn frames<O: Operation, S: Service>(
    scene: &Scene<O, S>,
    op: O,
    mut body: Incoming,
    mut take: impl FnMut(&[u8]),
) -> Result<u64, Stop> {
    let _open = OpenWrite::new(&scene.traffic);
    let mut fault = scene.desk(|desk| desk.request(op));
    let mut len = 0;
    loop {
        if let Some((kind, after)) = fault {
            match kind {
                BodyFaultKind::Cut if len >= after => {
                    scene.traffic.fault_fired();
                    return Err(Stop::Disconnect);
                }
                BodyFaultKind::Silence if len >= after => {
                    scene.traffic.fault_fired();
                    scene.silence_over().await;
                    return Err(Stop::Disconnect);
                }
                _ => {}
            }
        }
        let Some(frame) = body.frame().await else {
            return Ok(len);
        };
        // A client that left in mid-body gets no answer, and nothing of its body is used.
        let frame = frame.map_err(|_| Stop::Disconnect)?;
        let Ok(bytes) = frame.into_data() else {
            continue;
        };
        scene
            .traffic
            .bytes_in
            .fetch_add(bytes.len() as u64, Ordering::Relaxed);
        let end = len + bytes.len() as u64;
        match fault {
            Some((BodyFaultKind::Corrupt, at)) if (len..end).contains(&at) => {
                let mut spoilt = bytes.to_vec();
                let index = usize::try_from(at - len).expect("an index into a frame");
                spoilt[index] ^= 1;
                take(&spoilt);
                scene.traffic.fault_fired();
                fault = None;
            }
            _ => take(&bytes),
        }
        len = end;
        if let Some(speed) = scene.faults(|f| f.upload_bytes_per_second) {
            tokio::time::sleep(time_for(bytes.len() as u64, speed)).await;
        }
    }
}

/// Counts a body while it is read, however the reading ends.
struct OpenWrite<'a>(&'a Traffic);

impl<'a> OpenWrite<'a> {
    fn new(traffic: &'a Traffic) -> Self {
        traffic.writes.open();
        Self(traffic)
    }
}

impl Drop for OpenWrite<'_> {
    fn drop(&mut self) {
        self.0.writes.close();
    }
}

const SWALLOWED_BYTES: usize = 64 * 1024 * 1024;
const SWALLOW_TIME: Duration = Duration::from_secs(2);
