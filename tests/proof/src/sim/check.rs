//! What must hold all the time.

use kneard::consul::model::Answer;
use kneard::election::{Content, RecordState, Seen};

use super::World;

/// The last one that signed.
#[derive(Clone, Copy, Debug)]
pub struct Signed {
    host: usize,
    neard: u64,
    /// The head up to which it signed.
    head: u64,
    /// Of the record under which it did, and of the kneard that wrote that.
    term: u64,
    life: u64,
}

impl World<'_> {
    /// Remembers the first thing that does not hold; the run ends with it.
    pub(super) fn violate(&mut self, what: String) {
        let now = self.now;
        self.say_world(|| format!("VIOLATION: {what}"));
        self.violation.get_or_insert((now, what));
    }

    /// S1: a neard has the key from now on.
    pub(super) fn key_loaded(&mut self, host: usize) {
        let others: Vec<usize> = (0..self.hosts.len())
            .filter(|other| *other != host && self.hosts[*other].has_key())
            .collect();
        if !others.is_empty() {
            self.violate(format!("host {host} has the validator key, and so have {others:?}"));
        }
        if self.director.is_calm() && self.director.may_suspend != Some(host) {
            self.violate(format!("the key moves to host {host} without a cause"));
        }
    }

    /// A neard with the key is dead or has unloaded it; its head, if it has signed.
    pub(super) fn key_gone(&mut self, host: usize, neard: u64, signed: Option<u64>) {
        self.stats.tenures += 1;
        self.key_ended = Some(self.now);
        if let Some(head) = signed {
            let from = self.hosts[host].neard.as_ref().map_or(head, |neard| neard.signs_from);
            self.signed_blocks += head.saturating_sub(from);
            let before = self.signed.map_or(0, |signed| signed.head);
            let (term, life) = self.hosts[host].term;
            self.signed = Some(Signed { host, neard, head: head.max(before), term, life });
        }
        let suspended = self.hosts[host].neard.as_ref().is_some_and(|neard| !neard.dead);
        if self.director.is_calm() && suspended && self.director.may_suspend == Some(host) {
            self.stats.suspended += 1;
        } else if self.director.is_calm() {
            self.violate(format!("host {host} loses the key without a cause"));
        }
    }

    /// S3: the first block that it signs on is the one after `head`, and for this height nobody
    /// has signed before.
    pub(super) fn signs_from(&mut self, host: usize, neard: u64, head: u64) {
        if let Some(before) = self.signed.filter(|before| before.neard != neard)
            && head < before.head
        {
            self.violate(format!(
                "neard {neard} of host {host} signs on top of block {head}, neard {} of host {} \
                 has signed on top of {}",
                before.neard, before.host, before.head
            ));
        }
    }

    /// S3: a record that says "released" tells no lie about how high its writer signed.
    pub(super) fn committed(&mut self, host: usize, answer: &Answer) {
        let Answer::Committed(_) = answer else { return };
        let Seen::Entry(entry) = &*self.cluster.newest().seen else { return };
        let Content::Record(record) = &entry.content else { return };
        let (term, state) = (record.term, record.state);
        let (head, is_bound) = (record.head, record.head_is_bound);
        if record.state == RecordState::Active && self.last_term < term {
            self.last_term = term;
            self.stats.terms += 1;
        }
        if state == RecordState::Active {
            self.remember_record(term);
            return;
        }
        if state != RecordState::Released {
            return;
        }
        if self.hosts[host].has_key() {
            self.violate(format!("host {host} releases the lock while its neard has the key"));
        }
        // Another's head is passed on as its last beat told it: a lease has gone by since.
        let known = self.signed.filter(|signed| {
            (signed.host, signed.term, signed.life) == (host, term, self.hosts[host].life)
        });
        if let Some(signed) = known.filter(|signed| signed.head > head) {
            let kind = if is_bound { "at most " } else { "" };
            self.violate(format!(
                "host {host} releases with head {kind}{head}, but neard {} has signed on top of {}",
                signed.neard, signed.head
            ));
        }
    }

    /// The value of a past term's record, for an operator to write by mistake.
    fn remember_record(&mut self, term: u64) {
        let known = self.old_records.last().is_some_and(|(last, _)| *last >= term);
        if !known
            && self.old_records.len() < 8
            && let Some(entry) = self.cluster.entry()
        {
            self.old_records.push((term, entry.value.clone()));
        }
    }
}
