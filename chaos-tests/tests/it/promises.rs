//! One test for each way in which a queue of this kind is known to have broken its promises, named after the promise.
//! What only concerns handlers and pools is tested where they are: mq-dispatch/tests.

use std::time::Duration;

use bytes::Bytes;
use chaos_tests::machine::{LEASE, Machine, RETRY};
use chaos_tests::puppets::Moment;
use mq::{Engine, Limit};
use mq_core::backend::{EnqueueError, Grant, OperateRequest, SettleError, WhenFull};
use mq_core::command::{Enqueue, EnqueueRefused, Settlement, StaleLease};
use mq_core::id::{MessageId, Seq};
use mq_core::key::{DedupPolicy, Key};
use mq_core::message::{Due, NewMessage};
use mq_core::state::{DeadReason, Failure, State};
use mq_core::view::{Filter, Lookup, MessageView, StateKind};
use mq_testing::crash_points::Crash;
use mq_testing::sim_disk::{CrashMode, Fault, IoKind, SimDisk};

const SUCCEED: Settlement = Settlement::Succeed { result: None };

fn message(payload: &str) -> NewMessage {
    NewMessage::new(
        "orders".parse().unwrap(),
        "order".parse().unwrap(),
        Bytes::from(payload.to_owned()),
    )
}

fn keyed(payload: &str, key: &str, policy: DedupPolicy) -> NewMessage {
    let mut message = message(payload);
    message.envelope.dedup_key = Some(Key::new(key.to_owned()).unwrap());
    message.dedup = Some(policy);
    message
}

fn try_enqueue(machine: &Machine, message: NewMessage) -> Result<MessageId, EnqueueError> {
    let receipts = machine
        .backend()
        .enqueue(vec![message], WhenFull::Refuse)
        .wait()
        .unwrap()?;
    Ok(receipts[0].accepted.id)
}

fn enqueue(machine: &Machine, message: NewMessage) -> MessageId {
    try_enqueue(machine, message).unwrap()
}

fn view(machine: &Machine, id: MessageId) -> Box<MessageView> {
    match machine.backend().message(id).wait().unwrap().unwrap() {
        Lookup::Found(view) => view,
        other => panic!("{id} is {other:?}"),
    }
}

fn fail(text: &str) -> Settlement {
    let failure = Failure {
        error_type: "Declined".to_owned(),
        text: text.to_owned(),
    };
    Settlement::Fail {
        failure,
        retry: RETRY,
        retry_in: None,
    }
}

fn payloads(grants: &[Grant]) -> Vec<&[u8]> {
    grants
        .iter()
        .map(|grant| &grant.envelope.payload[..])
        .collect()
}

fn dead(machine: &Machine) -> Vec<MessageView> {
    let filter = Filter {
        state: Some(StateKind::Dead),
        ..Filter::default()
    };
    machine
        .backend()
        .list(filter, Seq::NONE, 100)
        .wait()
        .unwrap()
        .unwrap()
        .messages
}

/// Everything synced, then the power fails.
fn power_cut(machine: Machine, disk: &SimDisk) -> SimDisk {
    machine.pass(Duration::from_millis(15));
    let left = Crash::Power(CrashMode::LoseAll).strike(disk);
    drop(machine);
    left
}

#[test]
fn a_full_store_refuses_and_drops_nothing() {
    let disk = SimDisk::new();
    let machine =
        Machine::open_with(&disk, 0, |builder| builder.capacity(Limit::messages(64))).unwrap();
    for number in 0..64 {
        enqueue(&machine, message(&format!("m{number}")));
    }
    let held = machine.take(1);
    match try_enqueue(&machine, message("one too many")).unwrap_err() {
        EnqueueError::Refused {
            refused:
                EnqueueRefused::Full {
                    used: 64,
                    limit: 64,
                    ..
                },
            messages,
        } => {
            assert_eq!(
                &messages[0].envelope.payload[..],
                b"one too many",
                "the work comes back"
            );
        }
        other => panic!("{other:?}"),
    }
    machine.settle(&held[0], SUCCEED, Vec::new()).unwrap();
    enqueue(&machine, message("now there is room"));
    let rest = machine.take(100);
    assert_eq!(rest.len(), 64);
    assert_eq!(
        &rest[0].envelope.payload[..],
        b"m1",
        "the oldest is still there"
    );
}

