//! neard's process, the Consul session, the watch, and the end.

use std::time::Duration;

use super::{Complaint, Machine, SLOW_RETRY};
use crate::election::mutant::Mutant;
use crate::election::neard::{EAGER_STATUS_INTERVAL, Key, Process};
use crate::election::session::Session;
use crate::election::takeover;
use crate::election::{
    Action, ExitReason, NeardStatus, Notice, Role, SessionId, SignKey, Step, Time,
};

impl Machine {
    pub(super) fn supervision_timeouts(&self) -> Vec<Option<Time>> {
        let process = match self.neard.process {
            Process::Down { start_at } => Some(start_at),
            Process::Stopping { kill_at } => kill_at,
            Process::Starting { .. } | Process::Up { .. } => None,
        };
        let session = match self.session {
            Session::None { retry_at } => Some(retry_at),
            Session::Live { renew_at, .. } => Some(renew_at),
            Session::Creating => None,
        };
        let mut timeouts = vec![process, session, self.neard.next_ask(), self.armed];
        timeouts.extend(self.swap_timeouts());
        timeouts
    }

    pub(super) fn neard_exited(&mut self, why: &str, out: &mut Vec<Action>) {
        let was_keyed = self.neard.keyed();
        if matches!(self.neard.key, Key::Loading { .. }) && self.neard.is_up() {
            self.swap_works = false;
        }
        let obeyed = matches!(self.neard.process, Process::Stopping { kill_at: Some(_) });
        let asked_to = self.neard.exited(self.now);
        self.armed = None;
        if !asked_to {
            out.push(Action::Log(Notice::Warning(format!("neard is gone: {why}"))));
        }
        if let Some(tenure) = &mut self.tenure {
            match tenure.step {
                // It was stopped to be started anew with the key.
                Step::Promoting { .. } if !was_keyed || obeyed => {}
                Step::Releasing => {}
                _ => tenure.release(format!("neard is gone: {why}"), self.now),
            }
        }
        let gives_up = self.neard.failed_starts >= self.settings.start_attempts;
        if gives_up && !self.neard.has_answered && !self.stopping {
            self.give_up(why);
        }
    }

    pub(super) fn guard_silent(&mut self, out: &mut Vec<Action>) {
        if !self.neard.is_down() {
            let text = "the guard does not answer: killing it and neard".to_owned();
            out.push(Action::Log(Notice::Error(text)));
            self.kill_neard(out);
        }
    }

    pub(super) fn status(
        &mut self,
        id: u64,
        result: Result<NeardStatus, String>,
        out: &mut Vec<Action>,
    ) {
        if !self.neard.answered(self.now, id, result.as_ref().ok()) {
            return;
        }
        match result {
            // On its way out it is waited for only by its death.
            Ok(_) if !self.neard.is_up() => {}
            Ok(status) => self.check_key(&status, out),
            Err(why) if self.neard.is_up() => {
                let text = format!("Cannot reach neard status api: {why}");
                out.push(Action::Log(Notice::Warning(text)));
                if self.neard.failures >= self.settings.status_failures {
                    let failures = self.neard.failures;
                    let text = format!("neard failed {failures} status requests: killing it");
                    out.push(Action::Log(Notice::Error(text)));
                    self.kill_neard(out);
                }
            }
            Err(_) => {}
        }
    }

    /// Compares the key that neard says it signs with to the one that it was given.
    fn check_key(&mut self, status: &NeardStatus, out: &mut Vec<Action>) {
        match (self.neard.key, status.key) {
            (Key::Out, SignKey::None) => self.neard.is_sound(),
            (Key::Out, SignKey::Ours | SignKey::Other) => {
                // Perhaps another neard answers at this address. Ours must not go on beside it.
                let text = "neard was started without a validator key but says that it has one: \
                            killing it; check rpc.addr and validator_key_file in its config.json";
                out.push(Action::Log(Notice::Error(text.to_owned())));
                self.neard.failed_starts += 1;
                self.kill_neard(out);
                if self.neard.failed_starts >= self.settings.start_attempts {
                    self.give_up(text);
                }
            }
            (Key::In | Key::Loading { .. }, SignKey::Ours) => self.key_confirmed(out),
            (Key::Loading { .. }, SignKey::None) => {}
            (Key::In, SignKey::None) | (Key::In | Key::Loading { .. }, SignKey::Other) => {
                self.drain("neard does not confirm the validator key", out);
            }
            (Key::Unloading { .. }, SignKey::None) => self.key_unloaded(status, out),
            (Key::Unloading { .. }, SignKey::Ours | SignKey::Other) => {}
        }
    }

