//! What operators order: checked as far as this node can know, then told to the supervisor's loop.

use std::time::Duration;

use axum::Json;
use axum::Router;
use axum::body::Bytes;
use axum::extract::State as Shared;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use serde::Serialize;
use serde::de::DeserializeOwned;
use tokio::time::{Instant, sleep, timeout};

use super::server::{Api, LIMIT, failure};
use super::{
    FollowOrder, Followed, History, Pause, PauseOrder, Paused, RestartOrder, Resumed,
    SwitchoverBegun, SwitchoverOrder, standbys,
};
use crate::consul::{Consistency, TxnOp};
use crate::election::{Event, RecordState, Step};
use crate::neard::quiet_moment::quiet_moment;
use crate::supervisor;

/// How long one question for news is kept open; the client asks again.
const FOLLOW: Duration = Duration::from_secs(8);
/// How long kneard's loop may take to act on an order.
const HEED: Duration = Duration::from_secs(2);
/// How long all nodes may take to say that they know of a pause: they learn of it within a second,
/// and publish that within another one.
const CONFIRM: Duration = Duration::from_secs(6);
const CONFIRM_STEP: Duration = Duration::from_millis(250);

/// Why an order is not followed: the code, and the reason for the operator.
pub(super) type Refusal = (StatusCode, String);

/// The state of things forbids it.
pub(super) fn refused(why: impl Into<String>) -> Refusal {
    (StatusCode::CONFLICT, why.into())
}

/// Consul or neard does not answer.
pub(super) fn unanswered(why: impl ToString) -> Refusal {
    (StatusCode::SERVICE_UNAVAILABLE, why.to_string())
}

pub(super) fn routes() -> Router<Api> {
    Router::new()
        .route(
            "/switchover",
            post(async |Shared(api): Shared<Api>, body: Bytes| {
                answer(match order::<SwitchoverOrder>(&body) {
                    Ok(order) => api.switch_over(order).await,
                    Err(refusal) => Err(refusal),
                })
            }),
        )
        .route(
            "/follow",
            post(async |Shared(api): Shared<Api>, body: Bytes| {
                answer(match order::<FollowOrder>(&body) {
                    Ok(order) => api.follow(&order).await,
                    Err(refusal) => Err(refusal),
                })
            }),
        )
        .route(
            "/pause",
            post(async |Shared(api): Shared<Api>, body: Bytes| {
                answer(match order::<PauseOrder>(&body) {
                    Ok(order) => api.pause(order).await,
                    Err(refusal) => Err(refusal),
                })
            }),
        )
        .route("/resume", post(async |Shared(api): Shared<Api>| answer(api.resume().await)))
        .route(
            "/restart",
            post(async |Shared(api): Shared<Api>, body: Bytes| {
                answer(match order::<RestartOrder>(&body) {
                    Ok(order) => api.restart(&order).await,
                    Err(refusal) => Err(refusal),
                })
            }),
        )
        .route(
            "/restart/cancel",
            post(async |Shared(api): Shared<Api>| answer(api.cancel_restart().await)),
        )
        .route("/maintenance", get(async |Shared(api): Shared<Api>| Json(api.maintenance().await)))
        .route("/history", get(async |Shared(api): Shared<Api>| answer(api.history().await)))
}

/// Only an object: a list would be taken for the fields in their order, and an empty one for none.
fn order<T: DeserializeOwned>(body: &[u8]) -> Result<T, Refusal> {
    serde_json::from_slice::<serde_json::Map<_, _>>(body)
        .and_then(|order| serde_json::from_value(order.into()))
        .map_err(|error| (StatusCode::BAD_REQUEST, format!("not an order that I know: {error}")))
}

fn answer<T: Serialize>(result: Result<T, Refusal>) -> Response {
    match result {
        Ok(answer) => Json(answer).into_response(),
        Err((code, why)) => failure(code, why),
    }
}

impl Api {
    pub(super) async fn tell(&self, event: Event) -> Result<(), Refusal> {
        self.events.send(event).await.map_err(|_| unanswered("kneard is stopping"))
    }

    async fn switch_over(&self, order: SwitchoverOrder) -> Result<SwitchoverBegun, Refusal> {
        let eligible = self.standbys(order.to.as_deref()).await?;
        let (from, term) = {
            let snapshot = self.snapshot.borrow();
            let term = snapshot.record.as_ref().map_or(0, |record| record.term);
            (snapshot.report.node_id.clone(), term)
        };
        self.begin_switchover(order.to.clone()).await?;
        Ok(SwitchoverBegun { from, term, to: order.to, eligible })
    }

