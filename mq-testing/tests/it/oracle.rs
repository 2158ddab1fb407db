//! Each promise, broken once: the oracle names the message, and stays silent when the promise was kept.

use mq_testing::oracle::{Ending, Oracle, Submission, Survives, Verdict};

fn plain(id: u64) -> Submission {
    Submission::plain(id.to_string())
}

fn ordered(id: u64) -> Submission {
    Submission {
        ordering_key: Some(b"key".to_vec()),
        ..plain(id)
    }
}

fn dedup(id: u64) -> Submission {
    Submission {
        dedup_key: Some(b"key".to_vec()),
        ..plain(id)
    }
}

fn with(submissions: impl IntoIterator<Item = (u64, Submission)>) -> Oracle<u64> {
    let mut oracle = Oracle::new();
    for (id, submission) in submissions {
        oracle.submitted(id, submission);
        oracle.answered(id, Survives::PowerLoss);
    }
    oracle
}

fn deliver(oracle: &mut Oracle<u64>, id: u64) {
    oracle.delivered(id, id.to_string().as_bytes());
}

fn work(oracle: &mut Oracle<u64>, id: u64) {
    deliver(oracle, id);
    oracle.settle_submitted(id);
    oracle.settled(id, Survives::PowerLoss);
}

/// The verdict's only complaint is the one that `expected` makes.
fn assert_only(verdict: &Verdict<u64>, expected: impl FnOnce(&mut Verdict<u64>)) {
    let mut clean = Oracle::<u64>::new().so_far();
    expected(&mut clean);
    assert_eq!(*verdict, clean);
    assert!(!verdict.is_clean());
}

#[test]
fn a_kept_promise_is_no_offence() {
    let mut oracle = with((0..4).map(|id| (id, ordered(id))));
    work(&mut oracle, 0);
    deliver(&mut oracle, 1);
    oracle.settle_submitted(1);
    oracle.ended(Ending::PowerLost);
    for id in 1..4 {
        work(&mut oracle, id);
    }
    assert!(oracle.when_empty().is_clean(), "{}", oracle.when_empty());
}

#[test]
fn an_answered_message_that_does_not_come_back_is_lost() {
    let mut oracle = with([(1, plain(1)), (2, plain(2))]);
    oracle.ended(Ending::PowerLost);
    work(&mut oracle, 2);
    assert!(
        oracle.so_far().is_clean(),
        "before it was run empty nothing is missing"
    );
    assert_only(&oracle.when_empty(), |verdict| verdict.lost.push(1));
}

#[test]
fn a_message_seen_in_an_earlier_life_only_is_lost() {
    let mut oracle = with([(1, plain(1))]);
    oracle.ended(Ending::Killed);
    deliver(&mut oracle, 1);
    oracle.ended(Ending::Killed);
    assert_only(&oracle.when_empty(), |verdict| verdict.lost.push(1));
}

#[test]
fn a_message_that_was_never_answered_may_come_back_or_not() {
    let mut oracle = Oracle::new();
    oracle.submitted(1, plain(1));
    oracle.submitted(2, plain(2));
    oracle.ended(Ending::PowerLost);
    work(&mut oracle, 1);
    assert!(oracle.when_empty().is_clean());
}

#[test]
fn a_message_once_seen_is_lost_like_an_answered_one() {
    let mut oracle = Oracle::new();
    oracle.submitted(1, plain(1));
    oracle.ended(Ending::Killed);
    deliver(&mut oracle, 1);
    oracle.ended(Ending::PowerLost);
    assert_only(&oracle.when_empty(), |verdict| verdict.lost.push(1));
}

#[test]
fn a_message_only_written_is_owed_after_a_kill_and_not_after_a_loss_of_power() {
    let mut oracle = Oracle::new();
    oracle.submitted(
        1,
        Submission {
            durability: Survives::Kill,
            ..plain(1)
        },
    );
    oracle.answered(1, Survives::Kill);
    let mut killed = oracle.clone();
    killed.ended(Ending::Killed);
    assert_only(&killed.when_empty(), |verdict| verdict.lost.push(1));
    oracle.ended(Ending::PowerLost);
    assert!(oracle.when_empty().is_clean());
}

#[test]
fn a_message_nobody_submitted_or_that_was_refused_is_unexpected() {
    let mut oracle = Oracle::new();
    oracle.submitted(1, plain(1));
    oracle.refused(1);
    deliver(&mut oracle, 1);
    deliver(&mut oracle, 9);
    assert_only(&oracle.so_far(), |verdict| verdict.unexpected = vec![1, 9]);
}

