//! The state machine: takes in events, keeps what is known, and asks for what is due.

mod candidate;
mod holder;
mod operate;
mod supervise;
mod swap;

use std::fmt;
use std::time::Duration;

use super::doppelganger::{Doppelganger, Finding};
use super::neard::Neard;
use super::session::Session;
use super::tenure::{HeadRule, Tenure};
use super::view::{Past, View};
use super::{
    Action, Event, ExitReason, Notice, Outcome, Record, Seen, SessionId, Settings, Step, Time,
    Transition, Write,
};

/// How soon a request to Consul that failed is repeated while it matters.
const RETRY: Duration = Duration::from_millis(100);
/// The same for what can wait.
const SLOW_RETRY: Duration = Duration::from_secs(1);

/// What kneard is doing. The names are those of the metric `kuutamod_state`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum State {
    /// neard is being started and has not answered yet.
    Startup,
    /// neard answers and is catching up with the chain.
    Syncing,
    /// neard is in sync; a Consul session is being created.
    Registering,
    /// A hot standby.
    Voting,
    /// neard was started with the validator key.
    Validating,
    /// kneard is about to end.
    Shutdown,
}

impl State {
    /// In the order of their names, as the exporter prints them.
    pub const ALL: [State; 6] = [
        State::Registering,
        State::Shutdown,
        State::Startup,
        State::Syncing,
        State::Validating,
        State::Voting,
    ];

    /// A sentence for humans.
    pub fn sentence(self) -> &'static str {
        match self {
            State::Startup => "starting neard",
            State::Syncing => "waiting for neard to catch up with the chain",
            State::Registering => "creating a session in Consul",
            State::Voting => "standing by, ready to take over",
            State::Validating => "holding the validator key",
            State::Shutdown => "stopping",
        }
    }
}

impl fmt::Display for State {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(self, f)
    }
}

/// The election of one account as one node takes part in it, and the supervision of its neard.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Machine {
    settings: Settings,
    neard: Neard,
    session: Session,
    /// What a candidate sees of the key; `None` before the first sight and while holding the lock.
    view: Option<View>,
    tenure: Option<Tenure>,
    /// The one request on the election key that is under way.
    request: Option<Request>,
    /// An attempt at the lock that may have come through.
    unknown_claim: Option<Claim>,
    /// How many attempts at the lock were sent; any of them may still be under way.
    claims_sent: u64,
    /// The view is known to be out of date.
    must_refresh: bool,
    next_id: u64,
    highest_term: u64,
    past: Past,
    doppelganger: Doppelganger,
    /// A candidate asks nothing of Consul before this.
    retry_at: Time,
    asking_leases: bool,
    watching: bool,
    /// When the guard kills a neard that has the key.
    armed: Option<Time>,
    /// neard has loaded or unloaded the key whenever it was to, so far.
    swap_works: bool,
    /// Takeovers are forbidden.
    paused: bool,
    /// The height at which neard ends by itself, to be started anew as what it was.
    planned_restart: Option<u64>,
    stopping: bool,
    /// What the exit at the end of stopping will say.
    exit_reason: ExitReason,
    exited: bool,
    /// The state that was last reported.
    reported: State,
    /// The worst complaint about Consul since it last answered.
    complaint: Option<Complaint>,
    now: Time,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash)]
struct Request {
    id: u64,
    sent: Time,
    what: What,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash)]
enum What {
    Claim(Claim),
    /// A beat or a release.
    Write(Write),
    Read,
}

/// An attempt at the lock, and what holds if it succeeded.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
struct Claim {
    sent: Time,
    session: SessionId,
    record: Record,
    safe_at: Time,
    /// The key was missing: for how long from this attempt's commit on somebody may sign whose
    /// record came and went unseen.
    unseen: Option<Duration>,
    head: HeadRule,
}

/// From what may pass by itself to what does not.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
enum Complaint {
    NoAnswer,
    NotAllowed,
}

impl Machine {
    pub fn new(settings: Settings, now: Time) -> Self {
        Machine {
            neard: Neard::new(now),
            session: Session::None { retry_at: now },
            view: None,
            tenure: None,
            request: None,
            unknown_claim: None,
            claims_sent: 0,
            must_refresh: false,
            next_id: 0,
            highest_term: 0,
            past: Past::new(settings.lease, now),
            doppelganger: Doppelganger::new(settings.doppelganger_check),
            retry_at: now,
            asking_leases: false,
            watching: false,
            armed: None,
            swap_works: true,
            paused: false,
            planned_restart: None,
            stopping: false,
            exit_reason: ExitReason::Stopped,
            exited: false,
            reported: State::Startup,
            complaint: None,
            settings,
            now,
        }
    }

