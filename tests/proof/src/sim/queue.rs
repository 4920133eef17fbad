//! What is going to happen, in the order of time and then of planning.

use std::cmp::Ordering;
use std::collections::BinaryHeap;

struct Planned {
    at: u64,
    number: u64,
    slot: u32,
}

impl Planned {
    fn key(&self) -> (u64, u64) {
        (self.at, self.number)
    }
}

impl PartialEq for Planned {
    fn eq(&self, other: &Self) -> bool {
        self.key() == other.key()
    }
}

impl Eq for Planned {}

impl PartialOrd for Planned {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Planned {
    /// The earliest is the greatest, as the heap wants it.
    fn cmp(&self, other: &Self) -> Ordering {
        other.key().cmp(&self.key())
    }
}

pub struct Queue<T> {
    heap: BinaryHeap<Planned>,
    items: Vec<Option<T>>,
    free: Vec<u32>,
    number: u64,
}

impl<T> Queue<T> {
    pub fn new() -> Self {
        Queue { heap: BinaryHeap::new(), items: Vec::new(), free: Vec::new(), number: 0 }
    }

    pub fn push(&mut self, at: u64, item: T) {
        self.number += 1;
        let slot = match self.free.pop() {
            Some(slot) => {
                self.items[slot as usize] = Some(item);
                slot
            }
            None => {
                self.items.push(Some(item));
                u32::try_from(self.items.len() - 1).expect("fewer than 2^32 things are planned")
            }
        };
        self.heap.push(Planned { at, number: self.number, slot });
    }

    pub fn pop(&mut self) -> Option<(u64, T)> {
        let planned = self.heap.pop()?;
        self.free.push(planned.slot);
        let item = self.items[planned.slot as usize].take()?;
        Some((planned.at, item))
    }
}

#[cfg(test)]
mod tests {
    use super::Queue;

    #[test]
    fn items_come_by_time_and_those_of_one_instant_as_they_were_planned() {
        let mut queue = Queue::new();
        for (at, item) in [(5, 'c'), (1, 'a'), (5, 'd'), (2, 'b')] {
            queue.push(at, item);
        }
        let order: Vec<_> = std::iter::from_fn(|| queue.pop()).collect();
        assert_eq!(order, [(1, 'a'), (2, 'b'), (5, 'c'), (5, 'd')]);
    }
}
