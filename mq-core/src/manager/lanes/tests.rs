//! A lane against a plain list, and its size in memory.

use proptest::prelude::*;

use crate::message::Priority;

use super::super::columns::Keys;
use super::*;

fn place() -> Place {
    Place::new(0, Priority::DEFAULT).expect("the first place")
}

fn seq(number: u64) -> Seq {
    Seq::new(number).expect("small")
}

/// A lane with the table its entries stand in.
#[derive(Default)]
struct Rig {
    table: Table,
    lane: Lane,
    last: u64,
}

impl Rig {
    fn add(&mut self, joined: u64) -> Seq {
        self.last += 1;
        let mut entry = Entry::new(self.last, joined, self.last);
        entry.place = place();
        entry.tag = Tag::Limbo;
        self.table.insert(seq(self.last), entry, &Keys::default());
        self.enter(seq(self.last));
        seq(self.last)
    }

    fn enter(&mut self, seq: Seq) {
        let entry = self.table.get_mut(seq).expect("it is there");
        entry.tag = Tag::Ready;
        self.lane.push(seq, entry);
    }

    fn leave(&mut self, seq: Seq) {
        let entry = self.table.get_mut(seq).expect("it is there");
        entry.tag = Tag::Limbo;
        let stood = Standing::of(entry);
        self.lane.remove(seq, &stood, &self.table);
    }

    fn head(&self) -> Option<Seq> {
        self.lane.head(&self.table).map(|head| head.seq)
    }

    fn size(&self) -> usize {
        let slots = self.lane.fresh.chunks.values();
        slots
            .map(|chunk| size_of::<(u64, Chunk)>() + chunk.slots.capacity() * size_of::<i32>())
            .sum()
    }
}

#[test]
fn a_fresh_message_takes_four_bytes_and_little_more() {
    let mut rig = Rig::default();
    for number in 1..=100_000 {
        rig.add(number);
    }
    let per_message = rig.size() / 100_000;
    assert_eq!(per_message, 4);
    assert!(
        size_of::<Entry>() + per_message <= 52, // beside 12 bytes for its place on the disk
        "the promise for plain messages"
    );
}

#[test]
fn a_line_takes_little_before_it_is_used() {
    assert!(size_of::<Line>() <= 192);
}

#[test]
fn slots_of_messages_that_left_do_not_pile_up_behind_one_that_stays() {
    let mut rig = Rig::default();
    let stays = rig.add(1);
    for number in 2..=100_000 {
        let leaves = rig.add(number);
        rig.leave(leaves);
    }
    assert_eq!(rig.head(), Some(stays));
    assert!(rig.size() < 16 << 10, "{} bytes", rig.size());
}

#[derive(Clone, Debug)]
enum Step {
    Fresh,
    Late(u64),
    Leave(usize),
    Return(usize),
    Take,
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        6 => Just(Step::Fresh),
        1 => (1u64..2_000).prop_map(Step::Late),
        3 => any::<usize>().prop_map(Step::Leave),
        2 => any::<usize>().prop_map(Step::Return),
        2 => Just(Step::Take),
    ]
}

proptest! {
    #[test]
    fn a_lane_gives_the_earliest(steps in proptest::collection::vec(step(), 1..2_500)) {
        let mut rig = Rig::default();
        let mut inside: BTreeSet<(u64, u64)> = BTreeSet::new();
        let mut outside: Vec<(u64, u64)> = Vec::new();
        for step in steps {
            match step {
                Step::Fresh => {
                    let seq = rig.add(rig.last + 1);
                    inside.insert((seq.get(), seq.get()));
                }
                Step::Late(joined) => {
                    let seq = rig.add(joined);
                    inside.insert((joined, seq.get()));
                }
                Step::Leave(which) => {
                    let chosen = inside.iter().nth(which % inside.len().max(1)).copied();
                    if let Some(chosen) = chosen {
                        inside.remove(&chosen);
                        outside.push(chosen);
                        rig.leave(seq(chosen.1));
                    }
                }
                Step::Return(which) => {
                    if !outside.is_empty() {
                        let chosen = outside.swap_remove(which % outside.len());
                        inside.insert(chosen);
                        rig.enter(seq(chosen.1));
                    }
                }
                Step::Take => {
                    if let Some(first) = inside.pop_first() {
                        outside.push(first);
                        rig.leave(seq(first.1));
                    }
                }
            }
            prop_assert_eq!(rig.head(), inside.first().map(|(_, number)| seq(*number)));
            prop_assert_eq!(rig.lane.len, u64::try_from(inside.len()).expect("small"));
        }
    }
}