#[test]
fn an_enqueue_that_was_not_synced_is_not_acknowledged() {
    let disk = SimDisk::new();
    let machine = Machine::open(&disk, 0).unwrap();
    enqueue(&machine, message("good"));
    disk.fail_from(IoKind::SyncData, 1, Fault::IoError);
    let error = try_enqueue(&machine, message("bad")).unwrap_err();
    assert!(matches!(error, EnqueueError::Stopped(_)), "{error:?}");
    disk.clear_faults();
    let error = try_enqueue(&machine, message("later")).unwrap_err();
    assert!(
        matches!(error, EnqueueError::Stopped(_)),
        "a failed sync is final: {error:?}"
    );
    assert!(machine.take(5).is_empty(), "nothing is handed out any more");
}

#[test]
fn a_retry_keeps_its_due_time_and_its_reason_over_a_restart() {
    let disk = SimDisk::new();
    let machine = Machine::open(&disk, 0).unwrap();
    let id = enqueue(&machine, message("a"));
    let grants = machine.take(1);
    let retry = Settlement::Fail {
        failure: Failure {
            error_type: "Timeout".to_owned(),
            text: "no answer".to_owned(),
        },
        retry: RETRY,
        retry_in: Some(Duration::from_secs(600)),
    };
    machine.settle(&grants[0], retry, Vec::new()).unwrap();
    let before = view(&machine, id);
    let disk = power_cut(machine, &disk);
    let machine = Machine::open(&disk, 1).unwrap();
    let after = view(&machine, id);
    assert_eq!(after.state, before.state);
    assert!(
        matches!(after.state, State::Scheduled { .. }),
        "{:?}",
        after.state
    );
    assert_eq!(after.tail, before.tail);
    assert_eq!(
        after
            .tail
            .history
            .last()
            .unwrap()
            .failure
            .as_ref()
            .unwrap()
            .text,
        "no answer"
    );
    assert!(machine.take(1).is_empty(), "its back-off is not over");
}

#[test]
fn a_dead_letter_says_why_it_died_and_survives_a_restart() {
    let disk = SimDisk::new();
    let machine = Machine::open(&disk, 0).unwrap();
    let id = enqueue(&machine, message("a"));
    for attempt in 1..=RETRY.failures_max {
        let grants = machine.take(1);
        assert_eq!(grants[0].attempt, attempt);
        machine
            .settle(&grants[0], fail("card declined"), Vec::new())
            .unwrap();
        machine.pass(Duration::from_secs(2));
    }
    let disk = power_cut(machine, &disk);
    let machine = Machine::open(&disk, 1).unwrap();
    let letters = dead(&machine);
    assert_eq!(
        letters.iter().map(|letter| letter.id).collect::<Vec<_>>(),
        [id]
    );
    assert_eq!(
        letters[0].state,
        State::Dead {
            reason: DeadReason::BudgetSpent
        }
    );
    assert_eq!(
        letters[0]
            .tail
            .history
            .last()
            .unwrap()
            .failure
            .as_ref()
            .unwrap()
            .text,
        "card declined"
    );
    machine.pass(Duration::from_secs(3600));
    assert!(
        machine.take(1).is_empty(),
        "a dead letter does not come back by itself"
    );
}

#[test]
fn a_replaced_message_that_waits_frees_its_room_at_once() {
    let disk = SimDisk::new();
    let machine = Machine::open(&disk, 0).unwrap();
    let mut latest = enqueue(&machine, keyed("v0", "sku", DedupPolicy::Replace));
    for version in 1..50 {
        latest = enqueue(
            &machine,
            keyed(&format!("v{version}"), "sku", DedupPolicy::Replace),
        );
    }
    assert_eq!(machine.backend().stats().live_messages, 1);
    let grants = machine.take(10);
    assert_eq!(payloads(&grants), [b"v49"]);
    assert_eq!(grants[0].token.id, latest);
}

