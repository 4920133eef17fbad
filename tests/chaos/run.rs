//! One group of faults after the other, until the time is up.

use std::{
    sync::atomic::{AtomicBool, Ordering},
    thread,
    time::{Duration, Instant},
};

use crate::{
    faults::{self, Heal},
    plan::{Group, Kind, Plan},
    stage::Stage,
    support::wait::{boot_time, millis, secs},
    verdict,
};

/// After the last healing of a group somebody must sign by then: a lease for the longest wait, and
/// for the rest an election of Consul's leader, a restart of kneard and one of neard, on a machine
/// that is busy.
pub const SIGNER_BACK: Duration = secs(40);
/// And all kneards and all Consul servers must be ready by then.
pub const ALL_READY: Duration = secs(90);
const TICK: Duration = millis(20);

/// What came of one planned fault.
pub struct Done {
    pub kind: Kind,
    /// In boot time.
    pub at: Duration,
    /// Whom it hit, or why it could not be made.
    pub made: Result<String, String>,
}

pub struct Played {
    pub number: usize,
    pub done: Vec<Done>,
    /// Boot times.
    pub start: Duration,
    pub healed: Duration,
    /// From the last healing to the first signature after it.
    pub signer_back: Option<Duration>,
    pub all_ready: Option<Duration>,
    pub ended: Duration,
}

#[derive(Default)]
pub struct Course {
    pub groups: Vec<Played>,
    pub failures: Vec<String>,
    pub interrupted: bool,
}

impl Course {
    pub fn skipped(&self) -> usize {
        self.groups.iter().flat_map(|group| &group.done).filter(|done| done.made.is_err()).count()
    }
}

pub fn run(stage: &mut Stage, plan: Plan, span: Duration, stop: &AtomicBool) -> Course {
    let end = Instant::now() + span;
    let mut course = Course::default();
    let mut faults = 0;
    for group in plan {
        // One that would not be over in time is not begun.
        if Instant::now() + group.quiet + group.length() + secs(5) > end {
            break;
        }
        let result = play(stage, &group, &mut faults, stop, &mut course.failures);
        course.groups.push(result);
        if stop.load(Ordering::Relaxed) {
            course.interrupted = true;
            break;
        }
        // At once, and not at the end: what led to it is then still fresh.
        let verdict = verdict::check(&stage.homes(), &stage.pauses);
        if !verdict.is_clean() || !course.failures.is_empty() {
            break;
        }
    }
    course
}

/// Turns the stage until `until` or a stop.
fn pass(stage: &mut Stage, until: Duration, stop: &AtomicBool) {
    while boot_time() < until && !stop.load(Ordering::Relaxed) {
        stage.tick();
        thread::sleep(TICK.min(until.saturating_sub(boot_time())));
    }
}

fn play(
    stage: &mut Stage,
    group: &Group,
    faults: &mut usize,
    stop: &AtomicBool,
    failures: &mut Vec<String>,
) -> Played {
    let number = group.number;
    pass(stage, boot_time() + group.quiet, stop);
    let start = boot_time();
    let mut waiting: Vec<_> = group.faults.clone();
    waiting.sort_by_key(|fault| fault.after);
    waiting.reverse();
    let mut healing: Vec<(Duration, String, Heal)> = Vec::new();
    let mut done = Vec::new();
    loop {
        healing.sort_by_key(|(at, _, _)| std::cmp::Reverse(*at));
        let next_fault = waiting.last().map(|fault| start + fault.after);
        let next_healing = healing.last().map(|(at, _, _)| *at);
        let Some(next) = next_fault.into_iter().chain(next_healing).min() else { break };
        pass(stage, next, stop);
        let stopping = stop.load(Ordering::Relaxed);
        if stopping {
            waiting.clear();
        }
        if !stopping && next_fault == Some(next) {
            let fault = waiting.pop().expect("it is the next");
            *faults += 1;
            let at = boot_time();
            let made = faults::make(stage, *faults, fault.kind);
            let name = fault.kind.name();
            let made = match made {
                Ok(made) => {
                    let line = format!("{name}: {}", made.target);
                    let lasts = match made.heal {
                        Some(_) => format!(", for {:.1} s", fault.lasts.as_secs_f64()),
                        None => String::new(),
                    };
                    stage.timeline.note(format_args!("group {number}: {line}{lasts}"));
                    if let Some(heal) = made.heal {
                        healing.push((boot_time() + fault.lasts, line, heal));
                    }
                    Ok(made.target)
                }
                Err(why) => {
                    stage.timeline.note(format_args!("group {number}: {name}: left out: {why}"));
                    Err(why)
                }
            };
            done.push(Done { kind: fault.kind, at, made });
        } else if let Some((_, line, heal)) = healing.pop() {
            match heal(stage) {
                Ok(()) => stage.timeline.note(format_args!("group {number}: healed: {line}")),
                Err(why) => failures.push(format!("group {number}: {line}: not healed: {why}")),
            }
        }
    }
    // What needs no healing shows its effect within its time.
    pass(stage, start + group.length(), stop);
    let healed = boot_time();
    let mut result =
        Played { number, done, start, healed, signer_back: None, all_ready: None, ended: healed };
    recover(stage, &mut result, stop, failures);
    result
}

fn recover(stage: &mut Stage, result: &mut Played, stop: &AtomicBool, failures: &mut Vec<String>) {
    let (number, healed) = (result.number, result.healed);
    while !stop.load(Ordering::Relaxed) {
        stage.tick();
        let now = boot_time();
        if result.signer_back.is_none() {
            let signature = stage.newest_signature().filter(|at| *at > healed);
            result.signer_back = signature.map(|at| at - healed);
        }
        if result.signer_back.is_some() && stage.is_well() {
            result.all_ready = Some(now - healed);
            let back = result.signer_back.unwrap_or_default().as_secs_f64();
            let ready = (now - healed).as_secs_f64();
            let line = format!("signed {back:.1} s after it, all ready after {ready:.1} s");
            stage.timeline.note(format_args!("group {number}: {line}"));
            break;
        }
        if result.signer_back.is_none() && now > healed + SIGNER_BACK {
            failures.push(format!(
                "group {number}: nobody signs {SIGNER_BACK:?} after the last healing: {}",
                stage.complaint()
            ));
            break;
        }
        if now > healed + ALL_READY {
            failures.push(format!(
                "group {number}: not all ready {ALL_READY:?} after the last healing: {}",
                stage.complaint()
            ));
            break;
        }
        thread::sleep(TICK);
    }
    result.ended = boot_time();
}
