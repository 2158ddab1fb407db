//! Going through a scenario with a crash at every point: what is safe to repeat stands it, what is not is found.

use std::panic::{AssertUnwindSafe, catch_unwind};

use mq::prelude::*;
use mq_testing::{Effects, Harness, explore};

use super::{Charge, Notify, charge_of};

/// Charges twice if it is run twice.
async fn charge_naively(message: Charge, State(bank): State<Effects>) -> Outcome {
    bank.happen(format!("charge order {}", message.order)).await;
    Ok(())
}

/// Charges once however often it is run.
async fn charge_safely(message: Charge, State(bank): State<Effects>, ctx: Ctx) -> Outcome {
    let what = format!("charge order {}", message.order);
    bank.happen_once(ctx.id(), what).await;
    ctx.stage(Notify {
        order: message.order,
    })
    .await?;
    Ok(())
}

async fn notify(message: Notify, State(bank): State<Effects>, ctx: Ctx) -> Outcome {
    bank.happen_once(ctx.id(), format!("notify order {}", message.order))
        .await;
    Ok(())
}

#[mq_testing::test(explore, seeds = 2)]
async fn a_handler_with_an_idempotency_key_stands_everything() {
    let bank = Effects::new();
    let t = Harness::new()
        .state(bank.clone())
        .handle(charge_safely)
        .handle(notify);
    let ids = [t.enqueue(charge_of(1)).await, t.enqueue(charge_of(2)).await];
    t.run_until_empty().await;
    for id in ids {
        t.message(id).assert_succeeded();
    }
    for order in 1..=2 {
        bank.assert_times(&format!("charge order {order}"), 1);
        bank.assert_times(&format!("notify order {order}"), 1);
        t.assert_enqueued::<Notify>(|notify| notify.order == order)
            .once();
    }
}

#[test]
fn a_double_charge_is_found_and_said() {
    let found = catch_unwind(AssertUnwindSafe(|| {
        explore(1, || async {
            let bank = Effects::new();
            let t = Harness::new().state(bank.clone()).handle(charge_naively);
            t.enqueue(charge_of(9)).await;
            t.run_until_empty().await;
            bank.assert_nothing_twice();
        })
    }));
    let text = found.expect_err("the planted double charge was not found");
    let text = text.downcast_ref::<String>().expect("a text");
    assert!(
        text.contains("\"charge order 9\" happened 2 times"),
        "{text}"
    );
}

#[test]
fn every_kind_of_trouble_finds_a_double_charge_or_a_lost_one() {
    // What each run did, to see that every kind of trouble came, and that some of them made the handler run again.
    let runs = parking_lot::Mutex::new(Vec::new());
    let explored = explore(1, || async {
        let bank = Effects::new();
        let t = Harness::new().state(bank.clone()).handle(charge_naively);
        t.enqueue(charge_of(9)).await;
        t.run_until_empty().await;
        assert!(bank.times("charge order 9") >= 1, "it was lost");
        let twice = bank.times("charge order 9") > 1;
        runs.lock().push((t.story(), twice));
    });
    let runs = runs.into_inner();
    assert_eq!(runs.len(), explored.runs + 1);
    assert_eq!(explored.left_out, 0);
    let count = |word: &str| {
        runs.iter()
            .filter(|(story, _)| story.contains(word))
            .count()
    };
    let twice = |word: &str| {
        let mut runs = runs.iter();
        runs.any(|(story, twice)| *twice && story.contains(word))
    };
    assert!(count("the power is cut") >= 3);
    assert!(twice("the power is cut"));
    assert!(count("the process dies in a handler") >= 2);
    assert!(twice("the process dies in a handler"));
    assert_eq!(count("late"), 1);
    assert!(twice("late"), "a message whose lease ran out comes again");
    assert_eq!(count("the wall clock jumps"), 1);
}

#[mq_testing::test(explore)]
async fn one_at_a_time_and_blocking_handlers_stand_it_too() {
    fn charge(message: Charge, State(bank): State<Effects>) -> Outcome {
        bank.happen_blocking(message.order);
        Ok(())
    }
    let bank = Effects::new();
    let t = Harness::new().state(bank.clone()).handle_blocking(charge);
    let id = t.enqueue(charge_of(1)).await;
    t.try_run_one().await;
    t.run_until_empty().await;
    t.message(id).assert_succeeded();
    assert!(bank.times("1") >= 1);
}
