//! Room: what is full refuses, and settling always works.

use mq_core::command::{
    EnqueueBatch, EnqueueRefused, Operation, Reserve, SettleRefused, Settlement,
};
use mq_core::id::LeaseToken;
use mq_core::index::Terms;
use mq_core::key::DedupPolicy;
use mq_core::limits::COMMAND_EVENTS_MAX;
use mq_core::manager::{Config, DeadFull};
use mq_core::message::{Draft, Edited, Sealed};
use mq_core::state::{DeadReason, State};

use crate::rig::{Rig, deduped, draft, failure, in_queue, retained, secs, sized, succeed};

fn small(messages: u64, bytes: u64) -> Rig {
    let mut rig = Rig::with(Config {
        capacity_messages: messages,
        capacity_bytes: bytes,
        ..Config::default()
    });
    rig.open_pool();
    rig
}

fn full(used: u64, limit: u64, unit: &'static str) -> EnqueueRefused {
    EnqueueRefused::Full { used, limit, unit }
}

fn dead_letter() -> Settlement {
    Settlement::DeadLetter {
        reason: DeadReason::DeadLettered,
        failure: failure("no"),
        note: None,
    }
}

#[test]
fn a_store_full_of_messages_refuses_and_drops_nothing() {
    let mut rig = small(3, 1_000);
    let ids = rig.enqueue_all(vec![draft(); 3]);
    let refused = rig.try_enqueue(draft()).unwrap_err();
    assert_eq!(refused, full(3, 3, "messages"));
    assert_eq!(rig.grant_all(), ids);
    assert_eq!(
        rig.try_enqueue(draft()).unwrap_err(),
        full(3, 3, "messages")
    );
}

#[test]
fn a_store_full_of_bytes_refuses() {
    let mut rig = small(100, 1_000);
    rig.enqueue(sized(600));
    assert_eq!(
        rig.try_enqueue(sized(401)).unwrap_err(),
        full(600, 1_000, "bytes")
    );
    rig.enqueue(sized(400));
}

#[test]
fn a_batch_fits_whole_or_not_at_all() {
    let mut rig = small(10, 1_000);
    rig.enqueue_all(vec![draft(); 5]);
    let drafts = vec![draft(); 6];
    let refused = rig
        .run(&EnqueueBatch {
            drafts: drafts.into(),
        })
        .unwrap_err();
    assert_eq!(refused, full(5, 10, "messages"));
    rig.enqueue_all(vec![draft(); 5]);
}

#[test]
fn a_batch_that_can_never_fit_says_so() {
    let mut rig = small(10, 1_000);
    for drafts in [
        vec![draft(); 11],
        vec![sized(1_001)],
        vec![draft(); COMMAND_EVENTS_MAX + 1],
    ] {
        let refused = rig
            .run(&EnqueueBatch {
                drafts: drafts.into(),
            })
            .unwrap_err();
        assert!(
            matches!(refused, EnqueueRefused::TooLarge { .. }),
            "{refused}"
        );
    }
}

#[test]
fn room_is_free_when_the_event_that_frees_it_is_applied() {
    let mut rig = small(1, 1_000);
    let id = rig.enqueue(draft());
    let token = rig.grant_of(id);
    rig.synced = false;
    rig.settle(token, succeed());
    rig.enqueue(draft());
}

#[test]
fn a_replacement_needs_only_the_difference() {
    let mut rig = small(1, 100);
    let replacing = |size: usize| Draft {
        sealed: Sealed {
            bytes: vec![0; size].into(),
            crc: 0,
        },
        ..deduped(1, DedupPolicy::Replace, 1)
    };
    rig.enqueue(replacing(60));
    let id = rig.enqueue(replacing(100));
    rig.grant_of(id);
    rig.enqueue(replacing(80));
    assert_eq!(rig.manager.stats(&rig.now).live_bytes, 80);
}

#[test]
fn reserved_room_counts_as_used_and_is_there_when_it_is_settled() {
    let mut rig = small(4, 1_000);
    let id = rig.enqueue(draft());
    let token = rig.grant_of(id);
    let reserve = |messages, bytes| Reserve {
        token,
        messages,
        bytes,
    };
    rig.manager.reserve(&reserve(2, 20)).unwrap();
    let refused = rig.manager.reserve(&reserve(2, 20)).unwrap_err();
    assert_eq!(refused, SettleRefused::Staged(full(3, 4, "messages")));
    rig.enqueue(draft());
    assert_eq!(
        rig.try_enqueue(draft()).unwrap_err(),
        full(4, 4, "messages")
    );
    let stats = rig.manager.stats(&rig.now);
    assert_eq!((stats.live_messages, stats.live_bytes), (4, 40));
    rig.try_settle(token, succeed(), vec![draft(), draft()])
        .unwrap();
    let stats = rig.manager.stats(&rig.now);
    assert_eq!((stats.live_messages, stats.live_bytes), (3, 30));
}

#[test]
fn a_reservation_in_bytes_is_given_back_when_the_lease_ends() {
    let ends: [fn(&mut Rig, LeaseToken); 3] = [
        |rig, token| rig.give_back(token),
        |rig, _| rig.pass(secs(30)),
        |rig, token| {
            rig.settle(token, crate::rig::fail());
        },
    ];
    for end in ends {
        let mut rig = small(10, 100);
        let id = rig.enqueue(draft());
        let token = rig.grant_of(id);
        let reserve = Reserve {
            token,
            messages: 1,
            bytes: 90,
        };
        rig.manager.reserve(&reserve).unwrap();
        assert_eq!(
            rig.try_enqueue(sized(1)).unwrap_err(),
            full(100, 100, "bytes")
        );
        end(&mut rig, token);
        rig.enqueue(sized(90));
    }
}