#[test]
fn other_bytes_than_were_submitted_are_noticed() {
    let mut oracle = with([(1, plain(1))]);
    oracle.delivered(1, b"one");
    oracle.delivered_unknown(b"noise");
    assert_only(&oracle.so_far(), |verdict| {
        verdict.altered.push(1);
        verdict.unknown_payloads.push(b"noise".to_vec());
    });
}

#[test]
fn a_settled_message_that_comes_back_is_resurrected() {
    let mut oracle = with([(1, plain(1))]);
    work(&mut oracle, 1);
    oracle.ended(Ending::PowerLost);
    deliver(&mut oracle, 1);
    assert_only(&oracle.so_far(), |verdict| verdict.resurrected.push(1));
}

#[test]
fn a_settlement_only_written_may_be_undone_by_a_loss_of_power() {
    let mut oracle = with([(1, plain(1))]);
    deliver(&mut oracle, 1);
    oracle.settle_submitted(1);
    oracle.settled(1, Survives::Kill);
    let mut killed = oracle.clone();
    killed.ended(Ending::Killed);
    deliver(&mut killed, 1);
    assert_only(&killed.so_far(), |verdict| verdict.resurrected.push(1));
    oracle.ended(Ending::PowerLost);
    deliver(&mut oracle, 1);
    assert!(oracle.so_far().is_clean());
}

#[test]
fn a_message_handed_out_again_while_it_is_being_settled_is_repeated() {
    let mut oracle = with([(1, plain(1))]);
    deliver(&mut oracle, 1);
    oracle.settle_submitted(1);
    deliver(&mut oracle, 1);
    assert_only(&oracle.so_far(), |verdict| verdict.repeated.push(1));
}

#[test]
fn a_refused_settlement_leaves_the_message_owed() {
    let mut oracle = with([(1, plain(1))]);
    deliver(&mut oracle, 1);
    oracle.settle_submitted_with(1, [(2, plain(2))]);
    oracle.settle_refused(1);
    deliver(&mut oracle, 1);
    assert!(oracle.so_far().is_clean());
    deliver(&mut oracle, 2);
    assert!(oracle.so_far().unexpected == [2]);
}

#[test]
fn a_successor_handed_out_before_its_predecessor_is_settled_is_out_of_order() {
    let mut oracle = with([(1, ordered(1)), (2, ordered(2))]);
    deliver(&mut oracle, 1);
    deliver(&mut oracle, 2);
    assert_only(&oracle.so_far(), |verdict| {
        verdict.out_of_order.push((1, 2))
    });
}

#[test]
fn a_predecessor_that_comes_back_after_its_successor_was_seen_is_out_of_order() {
    let mut oracle = with([(1, ordered(1)), (2, ordered(2))]);
    deliver(&mut oracle, 1);
    oracle.settle_submitted(1);
    deliver(&mut oracle, 2);
    oracle.ended(Ending::PowerLost);
    deliver(&mut oracle, 1);
    assert_only(&oracle.so_far(), |verdict| {
        verdict.out_of_order.push((1, 2))
    });
}

#[test]
fn messages_submitted_at_the_same_time_have_no_order() {
    let mut oracle = Oracle::new();
    for id in [1, 2] {
        oracle.submitted(id, ordered(id));
    }
    for id in [1, 2] {
        oracle.answered(id, Survives::PowerLoss);
    }
    work(&mut oracle, 2);
    work(&mut oracle, 1);
    assert!(oracle.when_empty().is_clean());
}

#[test]
fn two_live_messages_with_one_dedup_key_are_rivals() {
    let mut oracle = with([(1, dedup(1)), (2, dedup(2))]);
    deliver(&mut oracle, 1);
    deliver(&mut oracle, 2);
    assert_only(&oracle.so_far(), |verdict| verdict.rivals.push((1, 2)));
}

#[test]
fn two_messages_with_one_dedup_key_restored_together_are_rivals() {
    let mut oracle = with([(1, dedup(1)), (2, dedup(2))]);
    oracle.ended(Ending::PowerLost);
    work(&mut oracle, 1);
    work(&mut oracle, 2);
    assert_only(&oracle.when_empty(), |verdict| verdict.rivals.push((1, 2)));
}

