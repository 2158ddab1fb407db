//! Every expectation fails when it should, with a text that says what happened instead.

use std::future::Future;
use std::panic::{AssertUnwindSafe, catch_unwind};

use mq::prelude::*;
use mq_core::view::StateKind;
use mq_testing::{Harness, Observed, Ran, TestName, run, run_test};

use super::{Charge, Notify, charge, charge_of, decline};

/// The text of the panic.
fn text_of(failing: impl FnOnce()) -> String {
    let panic = catch_unwind(AssertUnwindSafe(failing)).expect_err("it did not fail");
    let text = panic.downcast_ref::<String>().cloned();
    text.or_else(|| panic.downcast_ref::<&str>().map(|text| (*text).to_owned()))
        .expect("a text")
}

/// The text with which a scenario fails.
fn failure_of<F: Future<Output = ()>>(scenario: impl FnOnce() -> F) -> String {
    text_of(|| run(1, scenario))
}

#[track_caller]
fn says(text: &str, parts: &[&str]) {
    for part in parts {
        assert!(text.contains(part), "{part:?} is not in: {text}");
    }
}

#[mq_testing::test]
async fn attempts_that_ended_otherwise_say_how() {
    let t = Harness::new().handle(decline);
    t.enqueue(charge_of(9)).await;
    let failed = t.run_one().await;
    let expectations: [fn(Ran); 7] = [
        |ran| drop(ran.assert_ok()),
        |ran| drop(ran.assert_dead("")),
        |ran| drop(ran.assert_snoozed()),
        |ran| drop(ran.assert_discarded()),
        |ran| drop(ran.assert_cancelled()),
        |ran| drop(ran.assert_interrupted()),
        |ran| drop(ran.assert_lease_lost()),
    ];
    for expectation in expectations {
        let text = text_of(|| expectation(failed.clone()));
        says(
            &text,
            &["expected", "message #1 (charge), attempt 1: failed"],
        );
        says(&text, &["the card was declined", "it is scheduled now"]);
    }
    let other = text_of(|| drop(failed.clone().assert_error("no money")));
    says(&other, &["an error with \"no money\" in it", "Declined"]);
    let result = text_of(|| drop(failed.result::<String>()));
    says(&result, &["expected a result", "failed"]);
}

#[mq_testing::test]
async fn an_attempt_that_succeeded_is_no_retry() {
    let t = Harness::new().handle(charge);
    t.enqueue(charge_of(9)).await;
    let succeeded = t.run_one().await;
    let text = text_of(|| drop(succeeded.assert_retry()));
    says(
        &text,
        &["that will be tried again", "succeeded", "left the store"],
    );
}

#[mq_testing::test]
async fn an_attempt_that_was_the_last_is_no_retry() {
    let t = Harness::new().handle_with(decline, |options| {
        options.retry(Retry::default().max_attempts(1))
    });
    t.enqueue(charge_of(9)).await;
    let dead = t.run_one().await.assert_dead("Declined");
    let text = text_of(|| drop(dead.clone().assert_retry()));
    says(&text, &["it is dead: budget_spent"]);
    let text = text_of(|| drop(dead.assert_dead("stolen")));
    says(&text, &["with \"stolen\" in its reason or error"]);
}

#[mq_testing::test]
async fn messages_that_are_something_else_show_their_history() {
    let t = Harness::new().handle(decline);
    let id = t.enqueue(charge_of(9)).await;
    t.run_until_empty().await;
    let dead = t.message(id);
    let expectations: [fn(Observed); 9] = [
        |message| drop(message.assert_succeeded()),
        |message| drop(message.assert_discarded()),
        |message| drop(message.assert_ready()),
        |message| drop(message.assert_scheduled()),
        |message| drop(message.assert_state(StateKind::Held)),
        |message| drop(message.assert_gone()),
        |message| drop(message.assert_attempts(3)),
        |message| drop(message.assert_failures(3)),
        |message| drop(message.assert_result(&5)),
    ];
    for expectation in expectations {
        let text = text_of(|| expectation(dead.clone()));
        says(
            &text,
            &["expected message #1 to be", "it is dead (budget_spent)"],
        );
        says(&text, &["after 20 attempts, 20 of them failures"]);
        says(
            &text,
            &["attempt 20: failed, the card was declined", "Declined"],
        );
    }
    let text = text_of(|| drop(dead.clone().assert_dead("stolen")));
    says(
        &text,
        &["dead, with \"stolen\"", "it is dead (budget_spent)"],
    );
    let text = text_of(|| drop(dead.clone().assert_error("stolen")));
    says(&text, &["an error with \"stolen\"", "declined"]);
    let done = Harness::new().handle(charge);
    let id = done.enqueue(charge_of(1)).await;
    done.run_until_empty().await;
    let text = text_of(|| drop(done.message(id).assert_dead("")));
    says(
        &text,
        &["it has left the store (succeeded) after 1 attempts"],
    );
}

