//! Restarting neard when it has nothing to do.

use std::time::Duration;

use axum::http::StatusCode;
use tokio::task::spawn_blocking;
use tokio::time::{Instant, sleep};

use super::server::Api;
use super::steer::{Refusal, refused, unanswered};
use super::{Maintenance, RestartBegun, RestartCancelled, RestartOrder, SwitchoverBegun};
use crate::election::{Event, Promotion};
use crate::neard::home::HomeError;
use crate::neard::rpc::Rpc;

/// How long neard may take to answer.
const LIMIT: Duration = Duration::from_secs(2);
/// How long neard may take to confirm that it has read its configuration again.
const CONFIRM: Duration = Duration::from_secs(5);
/// How often it is told again: a signal that comes during a reload is lost.
const AGAIN: Duration = Duration::from_millis(250);
const STEP: Duration = Duration::from_millis(50);
/// Blocks until the earliest end: neard has to read its configuration before.
const AHEAD: u64 = 2;

impl Api {
    pub(super) async fn restart(&self, order: &RestartOrder) -> Result<RestartBegun, Refusal> {
        let (validates, holds, head, planned, term, own) = {
            let snapshot = self.snapshot.borrow();
            let term = snapshot.record.as_ref().map_or(0, |record| record.term);
            let own = snapshot.report.node_id.clone();
            let head = snapshot.report.head;
            let planned = snapshot.planned_restart;
            (snapshot.validates(), snapshot.step.is_some(), head, planned, term, own)
        };
        if !holds {
            if order.at.is_some() {
                return Err(refused(
                    "this node does not hold the validator key, so its neard can be restarted at \
                     any time: leave --schedule-at out",
                ));
            }
            self.tell(Event::RestartNeard).await?;
            return Ok(RestartBegun::Standby);
        }
        if !validates {
            return Err(refused("neard is just being given the validator key or relieved of it"));
        }
        if let Some(height) = planned {
            return Err(refused(format!(
                "a restart is planned at height {height} already; first: kneard-ctl restart \
                 --cancel"
            )));
        }
        let head = head.ok_or_else(|| unanswered("neard has not told its head yet"))?;
        let standbys = self.standbys(None).await;
        if let Ok(eligible) = &standbys
            && !order.in_place
            && order.at.is_none()
            && self.promotion == Promotion::HotSwap
        {
            let begun = SwitchoverBegun { from: own, term, to: None, eligible: eligible.clone() };
            self.begin_switchover(None).await?;
            return Ok(RestartBegun::Switchover(begun));
        }
        let (height, window) = match order.at {
            Some(height) if height <= head => {
                return Err(refused(format!("height {height} is past: neard's head is at {head}")));
            }
            Some(height) => (height, None),
            None => {
                let windows = self.windows().await?;
                let (height, window) = choose(&windows, head, order.min_length).map_err(refused)?;
                (height, Some(window))
            }
        };
        self.plan(Some(height)).await?;
        let standby = standbys.ok().and_then(|eligible| eligible.into_iter().next());
        Ok(RestartBegun::AtHeight { height, head, window, standby })
    }

    pub(super) async fn cancel_restart(&self) -> Result<RestartCancelled, Refusal> {
        let height = self.snapshot.borrow().planned_restart;
        if height.is_some() {
            self.plan(None).await?;
        }
        Ok(RestartCancelled { height })
    }

    pub(super) async fn maintenance(&self) -> Maintenance {
        let (windows, error) = match self.windows().await {
            Ok(windows) => (Some(windows), None),
            Err((_, error)) => (None, Some(error)),
        };
        let snapshot = self.snapshot.borrow();
        Maintenance {
            validates: snapshot.validates(),
            head: snapshot.report.head,
            planned: snapshot.planned_restart,
            windows,
            error,
            neard_restarts: snapshot.neard_restarts,
            neard_pid: snapshot.neard_pid,
            state: snapshot.state.to_string(),
        }
    }

    pub(super) fn rpc(&self) -> Result<Rpc, Refusal> {
        self.home.rpc_addr().map(Rpc::new).map_err(unanswered)
    }

    async fn windows(&self) -> Result<Vec<(u64, u64)>, Refusal> {
        let rpc = self.rpc()?;
        rpc.maintenance_windows(self.keys.account(), LIMIT).await.map_err(unanswered)
    }

