//! Which service a listener belongs to.

use std::net::SocketAddr;
use std::sync::Arc;

use http::Request;
use hyper::body::Incoming;
use stand_in::answer::{Answer, Stop};
use stand_in::listen::Listening;
use stand_in::scene::Gauge;
use tokio::sync::watch;

use crate::core::Core;
use crate::{admin, blob, entra};

/// One of the services.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Service {
    Blob,
    Entra,
    Admin,
}

/// A listener of one of them.
#[derive(Debug)]
pub(crate) struct Door {
    pub(crate) core: Arc<Core>,
    pub(crate) service: Service,
}

impl Listening for Door {
    async fn serve(
        self: Arc<Self>,
        request: Request<Incoming>,
        secure: bool,
        peer: SocketAddr,
    ) -> Result<Answer, Stop> {
        let core = Arc::clone(&self.core);
        match self.service {
            Service::Blob => blob::serve(core, request, secure, peer.ip()).await,
            Service::Entra => entra::serve(core, request).await,
            Service::Admin => admin::serve(core, request).await,
        }
    }

    fn gauge(&self) -> Option<&Gauge> {
        match self.service {
            Service::Blob => Some(&self.core.tally.blob_connections),
            Service::Entra => Some(&self.core.tally.entra_connections),
            Service::Admin => None,
        }
    }

    fn refuses(&self) -> bool {
        self.service == Service::Blob && self.core.scene.faults(|f| f.refuse_connections)
    }

    fn hung_up(&self) -> watch::Receiver<()> {
        self.core.scene.hung_up()
    }
}
