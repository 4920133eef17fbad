//! Giving the key to a neard that runs, and taking it away again, without a restart.

use std::time::Duration;

use super::Machine;
use crate::election::mutant::Mutant;
use crate::election::neard::Key;
use crate::election::tenure::Signed;
use crate::election::{Action, NeardStatus, Notice, Promotion, RecordState, Step, Time};

/// How long a neard that has given the key up stays as it is while nobody takes over.
const REFRESH_WAIT: Duration = Duration::from_secs(10);

impl Machine {
    pub(super) fn swap_timeouts(&self) -> [Option<Time>; 5] {
        let settles_at = self.neard.settles_at().filter(|_| self.tenure.is_some());
        let again_at = self.neard.reloads_again_at();
        [self.swap_ends(), again_at, settles_at, self.suspends_at(), self.refreshes_at()]
    }

    /// neard can be given the key without a restart, or relieved of it.
    pub(super) fn can_swap(&self) -> bool {
        self.settings.promotion == Promotion::HotSwap && self.swap_works
    }

    pub(super) fn drive_swap(&mut self, out: &mut Vec<Action>) {
        if self.suspends_at().is_some_and(|at| self.now >= at) {
            self.suspend(out);
        }
        if self.swap_ends().is_some_and(|at| self.now >= at) {
            let loading = matches!(self.neard.key, Key::Loading { .. });
            let what = if loading { "load" } else { "unload" };
            let timeout = self.settings.swap_timeout;
            self.swap_failed(&format!("neard did not {what} the key within {timeout:?}"), out);
        }
        if self.neard.reloads_again_at().is_some_and(|at| self.now >= at) {
            self.neard.reloaded_at = self.now;
            out.push(Action::ReloadNeard);
        }
        if self.neard.swapping_since().is_some() {
            self.neard.hurry(self.now);
        }
        if self.refreshes_at().is_some_and(|at| self.now >= at) {
            let text = "restarting neard, which would go on announcing itself as the validator";
            out.push(Action::Log(Notice::Info(text.to_owned())));
            self.terminate_neard(self.settings.stop_timeout, out);
        }
    }

    fn swap_ends(&self) -> Option<Time> {
        let since = self.neard.swapping_since().filter(|_| self.neard.is_up())?;
        Some(since + self.settings.swap_timeout)
    }

    /// When the key is taken out because the guard would soon kill neard for it.
    fn suspends_at(&self) -> Option<Time> {
        let tenure = self.tenure.as_ref().filter(|tenure| tenure.step == Step::Active)?;
        let margin = self.settings.kill_margin + self.settings.soft_margin;
        let can = self.can_swap() && self.neard.is_settled(self.now);
        (self.neard.key == Key::In && can).then(|| tenure.kill_at(margin))
    }

    /// When a neard that has given the key up is restarted. After an unload its network layer still
    /// announces it as the validator (nearcore `chain/network/src/accounts_data`), which signs
    /// nothing but leads messages astray. Not before somebody else validates: until then it is the
    /// standby that is ready at once.
    fn refreshes_at(&self) -> Option<Time> {
        let unloaded_at = self.neard.unloaded_at.filter(|_| self.neard.is_up())?;
        if self.tenure.is_some() || self.stopping {
            return None;
        }
        let record = self.view.as_ref().and_then(|view| view.record());
        match record {
            Some(record) if record.state == RecordState::Active => Some(unloaded_at),
            _ => Some(unloaded_at + REFRESH_WAIT),
        }
    }

    pub(super) fn load_key(&mut self, out: &mut Vec<Action>) {
        let Some(tenure) = &self.tenure else { return };
        let text = format!("giving neard the validator key, term {}", tenure.term());
        out.push(Action::Log(Notice::Info(text)));
        let kill_at = tenure.kill_at(self.settings.guard_margin());
        self.armed = Some(kill_at);
        self.neard.swaps(self.now, Key::Loading { since: self.now });
        out.push(Action::LoadKey { kill_at });
    }

    pub(super) fn unload_key(&mut self, out: &mut Vec<Action>) {
        self.neard.swaps(self.now, Key::Unloading { since: self.now });
        out.push(Action::UnloadKey);
        if self.settings.has(Mutant::DisarmBeforeGone) {
            self.disarm(out);
        }
    }

    /// neard has no key: it may run on as long as it likes.
    fn disarm(&mut self, out: &mut Vec<Action>) {
        self.armed = None;
        out.push(Action::DisarmGuard);
    }

    fn suspend(&mut self, out: &mut Vec<Action>) {
        let Some(tenure) = &mut self.tenure else { return };
        tenure.step = Step::Suspending;
        let text = "the lease was not renewed for long: taking the validator key out of neard";
        out.push(Action::Log(Notice::Warning(text.to_owned())));
        self.unload_key(out);
    }

    /// neard says that it has no key. What it signed is at or below its head, but for a block that
    /// it made and is still working on.
    pub(super) fn key_unloaded(&mut self, status: &NeardStatus, out: &mut Vec<Action>) {
        self.neard.unloaded(self.now);
        self.disarm(out);
        let head = self.neard.head().unwrap_or_default().max(status.head);
        let made_up_to = status.made_up_to.unwrap_or(head.saturating_add(1));
        let Some(tenure) = &mut self.tenure else { return };
        tenure.signed = Signed::UpTo { height: head.max(made_up_to), is_bound: made_up_to > head };
        match tenure.step {
            Step::Suspending => tenure.step = Step::Waiting,
            Step::Draining => tenure.release(tenure.release_reason.clone(), self.now),
            Step::Waiting | Step::Promoting { .. } | Step::Active | Step::Releasing => {}
        }
    }

    /// neard was certainly not given the key: it is restarted with it.
    pub(super) fn key_not_loaded(&mut self, why: &str, out: &mut Vec<Action>) {
        if !matches!(self.neard.key, Key::Loading { .. }) {
            return;
        }
        self.neard.key = Key::Out;
        self.disarm(out);
        out.push(Action::Log(Notice::Warning(format!("no hot swap: {why}"))));
        match self.tenure.as_ref().map(|tenure| &tenure.step) {
            Some(Step::Promoting { .. }) => self.promote_by_restart(out),
            _ => self.release("neard was not given the key"),
        }
    }

    /// neard may or may not do what it was told: only its end makes sure.
    pub(super) fn swap_failed(&mut self, why: &str, out: &mut Vec<Action>) {
        if self.neard.swapping_since().is_none() {
            return;
        }
        self.swap_works = false;
        let text = format!("{why}: restarting it, and from now on for every change of the key");
        out.push(Action::Log(Notice::Warning(text)));
        self.neard.key = Key::In;
        if let Some(tenure) = &mut self.tenure
            && tenure.step == Step::Suspending
        {
            tenure.step = Step::Draining;
            why.clone_into(&mut tenure.release_reason);
        }
        self.terminate_neard(self.settings.stop_timeout, out);
    }
}