    /// Has neard end at this height or not at all, and sees that it knows.
    async fn plan(&self, height: Option<u64>) -> Result<(), Refusal> {
        let _one_at_a_time = self.planning.lock().await;
        let rpc = self.rpc()?;
        let before = reloads(rpc).await?;
        self.edit(height).await?;
        let end = Instant::now() + CONFIRM;
        let mut told_at = None;
        loop {
            if told_at.is_none_or(|at: Instant| at.elapsed() >= AGAIN) {
                told_at = Some(Instant::now());
                self.tell(Event::RestartPlanned(height)).await?;
            }
            sleep(STEP).await;
            let known = self.snapshot.borrow().planned_restart == height;
            if known && reloads(rpc).await.is_ok_and(|now| now > before) {
                return Ok(());
            }
            if Instant::now() >= end {
                // What neard has not confirmed must not happen unexpectedly.
                self.edit(None).await?;
                self.tell(Event::RestartPlanned(None)).await?;
                let why = "neard does not confirm that it has read its configuration again; see \
                           its log. Nothing is planned";
                return Err(unanswered(why));
            }
        }
    }

    async fn edit(&self, height: Option<u64>) -> Result<(), Refusal> {
        let home = self.home.clone();
        let edit = move || match height {
            Some(height) => home.plan_shutdown(height),
            None => home.cancel_shutdown(),
        };
        match spawn_blocking(edit).await {
            Ok(result) => result.map_err(|error: HomeError| unanswered(error)),
            Err(error) => Err((StatusCode::INTERNAL_SERVER_ERROR, error.to_string())),
        }
    }
}

async fn reloads(rpc: Rpc) -> Result<u64, Refusal> {
    match rpc.config_reloads(LIMIT).await {
        Ok(Some(count)) => Ok(count),
        Ok(None) => Err(unanswered(
            "this neard does not tell near_config_reloads_total in its /metrics, so that nobody \
             could know whether it would end",
        )),
        Err(error) => Err(unanswered(error)),
    }
}

/// Where in which window neard is to end: as early as possible in the first one that then has
/// `min_length` blocks left, or without that in the longest.
fn choose(
    windows: &[(u64, u64)],
    head: u64,
    min_length: Option<u64>,
) -> Result<(u64, (u64, u64)), String> {
    let starts = windows.iter().filter_map(|(start, end)| {
        let height = (*start).max(head + AHEAD);
        (height < *end).then_some((height, (*start, *end)))
    });
    let left = |(height, (_, end)): &(u64, (u64, u64))| end - height;
    let starts: Vec<_> = starts.collect();
    // The first of the longest.
    let longest = starts.iter().rev().max_by_key(|start| left(start));
    let Some(longest) = longest else {
        return Err("this validator has duties at every height that is left in the epoch: take a \
                    height yourself (--schedule-at), or wait for the next epoch"
            .to_owned());
    };
    match min_length {
        None => Ok(*longest),
        Some(least) => starts.iter().find(|start| left(start) >= least).copied().ok_or_else(|| {
            format!(
                "no window of {least} blocks is left in the epoch; the longest has {}, from height \
                 {} on",
                left(longest),
                longest.0
            )
        }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const WINDOWS: [(u64, u64); 4] = [(100, 104), (110, 120), (130, 150), (160, 180)];

    #[test]
    fn without_a_length_the_longest_window_is_taken_the_first_of_several() {
        assert_eq!(choose(&WINDOWS, 100, None), Ok((130, (130, 150))));
        // Of a window that has begun only the rest counts.
        assert_eq!(choose(&WINDOWS, 135, None), Ok((160, (160, 180))));
    }

    #[test]
    fn with_a_length_the_first_window_that_has_it_left_is_taken() {
        assert_eq!(choose(&WINDOWS, 100, Some(2)), Ok((102, (100, 104))));
        assert_eq!(choose(&WINDOWS, 100, Some(3)), Ok((110, (110, 120))));
        assert_eq!(choose(&WINDOWS, 111, Some(10)), Ok((130, (130, 150))));
    }

    #[test]
    fn what_there_is_instead_is_said() {
        let why = choose(&WINDOWS, 100, Some(21)).unwrap_err();
        assert!(why.contains("the longest has 20, from height 130 on"), "{why}");
        assert!(choose(&[], 100, None).unwrap_err().contains("--schedule-at"));
        assert!(choose(&WINDOWS, 178, None).unwrap_err().contains("--schedule-at"));
    }
}
