//! Who listens for scrapes and operators, and on which sockets.

use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio::task::JoinHandle;

use super::start::RunError;
use super::{Snapshot, Takeovers};
use crate::settings::Settings;
use crate::systemd::{Socket, Sockets};
use crate::{control, exporter};

/// The sockets that systemd passed, or our own where it passed none.
pub async fn listen(settings: &Settings, mut sockets: Sockets) -> Result<Sockets, RunError> {
    if sockets.exporter.is_empty() {
        let address = settings.exporter_address;
        let listener = TcpListener::bind(address).await;
        let listener = listener.map_err(|error| RunError::Exporter { address, error })?;
        sockets.exporter.push(Socket::Tcp(listener));
    }
    if sockets.control.is_empty() {
        let path = &settings.control_socket;
        let socket = control::bind(path);
        let socket = socket.map_err(|error| RunError::Control { path: path.clone(), error })?;
        sockets.control.push(socket);
    }
    Ok(sockets)
}

/// Serves each of them until `end` comes true.
pub fn serve(
    sockets: Sockets,
    api: &control::Api,
    snapshot: &watch::Sender<Snapshot>,
    takeovers: &Takeovers,
    end: &watch::Receiver<bool>,
) -> Vec<JoinHandle<()>> {
    let exporters = sockets.exporter.into_iter().map(|socket| {
        let (snapshot, takeovers, end) = (snapshot.subscribe(), takeovers.clone(), end.clone());
        match socket {
            Socket::Tcp(socket) => tokio::spawn(exporter::serve(socket, snapshot, takeovers, end)),
            Socket::Unix(socket) => tokio::spawn(exporter::serve(socket, snapshot, takeovers, end)),
        }
    });
    let controls = sockets
        .control
        .into_iter()
        .map(|socket| tokio::spawn(control::serve(socket, api.clone(), end.clone())));
    exporters.chain(controls).collect()
}
