//! neard, its home and its guard, as far as the key goes. A reload reads the home's key when it
//! likes after its signal and applies what it read when it likes after that, one after the other.

use std::collections::VecDeque;

use kneard::election::{Action, Role};

#[derive(Debug, Default)]
pub struct Host {
    pub alive: bool,
    /// SIGTERM was sent: it may stop, but signs until it does.
    pub terminated: bool,
    /// neard has the key in memory.
    pub loaded: bool,
    /// The key is in the home.
    link: bool,
    /// Reloads that are not over, each with the key that it has read.
    pending: VecDeque<Option<bool>>,
    /// The guard kills neard at this instant.
    pub deadline: Option<u64>,
    /// The end was not told yet.
    untold: bool,
    /// What the shell was told to do and has not done: load (true) or unload.
    ordered: Option<bool>,
}

impl Host {
    /// neard signs now.
    pub fn signs(&self) -> bool {
        self.alive && self.loaded
    }

    /// neard signs, or may load the key without further orders.
    pub fn may_come_to_sign(&self) -> bool {
        let pending = self.pending.iter().any(|read| read.unwrap_or(self.link));
        self.alive && (self.loaded || pending || self.ordered == Some(true))
    }

    pub fn time_passes(&mut self, now: u64) {
        if self.alive && self.deadline.is_some_and(|deadline| now >= deadline) {
            self.dies();
        }
    }

    pub fn dies(&mut self) {
        self.alive = false;
        self.untold = true;
    }

    /// Whether the supervisor is to be told of an end.
    pub fn take_end(&mut self) -> bool {
        let untold = std::mem::take(&mut self.untold);
        if untold {
            *self = Self::default();
        }
        untold
    }

    /// A reload reads the home's key.
    pub fn reload_reads(&mut self) {
        let link = self.link;
        if let Some(read) = self.pending.iter_mut().find(|read| read.is_none()) {
            *read = Some(link);
        }
    }

    /// The oldest reload applies what it has read.
    pub fn reload_applies(&mut self) {
        if let Some(Some(key)) = self.pending.front().copied() {
            self.loaded = key;
            self.pending.pop_front();
        }
    }

    /// The shell does what it was told to do with the home's key, then signals neard. Whether there
    /// was anything to do.
    pub fn shell_acts(&mut self) -> bool {
        let Some(key) = self.ordered.take() else { return false };
        self.link = key;
        self.pending.push_back(None);
        true
    }

    /// It cannot, and neard was told nothing: whether that was an order to load.
    pub fn shell_fails(&mut self) -> Option<bool> {
        self.ordered.take()
    }

    pub fn carry_out(&mut self, action: &Action, now: u64) {
        match action {
            Action::StartNeard(role) => {
                assert!(!self.alive && !self.untold, "a second neard");
                let deadline = match role {
                    Role::Standby => None,
                    Role::Validator { kill_at } => Some(kill_at.as_nanos()),
                };
                let keyed = deadline.is_some();
                *self =
                    Self { alive: true, loaded: keyed, link: keyed, deadline, ..Self::default() };
            }
            Action::TerminateNeard => {
                assert!(self.alive || self.untold, "nobody to stop");
                self.terminated = self.alive;
            }
            // It is dead as soon as the signal is sent; its end is told later.
            Action::KillNeard => {
                assert!(self.alive || self.untold, "nobody to kill");
                if self.alive {
                    self.dies();
                }
            }
            Action::ArmGuard(at) => {
                let at = at.as_nanos();
                assert!(self.deadline.is_none_or(|deadline| deadline < at), "armed backwards");
                self.deadline = Some(at);
            }
            Action::LoadKey { kill_at } => {
                self.deadline = Some(kill_at.as_nanos());
                self.ordered = Some(true);
            }
            Action::UnloadKey => self.ordered = Some(false),
            Action::ReloadNeard => self.pending.push_back(None),
            Action::DisarmGuard => self.deadline = None,
            _ => {}
        }
        self.time_passes(now);
    }
}