#[test]
fn a_dedup_key_is_free_again_when_its_message_was_settled() {
    let mut oracle = with([(1, dedup(1))]);
    work(&mut oracle, 1);
    oracle.submitted(2, dedup(2));
    oracle.answered(2, Survives::PowerLoss);
    work(&mut oracle, 2);
    assert!(oracle.when_empty().is_clean());
}

#[test]
fn half_a_batch_is_split() {
    let mut oracle = Oracle::new();
    oracle.batch_submitted([(1, plain(1)), (2, plain(2))]);
    oracle.ended(Ending::PowerLost);
    work(&mut oracle, 1);
    assert_only(&oracle.when_empty(), |verdict| {
        verdict.split.push((None, vec![1, 2]))
    });
}

#[test]
fn staged_messages_come_with_the_settlement_or_not_at_all() {
    let mut oracle = with([(1, plain(1))]);
    deliver(&mut oracle, 1);
    oracle.settle_submitted_with(1, [(2, plain(2)), (3, plain(3))]);
    let answered_then_lost = {
        let mut oracle = oracle.clone();
        oracle.settled(1, Survives::PowerLoss);
        oracle.ended(Ending::PowerLost);
        oracle
    };
    assert_only(&answered_then_lost.when_empty(), |verdict| {
        verdict.lost = vec![2, 3]
    });
    oracle.ended(Ending::PowerLost);
    let mut neither_took_effect = oracle.clone();
    work(&mut neither_took_effect, 1);
    assert!(neither_took_effect.when_empty().is_clean());
    let mut both = oracle;
    deliver(&mut both, 1);
    deliver(&mut both, 2);
    assert_only(&both.so_far(), |verdict| {
        verdict.split.push((Some(1), vec![2]))
    });
}

#[test]
fn a_settlement_that_did_not_take_effect_leaves_the_message_owed() {
    let mut oracle = with([(1, ordered(1)), (2, ordered(2))]);
    deliver(&mut oracle, 1);
    oracle.settle_submitted(1);
    oracle.ended(Ending::PowerLost);
    deliver(&mut oracle, 1);
    assert_eq!(oracle.owed(), [1, 2]);
    let mut overtaken = oracle.clone();
    deliver(&mut overtaken, 2);
    assert_only(&overtaken.so_far(), |verdict| {
        verdict.out_of_order.push((1, 2))
    });
    oracle.ended(Ending::PowerLost);
    work(&mut oracle, 2);
    assert!(oracle.when_empty().lost.contains(&1));
}

#[test]
fn a_dead_letter_is_owed_and_never_handed_out() {
    let mut oracle = with([(1, plain(1))]);
    deliver(&mut oracle, 1);
    oracle.burial_submitted(1);
    oracle.buried(1, Survives::PowerLoss);
    oracle.ended(Ending::PowerLost);
    assert_only(&oracle.when_empty(), |verdict| verdict.lost.push(1));
    let mut kept = oracle.clone();
    kept.present(1, b"1");
    assert!(kept.when_empty().is_clean());
    deliver(&mut oracle, 1);
    assert_only(&oracle.when_empty(), |verdict| verdict.resurrected.push(1));
}

#[test]
fn a_dead_letter_frees_its_keys_and_a_replay_joins_the_tail() {
    let keys = |id| Submission {
        dedup_key: Some(b"key".to_vec()),
        ..ordered(id)
    };
    let mut oracle = with([(1, keys(1)), (2, ordered(2))]);
    deliver(&mut oracle, 1);
    oracle.burial_submitted(1);
    oracle.buried(1, Survives::PowerLoss);
    work(&mut oracle, 2);
    oracle.submitted(3, keys(3));
    oracle.answered(3, Survives::PowerLoss);
    work(&mut oracle, 3);
    oracle.replay_submitted(1);
    work(&mut oracle, 1);
    assert!(oracle.when_empty().is_clean(), "{}", oracle.when_empty());
}

#[test]
fn a_burial_that_a_crash_undid_may_be_tried_again() {
    let mut oracle = with([(1, ordered(1)), (2, ordered(2))]);
    deliver(&mut oracle, 1);
    oracle.burial_submitted(1);
    oracle.ended(Ending::PowerLost);
    deliver(&mut oracle, 1);
    assert!(oracle.so_far().is_clean());
    deliver(&mut oracle, 2);
    assert_only(&oracle.so_far(), |verdict| {
        verdict.out_of_order.push((1, 2))
    });
}