    /// The standbys that can take the key from this node.
    pub(super) async fn standbys(&self, to: Option<&str>) -> Result<Vec<String>, Refusal> {
        let own = {
            let snapshot = self.snapshot.borrow();
            let own = snapshot.report.node_id.clone();
            if !snapshot.validates() {
                return Err(refused(match &snapshot.record {
                    Some(record)
                        if record.holder != own && record.state != RecordState::Released =>
                    {
                        format!(
                            "{own} does not hold the validator key, {} on {} does: run this there",
                            record.holder, record.hostname
                        )
                    }
                    _ => format!(
                        "{own} does not hold the validator key now ({}); see kneard-ctl status",
                        snapshot.state
                    ),
                }));
            }
            if let Some(pause) = &snapshot.pause {
                return Err(refused(format!(
                    "no other node may take the key, takeovers are {pause}; first: kneard-ctl \
                     resume"
                )));
            }
            if let Some(height) = snapshot.planned_restart {
                return Err(refused(format!(
                    "a restart of neard is planned at height {height}; first: kneard-ctl restart \
                     --cancel"
                )));
            }
            own
        };
        let nodes = self.nodes().await.map_err(unanswered)?;
        standbys::eligible(&nodes, &own, to, self.max_lag).map_err(refused)
    }

    pub(super) async fn begin_switchover(&self, to: Option<String>) -> Result<(), Refusal> {
        if let Ok(rpc) = self.rpc() {
            quiet_moment(rpc, self.keys.account()).await;
        }
        self.tell(Event::Switchover { to }).await?;
        let mut snapshot = self.snapshot.clone();
        let begun = snapshot.wait_for(|now| now.step != Some(Step::Active));
        match timeout(HEED, begun).await {
            Ok(Ok(_)) => Ok(()),
            _ => Err(refused("kneard did not begin the switchover; see its log")),
        }
    }

    async fn follow(&self, order: &FollowOrder) -> Result<Followed, Refusal> {
        let mut snapshot = self.snapshot.clone();
        let news = snapshot.wait_for(|now| {
            now.record.as_ref().is_some_and(|record| {
                record.term > order.after_term && record.state == RecordState::Active
            })
        });
        let followed = match timeout(FOLLOW, news).await {
            Ok(Ok(now)) => now.record.as_ref().map(|record| (record.holder.clone(), record.term)),
            Ok(Err(_)) => return Err(unanswered("kneard is stopping")),
            Err(_) => None,
        };
        let (holder, term) = followed.unzip();
        Ok(Followed { holder, term })
    }

    async fn pause(&self, order: PauseOrder) -> Result<Paused, Refusal> {
        let key = self.keys.pause();
        let own = self.snapshot.borrow().report.node_id.clone();
        let by = match order.by.trim() {
            "" => own,
            by => format!("{by} on {own}"),
        };
        let since = humantime::format_rfc3339_seconds(std::time::SystemTime::now()).to_string();
        let wanted = Pause { by, since, reason: order.reason };
        let value = serde_json::to_vec(&wanted).unwrap_or_default();
        let put = [
            TxnOp::CheckNotExists { key: key.clone() },
            TxnOp::Set { key: key.clone(), value, flags: 0 },
        ];
        let put = self.consul.txn(&put, LIMIT).await;
        let read = self.consul.read(&key, Consistency::Consistent, LIMIT).await;
        let there = read.map_err(unanswered)?.entry.map(|entry| Pause::parse(&entry.value));
        match (put, there) {
            (_, Some(pause)) => {
                let already = pause != wanted;
                Ok(Paused { pause, already, unaware: self.unaware().await })
            }
            (Err(error), None) => Err(unanswered(error)),
            (Ok(_), None) => Err(refused("somebody resumed at the same moment")),
        }
    }

    /// The nodes that do not say yet that they know of the pause.
    async fn unaware(&self) -> Vec<String> {
        let end = Instant::now() + CONFIRM;
        loop {
            let unaware: Vec<String> = match self.nodes().await {
                Ok(nodes) => {
                    nodes.into_iter().filter(|node| !node.paused).map(|node| node.node_id).collect()
                }
                Err(error) => vec![format!("any node ({error})")],
            };
            if unaware.is_empty() || Instant::now() >= end {
                return unaware;
            }
            sleep(CONFIRM_STEP).await;
        }
    }

    async fn resume(&self) -> Result<Resumed, Refusal> {
        let key = self.keys.pause();
        let read = self.consul.read(&key, Consistency::Consistent, LIMIT).await;
        let pause = read.map_err(unanswered)?.entry.map(|entry| Pause::parse(&entry.value));
        if pause.is_some() {
            self.consul.delete(&key, LIMIT).await.map_err(unanswered)?;
        }
        Ok(Resumed { pause })
    }

    async fn history(&self) -> Result<History, Refusal> {
        let read = supervisor::history(&self.consul, &self.keys).await;
        read.map(History).map_err(unanswered)
    }
}
