//! The value of the election key: a record within its bounds, or unreadable.

use std::time::Duration;

use arbitrary::Unstructured;
use kneard::consul::KvEntry;
use kneard::election::{Content, Record, RecordState, Seen};
use kneard::supervisor::election_key;
use serde_json::{Value, json};

const LONGEST: Duration = Duration::from_secs(60);

pub fn run(data: &[u8]) {
    check(data);
    let mut input = Unstructured::new(data);
    if let Ok(record) = hostile(&mut input) {
        check(record.to_string().as_bytes());
    }
    reports(data);
}

/// A record with every field of the right type and any value.
fn hostile(input: &mut Unstructured<'_>) -> arbitrary::Result<Value> {
    let number = |input: &mut Unstructured<'_>| {
        Ok(match input.int_in_range(0..=5)? {
            0 => u64::MAX,
            1 => u64::MAX / 2,
            2 => 0,
            3 => 60_000,
            4 => 60_001,
            _ => input.arbitrary()?,
        })
    };
    let mut record = json!({
        "version": *input.choose(&[1, 1, 1, 0, 2])?,
        "holder": input.arbitrary::<String>()?,
        "instance": input.arbitrary::<String>()?,
        "hostname": "h",
        "term": number(input)?,
        "beat": number(input)?,
        "lease_ms": number(input)?,
        "head": number(input)?,
        "head_is_bound": input.arbitrary::<bool>()?,
        "state": *input.choose(&["pending", "active", "released", "gone"])?,
        "reason": input.arbitrary::<String>()?,
    });
    if input.arbitrary()? {
        record["successor"] = json!(input.arbitrary::<String>()?);
        record["added later"] = json!([1]);
    }
    Ok(record)
}

fn check(value: &[u8]) {
    let content = Content::parse(value);
    let Some(record) = content.record() else {
        // Nobody is let in on the strength of it.
        assert_eq!(content, Content::Unreadable);
        return;
    };
    assert!(record.lease() > Duration::ZERO && record.lease() <= LONGEST);
    assert_reads_as_written(record);
    // Every write has a mark of its own.
    let next = record.next();
    assert!(next.beat > record.beat);
    assert_reads_as_written(&next);
    let released = record.after_crash("neard is dead");
    assert_reads_as_written(&released);
    assert!(released.head >= record.head && released.term == record.term);
    // Only an active record proves that nobody before its writer signs.
    let lets_in = released.state == RecordState::Released;
    assert_eq!(lets_in, record.state != RecordState::Pending);
    assert_ne!(released.mark(), record.mark());
}

fn assert_reads_as_written(record: &Record) {
    if record.beat > u64::MAX / 2 {
        return; // one further than is believed
    }
    let written = serde_json::to_vec(record).expect("plain data");
    assert_eq!(Content::parse(&written), Content::Record(record.clone()));
    let entry = KvEntry {
        key: "k".to_owned(),
        value: written,
        flags: 0,
        session: None,
        lock_index: 1,
        create_index: 1,
        modify_index: 2,
    };
    match election_key::seen(Some(entry)) {
        Seen::Entry(entry) => assert_eq!(entry.content.record(), Some(record)),
        Seen::Missing => panic!("an entry is not missing"),
    }
}

/// What nodes publish, read for its lease only.
fn reports(data: &[u8]) {
    let entries: Vec<KvEntry> = data
        .split(|byte| *byte == 0)
        .map(|value| KvEntry {
            key: "n".to_owned(),
            value: value.to_vec(),
            flags: 0,
            session: None,
            lock_index: 0,
            create_index: 1,
            modify_index: 1,
        })
        .collect();
    let longest = election_key::longest_lease(&entries);
    let each = entries.iter().filter_map(|e| election_key::longest_lease(std::slice::from_ref(e)));
    assert_eq!(longest, each.max());
}