    /// Takes in an event and returns what is to be done, in this order. `now` must not be later
    /// than the instant at which the first of the actions is carried out.
    pub fn handle(&mut self, now: Time, event: Event) -> Vec<Action> {
        let mut out = Vec::new();
        if self.exited {
            return out;
        }
        self.now = self.now.max(now);
        self.apply(event, &mut out);
        self.drive(&mut out);
        self.report(&mut out);
        out
    }

    /// When [`Event::Tick`] is due if nothing else happens before.
    pub fn next_timeout(&self) -> Option<Time> {
        if self.exited {
            return None;
        }
        // What is due already waits for something else than time.
        self.supervision_timeouts()
            .into_iter()
            .chain(self.holder_timeouts())
            .chain(self.candidate_timeouts())
            .flatten()
            .filter(|at| *at > self.now)
            .min()
    }

    /// Derived from what is known, so that it cannot disagree with it.
    pub fn state(&self) -> State {
        if self.stopping {
            State::Shutdown
        } else if self.tenure.as_ref().is_some_and(Tenure::is_promoted) {
            // Until neard is started with the key this is the standby that it was.
            if self.neard.keyed() { State::Validating } else { State::Voting }
        } else if !self.neard.is_up() {
            State::Startup
        } else if !self.neard.in_sync() {
            State::Syncing
        } else if self.session.id().is_none() {
            State::Registering
        } else {
            State::Voting
        }
    }

    pub fn settings(&self) -> &Settings {
        &self.settings
    }

    /// The newest record known: the own one while holding the lock.
    pub fn record(&self) -> Option<&Record> {
        match &self.tenure {
            Some(tenure) => Some(&tenure.record),
            None => self.view.as_ref()?.record(),
        }
    }

    /// The session that held the lock when last seen.
    pub fn lock_holder(&self) -> Option<&SessionId> {
        match &self.tenure {
            Some(tenure) => Some(&tenure.session),
            None => self.view.as_ref()?.session(),
        }
    }

    pub fn session(&self) -> Option<&SessionId> {
        self.session.id()
    }

    /// How far this node's own tenure is.
    pub fn step(&self) -> Option<&Step> {
        self.tenure.as_ref().map(|tenure| &tenure.step)
    }

    /// The end of this node's lease; `None` when it does not hold the lock.
    pub fn lease_expires(&self) -> Option<Time> {
        self.tenure.as_ref().map(|tenure| tenure.lease.expires())
    }

    /// A neard with the key may be alive although the lease from the last beat is over: the guard
    /// has failed to kill it.
    pub fn is_overdue(&self, now: Time) -> bool {
        let over = |armed| now >= armed + self.settings.kill_margin;
        self.neard.keyed() && self.armed.is_some_and(over)
    }

    /// neard's head as last told.
    pub fn head(&self) -> Option<u64> {
        self.neard.head()
    }

    /// The height at which neard ends by itself, to be started anew as what it was.
    pub fn planned_restart(&self) -> Option<u64> {
        self.planned_restart
    }

    /// A neard process with the key may be alive.
    pub fn may_sign(&self) -> bool {
        self.neard.keyed()
    }

    /// Something that kneard does not manage signs with the key.
    pub fn signs_elsewhere(&self) -> bool {
        self.doppelganger.is_found()
    }

    /// Numbers the request under way 1 and forgets how many there were before it, for a model
    /// checker, to which runs that differ in nothing else are the same. No answer to an earlier
    /// request or question may be under way. Returns whether there is a request.
    #[cfg(feature = "mutants")]
    pub fn renumber(&mut self) -> bool {
        self.neard.forget_questions();
        self.next_id = u64::from(self.request.is_some());
        self.request.as_mut().map(|request| request.id = 1).is_some()
    }