#[mq_testing::test]
async fn messages_that_were_not_enqueued_are_counted_and_shown() {
    let t = Harness::new().handle(charge);
    t.enqueue(charge_of(9)).await;
    t.run_until_empty().await;
    let text = text_of(|| {
        t.assert_enqueued::<Notify>(|notify| notify.order == 8)
            .once()
    });
    says(&text, &["expected 1 × notify like that, found 0 among 1"]);
    says(&text, &["{\"order\":9}"]);
    let text = text_of(|| t.assert_enqueued::<Notify>(|_| true).never());
    says(&text, &["expected 0 × notify", "found 1"]);
    let text = text_of(|| t.assert_enqueued::<Charge>(|_| true).times(2));
    says(&text, &["expected 2 × charge", "found 1 among 1"]);
}

#[mq_testing::test]
async fn an_id_of_another_store_is_not_taken_for_one_that_is_done() {
    let other = Harness::new();
    let id = other.enqueue(charge_of(1)).await;
    let t = Harness::new().handle(charge);
    t.enqueue(charge_of(1)).await;
    let text = text_of(|| drop(t.message(id)));
    says(&text, &["never issued", "1 × charge ready"]);
}

#[test]
fn running_one_of_nothing_says_what_there_is() {
    let text = failure_of(|| async {
        let t = Harness::new().handle(charge);
        t.enqueue_with(charge_of(1), |request| request.delay(hours(1)))
            .await;
        t.enqueue(Notify { order: 1 }).await;
        t.run_one().await;
    });
    says(
        &text,
        &["no message is ready to run", "1 × charge scheduled"],
    );
    says(&text, &["1 × notify ready (no handler takes this kind)"]);
}

#[test]
fn a_message_that_snoozes_for_ever_is_a_livelock() {
    async fn snoozes(_message: Charge) -> Outcome {
        Err(Fail::snooze(secs(1)))
    }
    let text = failure_of(|| async {
        let t = Harness::new().handle(snoozes).attempts_max(50);
        t.enqueue(charge_of(1)).await;
        t.run_until_empty().await;
    });
    says(
        &text,
        &["run_until_empty: livelock: 50 attempts of 1 messages"],
    );
    says(&text, &["#1 charge: 51 attempts, the last one snoozed"]);
}

#[test]
fn a_handler_that_stages_its_own_kind_for_ever_is_a_livelock() {
    async fn again(message: Charge, ctx: Ctx) -> Outcome {
        ctx.stage(charge_of(message.order + 1)).await?;
        Ok(())
    }
    let text = failure_of(|| async {
        let t = Harness::new().handle(again).attempts_max(50);
        t.enqueue(charge_of(1)).await;
        t.run_until_empty().await;
    });
    says(&text, &["livelock: 50 attempts of 51 messages"]);
}

#[test]
fn a_handler_that_waits_for_ever_is_named() {
    async fn hangs(_message: Charge) -> Outcome {
        std::future::pending().await
    }
    let text = failure_of(|| async {
        let t =
            Harness::new().handle_with(hangs, |options| options.timeout(std::time::Duration::MAX));
        t.enqueue(charge_of(1)).await;
        t.run_one().await;
    });
    says(
        &text,
        &["run_one: a handler waits for something that does not come"],
    );
    says(&text, &["#1 charge, attempt 1"]);
}

#[test]
fn handlers_that_cannot_be_started_are_listed() {
    async fn needs(_message: Charge, State(_missing): State<u32>) -> Outcome {
        Ok(())
    }
    let text = failure_of(|| async {
        let t = Harness::new().handle(needs).handle(charge);
        t.enqueue(charge_of(1)).await;
    });
    says(
        &text,
        &["the handlers could not be started", "u32", "charge"],
    );
}

#[test]
fn a_handler_that_comes_late_is_refused() {
    let text = failure_of(|| async {
        let t = Harness::new();
        t.enqueue(charge_of(1)).await;
        drop(t.handle(charge));
    });
    says(&text, &["register state, handlers and options before"]);
}

#[test]
fn an_enqueue_that_is_refused_says_why() {
    let text = failure_of(|| async {
        let t = Harness::new();
        t.enqueue_with(charge_of(1), |request| request.priority(10))
            .await;
    });
    says(&text, &["charge could not be enqueued", "10"]);
}

#[test]
fn a_harness_outside_of_a_simulated_world_says_what_is_missing() {
    let text = text_of(|| drop(Harness::new()));
    says(&text, &["#[mq_testing::test]", "mq_testing::run"]);
}

#[test]
fn a_test_that_returns_an_error_fails_with_it() {
    let name = TestName {
        package: "shop",
        module: "shop::tests",
        function: "it_returns_an_error",
    };
    let text = text_of(|| run_test(name, 1, || async { Err("no such table") }));
    says(&text, &["no such table"]);
}
