//! What operators ask for: a switchover, a pause, a restart of neard.

use super::Machine;
use crate::election::view::View;
use crate::election::{Action, Notice, Step, takeover};

impl Machine {
    /// Gives the key to another node, on an operator's word. Only a node that has it can.
    pub(super) fn switch_over(&mut self, to: Option<String>, out: &mut Vec<Action>) {
        if self.paused {
            let text = "no switchover: takeovers are paused";
            out.push(Action::Log(Notice::Warning(text.to_owned())));
            return;
        }
        if let Some(tenure) = self.tenure.as_mut().filter(|tenure| tenure.step == Step::Active) {
            tenure.successor = to;
            self.drain(takeover::SWITCHOVER, out);
        }
    }

    pub(super) fn pause(&mut self, paused: bool, out: &mut Vec<Action>) {
        if self.paused != paused {
            self.paused = paused;
            let text = if paused {
                "takeovers are paused: nobody but the last holder may claim the key"
            } else {
                "takeovers are allowed again"
            };
            out.push(Action::Log(Notice::Info(text.to_owned())));
        }
    }

    /// While takeovers are paused only the last holder may claim the key, whose neard or kneard may
    /// have been restarted.
    pub(super) fn is_held_back(&self, view: &View) -> bool {
        let was_holder = view.record().is_some_and(|last| last.holder == self.settings.node_id);
        self.paused && !was_holder
    }

    /// neard reads its configuration, which an operator's command has changed before.
    pub(super) fn plan_restart(&mut self, height: Option<u64>, out: &mut Vec<Action>) {
        // One that has just started would die of the signal, and one that is not up reads its
        // configuration anyway; the command is repeated until neard has confirmed it.
        if self.neard.is_settled(self.now) {
            self.planned_restart = height;
            out.push(Action::ReloadNeard);
        }
    }

    /// neard has ended by itself. If it was to, a holder keeps the lock and starts it again with
    /// the key: a takeover would only add a change of holder to the restart.
    pub(super) fn neard_finished(&mut self, why: &str, out: &mut Vec<Action>) {
        let holds = self.tenure.as_mut().filter(|tenure| tenure.step == Step::Active);
        match (self.planned_restart.take(), holds) {
            (Some(height), Some(tenure)) if !self.stopping => {
                tenure.step = Step::Promoting { since: self.now };
                self.neard.finished(self.now);
                self.armed = None;
                let text = format!("neard has ended at height {height} as planned: restarting it");
                out.push(Action::Log(Notice::Info(text)));
            }
            _ => self.neard_exited(why, out),
        }
    }

    /// Restarts the neard of a node that has nothing to do with the key now.
    pub(super) fn restart_neard(&mut self, out: &mut Vec<Action>) {
        if self.tenure.is_none() && !self.stopping && self.neard.is_up() {
            let text = "restarting neard, as an operator asks";
            out.push(Action::Log(Notice::Info(text.to_owned())));
            self.terminate_neard(self.settings.stop_timeout, out);
        }
    }
}