#[test]
fn what_was_not_reserved_is_checked_when_it_is_settled() {
    let mut rig = small(2, 1_000);
    let ids = rig.enqueue_all(vec![draft(); 2]);
    let token = rig.grant_of(ids[0]);
    let refused = rig.try_settle(token, succeed(), vec![draft(), draft()]);
    assert_eq!(
        refused.unwrap_err(),
        SettleRefused::Staged(full(2, 2, "messages"))
    );
    rig.try_settle(token, succeed(), vec![draft()]).unwrap();
}

#[test]
fn settling_works_in_a_full_store() {
    let mut rig = small(3, 30);
    let ids = rig.enqueue_all(vec![draft(); 3]);
    let tokens: Vec<LeaseToken> = ids.iter().map(|id| rig.grant_of(*id)).collect();
    rig.settle(tokens[0], crate::rig::fail());
    rig.settle(tokens[1], dead_letter());
    rig.settle(tokens[2], Settlement::Interrupt);
    let stats = rig.manager.stats(&rig.now);
    assert_eq!((stats.live_messages, stats.live_bytes), (2, 20));
    assert!(stats.dead_bytes >= 10);
}

#[test]
fn full_dead_letters_stop_the_intake_of_the_queue_that_filled_them() {
    let mut rig = Rig::with(Config {
        dead_bytes: 10,
        ..Config::default()
    });
    rig.open_pool();
    let ids = rig.enqueue_all(vec![draft(), draft()]);
    for id in &ids {
        let token = rig.grant_of(*id);
        rig.settle(token, dead_letter());
    }
    let refused = rig.try_enqueue(draft()).unwrap_err();
    assert!(
        matches!(refused, EnqueueRefused::DeadLettersFull { .. }),
        "{refused}"
    );
    rig.enqueue(in_queue("other"));
    let reason = DeadReason::DeadLettered;
    assert_eq!(rig.state(ids[0]), State::Dead { reason }, "never evicted");
    for id in ids {
        rig.operate(id, Operation::Purge).unwrap();
    }
    rig.enqueue(draft());
    assert_eq!(rig.manager.stats(&rig.now).dead_bytes, 0);
}

#[test]
fn full_dead_letters_let_the_oldest_go_if_the_user_chose_so() {
    let mut rig = Rig::with(Config {
        dead_bytes: 40,
        dead_full: DeadFull::EvictOldest,
        ..Config::default()
    });
    rig.open_pool();
    let ids = rig.enqueue_all(vec![draft(), draft(), draft()]);
    let tokens: Vec<LeaseToken> = ids.iter().map(|id| rig.grant_of(*id)).collect();
    // The second dies first.
    for token in [tokens[1], tokens[0], tokens[2]] {
        rig.settle(token, dead_letter());
        rig.pass(secs(1));
        rig.tick();
    }
    let stats = rig.manager.stats(&rig.now);
    assert!(stats.dead_bytes <= 40, "{stats:?}");
    assert!(stats.dead_evicted >= 1, "{stats:?}");
    assert!(rig.is_gone(ids[1]), "it was dead longest");
    assert!(!rig.is_gone(ids[2]), "the last one stays");
    rig.enqueue(draft());
    rig.check_recovery();
}

#[test]
fn a_full_budget_of_completed_messages_lets_the_oldest_go() {
    let mut rig = Rig::with(Config {
        completed_bytes: 25,
        ..Config::default()
    });
    rig.open_pool();
    let ids = rig.enqueue_all(vec![retained(secs(60)); 3]);
    for id in &ids {
        let token = rig.grant_of(*id);
        rig.settle(token, succeed());
        rig.pass(secs(1));
    }
    let stats = rig.manager.stats(&rig.now);
    assert!(stats.completed_bytes <= 25);
    assert!(rig.is_gone(ids[0]));
    assert!(!rig.is_gone(ids[1]) && !rig.is_gone(ids[2]));
    let huge = rig.enqueue(Draft {
        retain: Some(secs(60)),
        ..sized(26)
    });
    let token = rig.grant_of(huge);
    assert_eq!(rig.settle(token, succeed()).state, None, "it can never fit");
    rig.check_recovery();
}

#[test]
fn a_replay_needs_room() {
    let mut rig = small(1, 100);
    let id = rig.enqueue(draft());
    let token = rig.grant_of(id);
    rig.settle(token, dead_letter());
    let other = rig.enqueue(draft());
    rig.operate(id, Operation::Replay { edit: None })
        .unwrap_err();
    rig.operate(other, Operation::Cancel).unwrap();
    let bytes = bytes::Bytes::from_static(b"0123456789abcdef");
    let sealed = Sealed { bytes, crc: 9 };
    let terms = Terms::NONE;
    let edit = Some(Box::new(Edited { sealed, terms }));
    rig.operate(id, Operation::Replay { edit }).unwrap();
    assert_eq!(rig.manager.stats(&rig.now).live_bytes, 16);
    rig.check_recovery();
}