    fn key_confirmed(&mut self, out: &mut Vec<Action>) {
        self.neard.key = Key::In;
        self.neard.is_sound();
        if let Some(tenure) = &mut self.tenure
            && matches!(tenure.step, Step::Promoting { .. })
        {
            tenure.step = Step::Active;
            tenure.next_write = self.now;
            let text = format!("neard confirmed the validator key, term {}", tenure.term());
            out.push(Action::Log(Notice::Info(text)));
        }
    }

    /// The last line of defence beside the guard, which does the same by its own timer.
    pub(super) fn enforce_lease(&mut self, out: &mut Vec<Action>) {
        if !self.neard.keyed() || self.armed.is_none_or(|armed| self.now < armed) {
            return;
        }
        if self.tenure.take().is_some() {
            let text = "the lease could not be renewed in time: killing neard".to_owned();
            out.push(Action::Log(Notice::Error(text)));
        }
        if !matches!(self.neard.process, Process::Stopping { kill_at: None }) {
            self.kill_neard(out);
        }
    }

    pub(super) fn drive_neard(&mut self, out: &mut Vec<Action>) {
        match self.neard.process {
            Process::Down { start_at } if self.now >= start_at && !self.stopping => {
                self.start_neard(out);
            }
            Process::Stopping { kill_at: Some(at) } if self.now >= at => {
                out.push(Action::Log(Notice::StopOverdue));
                self.kill_neard(out);
            }
            _ => {}
        }
    }

    pub(super) fn drive_question(&mut self, out: &mut Vec<Action>) {
        if self.neard.next_ask().is_some_and(|at| self.now >= at) {
            let interval = if self.neard.is_up() {
                self.settings.status_interval
            } else {
                EAGER_STATUS_INTERVAL
            };
            let id = self.neard.ask(self.now, interval);
            out.push(Action::AskStatus { id });
        }
    }

    fn start_neard(&mut self, out: &mut Vec<Action>) {
        let role = match &self.tenure {
            Some(tenure) if matches!(tenure.step, Step::Promoting { .. }) => {
                // With too little left it would be killed before the next beat.
                if tenure.lease.remaining(self.now) < self.settings.lease / 2 {
                    return;
                }
                let kill_at = tenure.kill_at(self.settings.guard_margin());
                let late = self.settings.has(Mutant::GuardArmedFromStart);
                let kill_at = if late { self.now + self.settings.lease } else { kill_at };
                self.armed = Some(kill_at);
                Role::Validator { kill_at }
            }
            _ => Role::Standby,
        };
        let key = if role == Role::Standby { Key::Out } else { Key::In };
        // It starts without the height at which the one before was to end.
        self.planned_restart = None;
        self.neard.starts(self.now, key);
        out.push(Action::StartNeard(role));
    }

    pub(super) fn terminate_neard(&mut self, patience: Duration, out: &mut Vec<Action>) {
        if matches!(self.neard.process, Process::Starting { .. } | Process::Up { .. }) {
            self.neard.process = Process::Stopping { kill_at: Some(self.now + patience) };
            out.push(Action::TerminateNeard);
        }
    }

    pub(super) fn kill_neard(&mut self, out: &mut Vec<Action>) {
        self.neard.process = Process::Stopping { kill_at: None };
        out.push(Action::KillNeard);
        if let Some(tenure) = &mut self.tenure
            && self.neard.keyed()
            && tenure.is_promoted()
        {
            tenure.step = Step::Draining;
        }
    }

