//! The monitoring endpoint: `/metrics`, `/health` and `/neard-pid`.

use std::time::Instant;

use axum::Router;
use axum::extract::State as Shared;
use axum::http::{StatusCode, header};
use axum::response::IntoResponse;
use axum::routing::get;
use axum::serve::Listener;
use prometheus::{
    Encoder as _, Gauge, IntCounter, IntGauge, IntGaugeVec, Opts, Registry, TextEncoder,
};
use tokio::sync::watch;

use crate::election::State;
use crate::http_server;
use crate::supervisor::{Snapshot, Takeovers};

/// Answers scrapes until `end` comes true.
pub async fn serve(
    listener: impl Listener,
    snapshot: watch::Receiver<Snapshot>,
    takeovers: Takeovers,
    end: watch::Receiver<bool>,
) {
    let exporter = Exporter { snapshot, takeovers, started: Instant::now() };
    let router = Router::new()
        .route("/metrics", get(metrics))
        .route("/health", get(async || "ok\n"))
        .route("/neard-pid", get(neard_pid))
        .with_state(exporter);
    http_server::serve(listener, router, end).await;
}

#[derive(Clone)]
struct Exporter {
    snapshot: watch::Receiver<Snapshot>,
    takeovers: Takeovers,
    started: Instant,
}

async fn metrics(Shared(exporter): Shared<Exporter>) -> impl IntoResponse {
    match exporter.metrics() {
        Ok(text) => ([(header::CONTENT_TYPE, prometheus::TEXT_FORMAT)], text).into_response(),
        Err(error) => (StatusCode::INTERNAL_SERVER_ERROR, error.to_string()).into_response(),
    }
}

async fn neard_pid(Shared(exporter): Shared<Exporter>) -> impl IntoResponse {
    match exporter.snapshot.borrow().neard_pid {
        Some(pid) => format!("{pid}\n").into_response(),
        None => (StatusCode::NOT_FOUND, "neard is not running\n").into_response(),
    }
}

impl Exporter {
    /// Made anew for each scrape: there is nothing to keep in step.
    fn metrics(&self) -> Result<String, prometheus::Error> {
        let snapshot = self.snapshot.borrow().clone();
        let registry = Registry::new();

        let doppelganger = IntGauge::new(
            "kuutamod_doppelganger",
            "Whether somebody signs with the validator key that no kneard manages",
        )?;
        doppelganger.set(snapshot.signs_elsewhere.into());
        registry.register(Box::new(doppelganger))?;

        let restarts =
            IntCounter::new("kuutamod_neard_restarts", "How often neard has been restarted")?;
        restarts.inc_by(snapshot.neard_restarts);
        registry.register(Box::new(restarts))?;

        let state = IntGaugeVec::new(
            Opts::new("kuutamod_state", "In what state our supervisor statemachine is"),
            &["type"],
        )?;
        for each in State::ALL {
            let is_it = i64::from(each == snapshot.state);
            state.with_label_values(&[each.to_string().as_str()]).set(is_it);
        }
        registry.register(Box::new(state))?;

        let uptime =
            IntGauge::new("kuutamod_uptime", "Time in milliseconds how long daemon is running")?;
        uptime.set(i64::try_from(self.started.elapsed().as_millis()).unwrap_or(i64::MAX));
        registry.register(Box::new(uptime))?;

        let paused = IntGauge::new("kuutamod_paused", "Takeovers are paused by an operator")?;
        paused.set(i64::from(snapshot.pause.is_some()));
        registry.register(Box::new(paused))?;

        registry.register(Box::new(self.takeovers.total.clone()))?;
        registry.register(Box::new(self.takeovers.duration.clone()))?;
        if let Some(age) = self.takeovers.age() {
            let last = Gauge::new(
                "kuutamod_last_takeover_seconds",
                "How long ago this node took the validator key; absent before it has",
            )?;
            last.set(age.as_secs_f64());
            registry.register(Box::new(last))?;
        }

        let mut text = Vec::new();
        TextEncoder::new().encode(&registry.gather(), &mut text)?;
        Ok(String::from_utf8_lossy(&text).into_owned())
    }
}