    fn apply(&mut self, event: Event, out: &mut Vec<Action>) {
        match event {
            Event::Tick | Event::NeardStarted => {}
            Event::NeardNotStarted(why) | Event::NeardExited(why) => self.neard_exited(&why, out),
            Event::NeardFinished(why) => self.neard_finished(&why, out),
            Event::KeyNotLoaded(why) => self.key_not_loaded(&why, out),
            Event::KeyNotUnloaded(why) => self.swap_failed(&why, out),
            Event::GuardSilent => self.guard_silent(out),
            Event::Status { id, result } => self.status(id, result, out),
            Event::Duties(result) => self.duties(result, out),
            Event::SessionCreated(result) => self.session_created(result, out),
            Event::SessionRenewed(result) => self.session_renewed(result, out),
            Event::Watched(seen) => self.watched(seen),
            Event::Leases(result) => self.leases(result, out),
            Event::Read { id, result } => {
                if self.request.take_if(|request| request.id == id).is_some() {
                    self.read(result, out);
                }
            }
            Event::Written { id, outcome } => {
                if let Some(request) = self.request.take_if(|request| request.id == id) {
                    self.written(request, outcome, out);
                }
            }
            Event::Switchover { to } => self.switch_over(to, out),
            Event::Paused(paused) => self.pause(paused, out),
            Event::RestartPlanned(height) => self.plan_restart(height, out),
            Event::RestartNeard => self.restart_neard(out),
            Event::Stop => self.stop(out),
        }
    }

    fn drive(&mut self, out: &mut Vec<Action>) {
        self.enforce_lease(out);
        self.drive_stop(out);
        self.drive_neard(out);
        self.drive_swap(out);
        self.drive_holder(out);
        self.drive_candidate(out);
        self.drive_question(out);
        self.drive_session(out);
        self.drive_watch(out);
        self.drive_exit(out);
    }

    fn read(&mut self, result: Result<Seen, String>, out: &mut Vec<Action>) {
        match result {
            Ok(seen) => {
                self.consul_answers(out);
                if self.tenure.is_some() {
                    self.holder_read(seen, out);
                } else {
                    self.candidate_read(seen, out);
                }
            }
            Err(why) => {
                self.complain(Complaint::NoAnswer, why, out);
                match &mut self.tenure {
                    Some(tenure) => tenure.next_write = self.now + RETRY,
                    None => self.retry_at = self.now + RETRY,
                }
            }
        }
    }

    fn written(&mut self, request: Request, outcome: Outcome, out: &mut Vec<Action>) {
        match &outcome {
            Outcome::Committed(_) => self.consul_answers(out),
            Outcome::Unknown(why) => self.complain(Complaint::NoAnswer, why.clone(), out),
            Outcome::Refused(super::Refusal::NotAllowed, why) => {
                self.complain(Complaint::NotAllowed, why.clone(), out);
            }
            Outcome::Refused(_, _) => {}
        }
        match request.what {
            What::Claim(claim) => self.claim_answered(claim, outcome, out),
            What::Write(write) => self.holder_write_answered(write, request.sent, outcome, out),
            What::Read => {}
        }
    }

    fn send_write(&mut self, write: Write, claim: Option<Claim>, out: &mut Vec<Action>) {
        let id = self.take_id();
        let what = match claim {
            Some(claim) => What::Claim(claim),
            None => What::Write(write.clone()),
        };
        self.request = Some(Request { id, sent: self.now, what });
        out.push(Action::Commit { id, write });
    }

    fn send_read(&mut self, out: &mut Vec<Action>) {
        let id = self.take_id();
        self.request = Some(Request { id, sent: self.now, what: What::Read });
        out.push(Action::ReadKey { id });
    }

    fn take_id(&mut self) -> u64 {
        self.next_id += 1;
        self.next_id
    }

    /// Logs a complaint about Consul, once: further ones name other addresses and times, but until
    /// it answers again they are no news.
    fn complain(&mut self, complaint: Complaint, why: String, out: &mut Vec<Action>) {
        if self.complaint < Some(complaint) {
            out.push(Action::Log(Notice::Error(why)));
            self.complaint = Some(complaint);
        }
    }

    fn consul_answers(&mut self, out: &mut Vec<Action>) {
        if self.complaint.take().is_some() {
            out.push(Action::Log(Notice::Info("Consul answers again".to_owned())));
        }
    }

    fn report(&mut self, out: &mut Vec<Action>) {
        let (from, to) = (self.reported, self.state());
        if from != to {
            self.reported = to;
            // Before an exit, which is the last thing that anyone carries out.
            let last = matches!(out.last(), Some(Action::Exit(_)));
            let at = out.len() - usize::from(last);
            out.insert(at, Action::Changed(Transition { from, to }));
        }
    }
}