#[test]
fn a_superseded_handler_may_finish_and_its_outcome_is_discarded() {
    let disk = SimDisk::new();
    let machine = Machine::open(&disk, 0).unwrap();
    enqueue(&machine, keyed("old", "sku", DedupPolicy::Replace));
    let old = machine.take(1);
    enqueue(&machine, keyed("new", "sku", DedupPolicy::Replace));
    machine
        .settle(
            &old[0],
            fail("too late"),
            vec![message("staged by the old one")],
        )
        .unwrap();
    machine.pass(Duration::from_secs(2));
    let rest = machine.take(10);
    assert_eq!(
        payloads(&rest),
        [b"new"],
        "neither a retry of the old one nor what it staged"
    );
}

#[test]
fn a_replay_keeps_id_headers_and_keys() {
    let disk = SimDisk::new();
    let machine = Machine::open(&disk, 0).unwrap();
    let mut original = keyed("card 1", "sku", DedupPolicy::Reject);
    original
        .envelope
        .headers
        .push(("tenant".to_owned(), "acme".to_owned()));
    let id = enqueue(&machine, original);
    let grants = machine.take(1);
    let failure = Failure {
        error_type: "Declined".to_owned(),
        text: "declined".to_owned(),
    };
    let give_up = Settlement::DeadLetter {
        reason: DeadReason::DeadLettered,
        failure,
        note: None,
    };
    machine.settle(&grants[0], give_up, Vec::new()).unwrap();
    let edit = Some(Bytes::from_static(b"card 2"));
    machine
        .backend()
        .operate(id, OperateRequest::Replay { edit })
        .wait()
        .unwrap()
        .unwrap();
    let disk = power_cut(machine, &disk);
    let machine = Machine::open(&disk, 1).unwrap();
    let refused = try_enqueue(&machine, keyed("again", "sku", DedupPolicy::Reject)).unwrap_err();
    assert!(
        matches!(refused, EnqueueError::Refused { refused: EnqueueRefused::KeyHeld { id: holder }, .. } if holder == id),
        "{refused:?}"
    );
    let grants = machine.take(2);
    assert_eq!(payloads(&grants), [b"card 2"]);
    assert_eq!(grants[0].token.id, id);
    assert_eq!(grants[0].attempt, 1, "a replay has a fresh budget");
    assert_eq!(
        grants[0].envelope.headers,
        [("tenant".to_owned(), "acme".to_owned())]
    );
    assert!(dead(&machine).is_empty());
}

#[test]
fn a_late_answer_is_refused_and_harms_nobody() {
    let disk = SimDisk::new();
    let machine = Machine::open(&disk, 0).unwrap();
    enqueue(&machine, message("a"));
    let late = machine.take(1);
    machine.pass(LEASE + Duration::from_secs(1));
    machine.pass(Duration::from_secs(2));
    let current = machine.take(1);
    assert_eq!(current[0].token.id, late[0].token.id);
    let refused = machine
        .settle(&late[0], SUCCEED, vec![message("staged too late")])
        .unwrap_err();
    assert!(refused.contains("stale"), "{refused}");
    assert_eq!(machine.backend().stats().stale, 1);
    machine.settle(&current[0], SUCCEED, Vec::new()).unwrap();
    assert!(machine.take(1).is_empty());
    assert_eq!(machine.backend().stats().live_messages, 0);
}

/// In the mode in which the operating system syncs when it likes, the next of a line comes when its predecessor's end is written.
#[test]
fn a_weaker_mode_syncs_for_nobodys_turn() {
    let disk = SimDisk::new();
    let buffered = |builder: mq::Builder| builder.durability(mq::Durability::Buffered);
    let machine = Machine::open_with(&disk, 0, buffered).unwrap();
    for text in ["1", "2"] {
        let mut one = message(text);
        one.envelope.ordering_key = Some(Key::new("line".to_owned()).unwrap());
        enqueue(&machine, one);
    }
    let first = machine.take(1).remove(0);
    let before = disk.count_of(IoKind::SyncData);
    machine.settle(&first, SUCCEED, Vec::new()).unwrap();
    assert_eq!(payloads(&machine.take(1)), [b"2"]);
    assert_eq!(disk.count_of(IoKind::SyncData), before);
}

