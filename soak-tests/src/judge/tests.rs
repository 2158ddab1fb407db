//! The judge must notice: each test breaks one promise and expects exactly that verdict.

use super::*;
use crate::plan::mix;

const PLAN: Plan = Plan { cold: 0 };

fn hand_out(delivery: u32) -> HandOut {
    HandOut {
        incarnation: 1,
        delivery,
    }
}

fn name_of(class: Class) -> Name {
    let number = (8..10_000).find(|number| PLAN.class(*number) == class);
    Name::first_stage(number.unwrap())
}

/// A judge, and what the child says in the shortest way.
struct Play(Judge);

impl Play {
    fn new() -> Self {
        Self(Judge::new(PLAN))
    }

    fn submit(&mut self, name: Name) {
        self.0.hear(&Said::Submitted(name));
    }

    fn answer(&mut self, name: Name, seq: u64) {
        self.0.hear(&Said::Answered {
            name,
            seq,
            micros: 1,
            is_new: true,
        });
    }

    fn enqueue(&mut self, name: Name, seq: u64) {
        self.submit(name);
        self.answer(name, seq);
    }

    fn hand(&mut self, name: Name, seq: u64, delivery: u32) {
        self.0.hear(&Said::Handed {
            name,
            seq,
            hand_out: hand_out(delivery),
            checksum: name.checksum(),
        });
    }

    fn finish(&mut self, name: Name, seq: u64, delivery: u32) {
        self.0.hear(&Said::Finishing {
            name,
            seq,
            hand_out: hand_out(delivery),
        });
    }

    fn done(&mut self, seq: u64) {
        self.0.hear(&Said::Told {
            seq,
            fate: Fate::Done,
        });
    }

    fn audit(&mut self, number: u64, seqs: &[u64]) {
        self.0.hear(&Said::AuditBegins(number));
        self.0.hear(&Said::Listed(seqs.to_vec()));
        self.0.hear(&Said::AuditEnds(number));
    }

    fn verdict(&self) -> [u64; 4] {
        let counts = self.0.counts();
        [
            counts.lost,
            counts.resurrected,
            counts.altered,
            counts.other,
        ]
    }
}

#[test]
fn an_orderly_life_breaks_nothing() {
    let (mut play, name) = (Play::new(), name_of(Class::Plain));
    play.audit(0, &[]);
    play.enqueue(name, 1);
    play.audit(1, &[1]);
    play.hand(name, 1, 1);
    play.finish(name, 1, 1);
    play.done(1);
    play.audit(2, &[]);
    play.0.hear(&Said::Drained);
    play.0.finish();
    assert_eq!(play.verdict(), [0; 4]);
}

#[test]
fn one_missing_acknowledged_message_is_noticed_at_once() {
    let mut play = Play::new();
    play.enqueue(name_of(Class::Plain), 1);
    play.audit(1, &[]);
    assert_eq!(play.verdict(), [1, 0, 0, 0]);
}

#[test]
fn one_missing_message_that_was_in_hand_is_noticed_and_one_about_to_finish_is_not() {
    let (mut play, name) = (Play::new(), name_of(Class::Plain));
    play.enqueue(name, 1);
    play.hand(name, 1, 1);
    play.finish(name, 1, 1);
    play.0.died();
    play.audit(0, &[]);
    assert_eq!(play.verdict(), [0; 4], "its success took effect");

    let mut play = Play::new();
    play.enqueue(name, 1);
    play.hand(name, 1, 1);
    play.0.died();
    play.audit(0, &[]);
    assert_eq!(play.verdict(), [1, 0, 0, 0]);
}

#[test]
fn what_the_first_listing_decided_stays_so() {
    let (mut play, name) = (Play::new(), name_of(Class::Plain));
    play.enqueue(name, 1);
    play.hand(name, 1, 1);
    play.finish(name, 1, 1);
    play.0.died();
    play.audit(0, &[]);
    play.0.died();
    play.audit(0, &[1]);
    assert_eq!(play.verdict(), [0, 1, 0, 0]);

    let mut play = Play::new();
    play.enqueue(name, 1);
    play.hand(name, 1, 1);
    play.finish(name, 1, 1);
    play.0.died();
    play.audit(0, &[1]);
    play.0.died();
    play.audit(0, &[]);
    assert_eq!(
        play.verdict(),
        [1, 0, 0, 0],
        "it was there, and no handler had it since"
    );
}

#[test]
fn a_done_message_that_comes_back_is_noticed_and_a_late_start_is_not() {
    let (mut play, name) = (Play::new(), name_of(Class::Plain));
    play.enqueue(name, 1);
    play.hand(name, 1, 2);
    play.finish(name, 1, 2);
    play.done(1);
    play.hand(name, 1, 1);
    assert_eq!((play.verdict(), play.0.counts().late_starts), ([0; 4], 1));
    play.hand(name, 1, 3);
    assert_eq!(play.verdict(), [0, 1, 0, 0]);
}

#[test]
fn other_bytes_and_strangers_are_noticed() {
    let (mut play, name) = (Play::new(), name_of(Class::Plain));
    play.enqueue(name, 1);
    play.0.hear(&Said::Handed {
        name,
        seq: 1,
        hand_out: hand_out(1),
        checksum: name.checksum() ^ 1,
    });
    assert_eq!(play.verdict(), [0, 0, 1, 0]);
    play.hand(Name(mix(1) % 1_000_000 * GROUP), 9, 1);
    assert_eq!(play.verdict(), [0, 0, 1, 1]);
}

#[test]
fn a_successor_before_its_predecessor_is_noticed() {
    let first = name_of(Class::Ordered);
    let key = ordering_key(first.number());
    let is_second = |number: &u64| {
        *number > first.number()
            && PLAN.class(*number) == Class::Ordered
            && ordering_key(*number) == key
    };
    let second = Name::first_stage((0..100_000).find(is_second).unwrap());
    let mut play = Play::new();
    play.enqueue(first, 1);
    play.enqueue(second, 2);
    play.hand(second, 2, 1);
    play.hand(first, 1, 1);
    assert_eq!(play.verdict(), [0, 0, 0, 1]);
}

#[test]
fn one_idempotency_key_for_two_messages_is_noticed() {
    let (mut play, name) = (Play::new(), name_of(Class::Once));
    play.enqueue(name, 1);
    play.answer(name, 1);
    assert_eq!(play.verdict(), [0; 4]);
    play.answer(name, 2);
    assert_eq!(play.verdict(), [0, 0, 0, 1]);
}

#[test]
fn a_staged_message_before_the_success_of_its_stager_is_noticed_and_a_missing_one_too() {
    let (mut play, name) = (Play::new(), name_of(Class::Chain));
    let next = name.next_stage().unwrap();
    play.enqueue(name, 1);
    play.hand(next, 2, 1);
    assert_eq!(play.verdict(), [0, 0, 0, 1]);

    let mut play = Play::new();
    play.enqueue(name, 1);
    play.hand(name, 1, 1);
    play.finish(name, 1, 1);
    play.done(1);
    play.0.hear(&Said::Drained);
    play.0.finish();
    assert_eq!(play.verdict(), [1, 0, 0, 0]);
}

#[test]
fn a_torn_batch_is_noticed_at_the_end() {
    let mut play = Play::new();
    let name = name_of(Class::Batch);
    let first = name.number() / GROUP * GROUP;
    play.0.hear(&Said::BatchSubmitted { number: first });
    play.hand(Name::first_stage(first), 1, 1);
    play.0.hear(&Said::Drained);
    play.0.finish();
    assert_eq!(play.verdict(), [0, 0, 0, 1]);
}
