//! Objects on their way out, and what goes wrong on that way.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};

use crate::answer::AnswerBody;
use crate::content::Content;
use crate::faults::{BodyFaultKind, Service};
use crate::operation::Operation;
use crate::scene::Scene;

/// The body of an answer that sends the bytes from `start` to before `end`, spoilt as the faults of `op` say.
pub fn object<O: Operation, S: Service>(
    scene: &Arc<Scene<O, S>>,
    op: O,
    content: Content,
    (start, end): (u64, u64),
) -> AnswerBody {
    let fault = scene.desk(|desk| desk.response(op));
    if fault.is_some() {
        scene.traffic.fault_fired();
    }
    scene.traffic.reads.open();
    AnswerBody::Object(Box::pin(ObjectBody {
        scene: Arc::clone(scene),
        content,
        offset: start,
        end,
        sent: 0,
        fault,
        pause: None,
        ending: None,
    }))
}

/// A part of an object on its way out, with what shall go wrong on that way.
///
/// Chunks are made when the connection asks for them, so a slow reader holds one chunk.
struct ObjectBody<O: Operation, S: Service> {
    scene: Arc<Scene<O, S>>,
    content: Content,
    offset: u64,
    end: u64,
    sent: u64,
    fault: Option<(BodyFaultKind, u64)>,
    pause: Option<Pin<Box<dyn Future<Output = ()> + Send>>>,
    /// What the body ends with once the pause is over.
    ending: Option<&'static str>,
}

impl<O: Operation, S: Service> ObjectBody<O, S> {
    fn next(&mut self) -> Option<Bytes> {
        if self.offset >= self.end {
            return None;
        }
        let mut most = usize::try_from(self.end - self.offset)
            .unwrap_or(usize::MAX)
            .min(CHUNK);
        let mut turn = false;
        if let Some((kind, after)) = self.fault {
            let left = usize::try_from(after - self.sent).unwrap_or(usize::MAX);
            match kind {
                BodyFaultKind::Cut if left == 0 => {
                    self.ending = Some("cut on order");
                    self.pause = Some(Box::pin(tokio::time::sleep(FLUSH)));
                    return Some(Bytes::new());
                }
                BodyFaultKind::Silence if left == 0 => {
                    self.ending = Some("silenced on order");
                    let scene = Arc::clone(&self.scene);
                    self.pause = Some(Box::pin(async move { scene.silence_over().await }));
                    return Some(Bytes::new());
                }
                BodyFaultKind::Corrupt => turn = left < most,
                BodyFaultKind::Cut | BodyFaultKind::Silence => most = most.min(left),
            }
            if turn {
                let mut chunk = self.content.chunk(self.offset, most).to_vec();
                if let Some(byte) = chunk.get_mut(left) {
                    *byte ^= 1;
                    self.fault = None;
                }
                return Some(self.advance(chunk.into()));
            }
        }
        let chunk = self.content.chunk(self.offset, most);
        Some(self.advance(chunk))
    }

    fn advance(&mut self, chunk: Bytes) -> Bytes {
        let len = chunk.len() as u64;
        self.offset += len;
        self.sent += len;
        self.scene
            .traffic
            .bytes_out
            .fetch_add(len, Ordering::Relaxed);
        let speed = self.scene.faults(|f| f.download_bytes_per_second);
        if let Some(speed) = speed {
            self.pause = Some(Box::pin(tokio::time::sleep(time_for(len, speed))));
        }
        chunk
    }
}

impl<O: Operation, S: Service> Drop for ObjectBody<O, S> {
    fn drop(&mut self) {
        self.scene.traffic.reads.close();
    }
}

impl<O: Operation, S: Service> Body for ObjectBody<O, S> {
    type Data = Bytes;
    type Error = io::Error;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, io::Error>>> {
        let body = self.get_mut();
        loop {
            if let Some(pause) = &mut body.pause {
                if pause.as_mut().poll(cx).is_pending() {
                    return Poll::Pending;
                }
                body.pause = None;
                if let Some(why) = body.ending {
                    return Poll::Ready(Some(Err(io::Error::other(why))));
                }
            }
            match body.next() {
                Some(chunk) if chunk.is_empty() => {}
                other => return Poll::Ready(other.map(|chunk| Ok(Frame::data(chunk)))),
            }
        }
    }

    fn is_end_stream(&self) -> bool {
        self.offset >= self.end
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::with_exact(self.end - self.offset)
    }
}

/// How long `bytes` take at `speed` bytes per second.
pub fn time_for(bytes: u64, speed: u64) -> Duration {
    Duration::from_secs_f64(bytes as f64 / speed.max(1) as f64)
}

/// Most bytes of an object handed to the connection at once.
const CHUNK: usize = 64 * 1024;

/// Time for a connection to write what precedes a cut; it drops what it has not written.
const FLUSH: Duration = Duration::from_millis(20);