/// Another process may have opened the store since, and handed the message out again.
#[test]
fn an_engine_that_stopped_says_of_no_lease_that_it_goes_on() {
    let disk = SimDisk::new();
    let machine = Machine::open(&disk, 0).unwrap();
    enqueue(&machine, message("1"));
    let token = machine.take(1).remove(0).token;
    let extend = || machine.backend().extend(vec![token], LEASE).wait().unwrap();
    assert_eq!(extend(), [Ok(())]);
    disk.fail_from(IoKind::SyncData, 1, Fault::IoError);
    assert!(try_enqueue(&machine, message("2")).is_err());
    assert_eq!(extend(), [Err(StaleLease { token })]);
    let reserved = machine.backend().reserve(token, 1, 100).wait().unwrap();
    assert!(
        matches!(reserved, Err(SettleError::Stopped(_))),
        "{reserved:?}"
    );
}

/// A handler that was told to give up, by an operator whose word is lost with the power, would be told what never was.
#[test]
fn a_cancel_is_told_to_its_handler_when_it_is_synced() {
    let disk = SimDisk::new();
    let machine = Machine::open(&disk, 0).unwrap();
    let id = enqueue(&machine, message("1"));
    let grants = machine.take(1);
    machine.hold_at(Some((Moment::Before(IoKind::SyncData), 1)));
    let cancel = machine.backend().operate(id, OperateRequest::Cancel);
    machine.commit();
    assert!(machine.is_held());
    assert_eq!(machine.notices(), [], "it is not synced");
    machine.hold_at(None);
    machine.commit();
    cancel.wait().unwrap().unwrap();
    assert_eq!(machine.notices(), [grants[0].token]);
}

#[test]
fn a_lease_of_a_former_opening_is_refused() {
    let disk = SimDisk::new();
    let machine = Machine::open(&disk, 0).unwrap();
    enqueue(&machine, message("a"));
    let old = machine.take(1);
    let disk = power_cut(machine, &disk);
    let machine = Machine::open(&disk, 1).unwrap();
    let current = machine.take(1);
    assert_eq!(current[0].token.id, old[0].token.id);
    assert!(machine.settle(&old[0], SUCCEED, Vec::new()).is_err());
    machine.settle(&current[0], SUCCEED, Vec::new()).unwrap();
}

#[test]
fn duplicates_are_recognised_after_a_crash() {
    let disk = SimDisk::new();
    let machine = Machine::open(&disk, 0).unwrap();
    let idempotent = || {
        let mut message = message("pay 100");
        message.envelope.idempotency_key = Some(Key::new("order-7").unwrap());
        message
    };
    let id = enqueue(&machine, idempotent());
    let kept = enqueue(&machine, keyed("sync", "sku", DedupPolicy::Keep));
    let disk = power_cut(machine, &disk);
    let machine = Machine::open(&disk, 1).unwrap();
    let receipts = machine
        .backend()
        .enqueue(vec![idempotent()], WhenFull::Refuse)
        .wait()
        .unwrap()
        .unwrap();
    assert_eq!(
        (receipts[0].accepted.id, receipts[0].accepted.enqueue),
        (id, Enqueue::Existing)
    );
    assert_eq!(
        enqueue(&machine, keyed("sync", "sku", DedupPolicy::Keep)),
        kept
    );
    for grant in machine.take(5) {
        machine.settle(&grant, SUCCEED, Vec::new()).unwrap();
    }
    let disk = power_cut(machine, &disk);
    let machine = Machine::open(&disk, 2).unwrap();
    assert_eq!(
        enqueue(&machine, idempotent()),
        id,
        "also when the first one is long done"
    );
    assert_eq!(machine.backend().stats().live_messages, 0);
}

