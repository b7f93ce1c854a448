//! The listener of the store, and of the tokens of its account.

use std::net::SocketAddr;
use std::sync::Arc;

use http::Request;
use hyper::body::Incoming;
use stand_in::answer::{Answer, Stop};
use stand_in::listen::Listening;
use stand_in::scene::Gauge;
use tokio::sync::watch;

use crate::core::Core;
use crate::service;

/// What listens.
#[derive(Debug)]
pub(crate) struct Door(pub(crate) Arc<Core>);

impl Listening for Door {
    async fn serve(
        self: Arc<Self>,
        request: Request<Incoming>,
        secure: bool,
        _peer: SocketAddr,
    ) -> Result<Answer, Stop> {
        service::serve(Arc::clone(&self.0), request, secure).await
    }

    fn gauge(&self) -> Option<&Gauge> {
        Some(&self.0.tally.connections)
    }

    fn refuses(&self) -> bool {
        self.0.scene.faults(|f| f.refuse_connections)
    }

    fn hung_up(&self) -> watch::Receiver<()> {
        self.0.scene.hung_up()
    }
}