    pub(super) fn stop(&mut self, out: &mut Vec<Action>) {
        if self.stopping && !self.neard.is_down() {
            self.kill_neard(out);
        }
        self.stopping = true;
    }

    /// Stops for want of a neard that starts.
    fn give_up(&mut self, why: &str) {
        self.stopping = true;
        self.exit_reason = ExitReason::NeardDoesNotStart(why.to_owned());
    }

    pub(super) fn drive_stop(&mut self, out: &mut Vec<Action>) {
        if !self.stopping {
            return;
        }
        match &self.tenure {
            Some(tenure) if tenure.is_promoted() && !self.neard.is_down() => {
                self.drain(takeover::STOPPING, out);
            }
            Some(_) => self.release(takeover::STOPPING),
            None => {}
        }
        // One that unloads the key is stopped when it has: the successor waits for that.
        if !matches!(self.neard.key, Key::Unloading { .. }) {
            self.terminate_neard(self.settings.stop_timeout, out);
        }
    }

    pub(super) fn session_created(
        &mut self,
        result: Result<SessionId, String>,
        out: &mut Vec<Action>,
    ) {
        if self.session != Session::Creating {
            return;
        }
        match result {
            Ok(id) => {
                self.consul_answers(out);
                let renew_at = self.now + self.settings.session_renew_interval();
                self.session = Session::Live { id, renew_at, renewing: false };
            }
            Err(why) => {
                self.complain(Complaint::NoAnswer, why, out);
                self.session = Session::None { retry_at: self.now + SLOW_RETRY };
            }
        }
    }

    pub(super) fn session_renewed(&mut self, result: Result<bool, String>, out: &mut Vec<Action>) {
        let Session::Live { renew_at, renewing, .. } = &mut self.session else { return };
        if !std::mem::take(renewing) {
            return;
        }
        match result {
            Ok(true) => {
                *renew_at = self.now + self.settings.session_renew_interval();
                self.consul_answers(out);
            }
            Ok(false) => {
                let text = "the Consul session is gone".to_owned();
                out.push(Action::Log(Notice::Warning(text)));
                self.session = Session::None { retry_at: self.now };
                self.lose("the Consul session is gone", out);
            }
            Err(why) => {
                *renew_at = self.now + SLOW_RETRY;
                self.complain(Complaint::NoAnswer, why, out);
            }
        }
    }

    /// Asks at once whether the session still lives.
    pub(super) fn doubt_session(&mut self) {
        if let Session::Live { renew_at, .. } = &mut self.session {
            *renew_at = self.now;
        }
    }

    pub(super) fn drive_session(&mut self, out: &mut Vec<Action>) {
        match &mut self.session {
            Session::None { retry_at }
                if self.now >= *retry_at && self.neard.in_sync() && !self.stopping =>
            {
                self.session = Session::Creating;
                out.push(Action::CreateSession);
            }
            Session::Live { id, renew_at, renewing } if self.now >= *renew_at && !*renewing => {
                *renewing = true;
                out.push(Action::RenewSession(id.clone()));
            }
            _ => {}
        }
    }

    /// The holder knows the key by its own writes; everyone else watches it.
    pub(super) fn drive_watch(&mut self, out: &mut Vec<Action>) {
        let wanted = self.tenure.is_none() && !self.stopping;
        if self.watching != wanted {
            self.watching = wanted;
            self.view = None;
            out.push(Action::Watch(wanted));
        }
    }

    pub(super) fn drive_exit(&mut self, out: &mut Vec<Action>) {
        // An attempt at the lock that is under way may yet succeed and must then be undone.
        let done = self.stopping
            && self.neard.is_down()
            && self.tenure.is_none()
            && self.request.is_none();
        if !done || self.exited {
            return;
        }
        // A session that is still being created would outlive us by its TTL: harmless.
        if let Some(id) = self.session.id() {
            out.push(Action::DestroySession(id.clone()));
        }
        self.exited = true;
        out.push(Action::Exit(self.exit_reason.clone()));
    }
}