#[test]
fn a_message_that_kills_the_process_goes_dead_and_innocents_do_not_pay() {
    let mut disk = SimDisk::new();
    let machine = Machine::open(&disk, 0).unwrap();
    let poison = enqueue(&machine, message("poison"));
    let mut innocents: Vec<MessageId> = (0..5)
        .map(|number| enqueue(&machine, message(&format!("innocent {number}"))))
        .collect();
    let all = machine.take(10);
    assert_eq!(all.len(), 6, "all run when the process dies");
    disk = Crash::Kill.strike(&disk);
    drop(machine);
    for life in 1..=20 {
        let machine = Machine::open(&disk, life).unwrap();
        loop {
            let grants = machine.take(10);
            assert!(
                grants.iter().filter(|grant| grant.suspect).count() <= 1,
                "suspects run one at a time"
            );
            let Some(grant) = grants.first() else { break };
            if grant.token.id == poison {
                break; // the process dies again
            }
            assert!(innocents.contains(&grant.token.id));
            innocents.retain(|innocent| *innocent != grant.token.id);
            machine.settle(grant, SUCCEED, Vec::new()).unwrap();
        }
        if view(&machine, poison).state
            == (State::Dead {
                reason: DeadReason::Crashed,
            })
        {
            assert_eq!(life, 4, "three solo crashes after the first one");
            assert!(innocents.is_empty(), "innocents were done by then");
            return;
        }
        disk = Crash::Kill.strike(&disk);
        drop(machine);
    }
    panic!("it never went dead");
}

#[test]
fn every_way_of_becoming_ready_wakes_a_waiting_pool() {
    let disk = SimDisk::new();
    let machine = Machine::open(&disk, 0).unwrap();
    let mut later = message("restored");
    later.due = Due::After(Duration::from_secs(5));
    enqueue(&machine, later);
    let disk = power_cut(machine, &disk);
    let machine = Machine::open(&disk, 1).unwrap();
    machine.ask(5);
    assert!(machine.taken().is_empty());
    machine.pass(Duration::from_secs(5));
    let restored = machine.taken();
    assert_eq!(
        payloads(&restored),
        [b"restored"],
        "fallen due, without other traffic"
    );
    machine
        .settle(&restored[0], fail("once more"), Vec::new())
        .unwrap();
    machine.pass(Duration::from_secs(2));
    let again = machine.taken();
    assert_eq!(payloads(&again), [b"restored"], "its back-off is over");
    machine
        .settle(&again[0], Settlement::Interrupt, Vec::new())
        .unwrap();
    machine.pass(Duration::from_millis(15));
    let interrupted = machine.taken();
    assert_eq!(payloads(&interrupted), [b"restored"], "given back");
    machine.pass(LEASE + Duration::from_secs(1));
    machine.pass(Duration::from_secs(2));
    assert_eq!(machine.taken().len(), 1, "its lease ran out");
}

#[test]
fn a_paused_queue_stays_paused_over_a_restart_and_resuming_wakes() {
    let disk = SimDisk::new();
    let machine = Machine::open(&disk, 0).unwrap();
    machine
        .backend()
        .pause_queue("orders".parse().unwrap(), true)
        .wait()
        .unwrap()
        .unwrap();
    enqueue(&machine, message("a"));
    let disk = power_cut(machine, &disk);
    let machine = Machine::open(&disk, 1).unwrap();
    machine.ask(1);
    assert!(machine.taken().is_empty());
    machine
        .backend()
        .pause_queue("orders".parse().unwrap(), false)
        .wait()
        .unwrap()
        .unwrap();
    machine.commit();
    assert_eq!(machine.taken().len(), 1);
}

#[test]
fn snapshots_replace_nothing_before_they_are_whole() {
    let disk = SimDisk::new();
    let machine = Machine::open(&disk, 0).unwrap();
    for number in 0..40 {
        enqueue(&machine, message(&format!("{number:06000}")));
        machine.maintain();
    }
    let snapshots = |disk: &SimDisk| {
        disk.file_names()
            .iter()
            .filter(|name| name.starts_with("snap"))
            .count()
    };
    assert!(
        snapshots(&disk) >= 2,
        "two generations are kept: {:?}",
        disk.file_names()
    );
    for seed in 0..20 {
        let disk = Crash::Power(CrashMode::Subset(seed)).strike(&disk.fork());
        let machine = Machine::open(&disk, 1).unwrap();
        assert_eq!(machine.backend().stats().live_messages, 40);
    }
}

#[test]
fn a_drop_without_close_flushes_and_counts_no_crash() {
    let disk = SimDisk::new();
    let machine = Machine::open(&disk, 0).unwrap();
    enqueue(&machine, message("a"));
    let held = machine.take(1);
    assert_eq!(held.len(), 1);
    machine.let_go().unwrap();
    let disk = Crash::Power(CrashMode::LoseAll).strike(&disk);
    let machine = Machine::open(&disk, 1).unwrap();
    let again = machine.take(1);
    assert_eq!(payloads(&again), [b"a"]);
    assert!(!again[0].suspect, "an orderly end makes no suspects");
}

#[test]
fn an_enqueue_after_close_is_refused_with_its_reason() {
    let disk = SimDisk::new();
    let mut machine = Machine::open(&disk, 0).unwrap();
    machine.close().unwrap();
    let error = try_enqueue(&machine, message("late")).unwrap_err();
    assert!(error.to_string().contains("closed"), "{error}");
}

#[test]
fn two_engines_in_one_process_do_not_know_each_other() {
    let one = Engine::in_memory().open_wait().unwrap();
    let other = Engine::in_memory().open_wait().unwrap();
    one.enqueue_raw(message("a")).wait().unwrap();
    assert_eq!(
        (one.stats().live_messages, other.stats().live_messages),
        (1, 0)
    );
}

#[test]
fn closing_hands_nothing_out_any_more() {
    let disk = SimDisk::new();
    let mut machine = Machine::open(&disk, 0).unwrap();
    enqueue(&machine, message("running"));
    machine.ask(5);
    assert_eq!(machine.taken().len(), 1, "four permits are left");
    // The close makes the message ready again: none of the four permits may be spent on it.
    machine.close().unwrap();
    assert!(machine.taken().is_empty());
    let machine = Machine::open(&disk, 1).unwrap();
    let grants = machine.take(5);
    assert_eq!(payloads(&grants), [b"running"]);
    assert!(!grants[0].suspect, "an orderly end makes no suspects");
}

#[test]
fn everybody_who_closes_is_answered() {
    let engine = Engine::in_memory().open_wait().unwrap();
    let closers: Vec<_> = (0..8)
        .map(|_| {
            let engine = engine.clone();
            std::thread::spawn(move || engine.close_wait())
        })
        .collect();
    closers
        .into_iter()
        .for_each(|closer| closer.join().unwrap().unwrap());
}

#[test]
fn a_receipt_never_claims_more_than_was_achieved() {
    let disk = SimDisk::new();
    let machine = Machine::open_with(&disk, 0, |builder| {
        builder.durability(mq::Durability::Buffered)
    })
    .unwrap();
    let request = || {
        let mut message = message("once");
        message.envelope.idempotency_key = Some(Key::new("order-7").unwrap());
        machine
            .backend()
            .enqueue(vec![message], WhenFull::Refuse)
            .wait()
            .unwrap()
            .unwrap()[0]
    };
    let (first, again) = (request(), request());
    assert_eq!(first.durability, mq::Achieved::Written);
    assert_eq!(
        (again.durability, again.accepted.enqueue),
        (mq::Achieved::Written, Enqueue::Existing)
    );
}

#[test]
fn a_full_disk_refuses_in_time_is_emptied_while_full_and_takes_more() {
    let disk = SimDisk::with_capacity(4 << 20);
    let machine = Machine::open_with(&disk, 0, |builder| {
        builder.capacity(Limit::messages(100_000))
    })
    .unwrap();
    for cycle in 0..3 {
        let mut stored = 0;
        let refused = loop {
            match try_enqueue(&machine, message(&format!("{stored:08000}"))) {
                Ok(_) => stored += 1,
                Err(error) => break error,
            }
            machine.maintain();
            assert!(stored < 1_000, "the disk never became full");
        };
        let EnqueueError::Refused {
            refused: EnqueueRefused::Full { unit, .. },
            messages,
        } = &refused
        else {
            panic!("cycle {cycle}: {refused:?}")
        };
        assert_eq!((*unit, messages.len()), ("bytes of disk", 1));
        assert!(stored > 50, "cycle {cycle}: only {stored} fitted");
        let mut handled = 0;
        while machine.backend().stats().live_messages > 0 {
            for grant in machine.take(4) {
                machine.settle(&grant, SUCCEED, Vec::new()).unwrap();
                handled += 1;
            }
            machine.maintain();
        }
        assert_eq!(handled, stored, "cycle {cycle}");
        machine.pass(Duration::from_millis(15));
        machine.maintain();
    }
}
