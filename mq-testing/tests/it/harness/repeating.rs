//! The same seed does the same, operation by operation; another seed does something else.

use std::sync::Arc;

use mq::duration::millis;
use mq::prelude::*;
use mq_testing::{Harness, TestName, run, run_test};
use parking_lot::Mutex;

use super::{Charge, Notify, charge_of};

/// Everything there is: retries with jitter, staged messages, sleeps, a blocking handler, crashes, many at once.
async fn busy() -> String {
    async fn charge(message: Charge, Attempt(attempt): Attempt, ctx: Ctx) -> Outcome {
        tokio::time::sleep(millis(message.order * 7)).await;
        if attempt < 3 {
            return Err(Fail::retry("no answer"));
        }
        ctx.stage(Notify {
            order: message.order,
        })
        .await?;
        Ok(())
    }
    #[expect(
        clippy::needless_pass_by_value,
        reason = "that is what a handler takes"
    )]
    fn notify(message: Notify, ctx: Ctx) -> Outcome {
        ctx.save_checkpoint(&message.order).wait()?;
        Ok(())
    }
    let mut t = Harness::new()
        .handle_with(charge, |options| options.parallelism(1..=3))
        .handle_blocking(notify);
    for round in 0..3 {
        for order in 0..5 {
            t.enqueue_with(charge_of(order), |request| match order {
                0 | 1 => request.ordering_key("customer-3"),
                _ => request,
            })
            .await;
        }
        t.run_one().await;
        t.start_one().await;
        t = if round == 1 {
            t.kill().await
        } else {
            t.crash().await
        };
    }
    t.run_until_empty().await;
    let t = t.restart().await;
    format!("{}\n{}", t.story(), t.disk().trace())
}

#[test]
fn the_same_seed_does_the_same_and_another_one_something_else() {
    let first = run(7, busy);
    for _ in 0..3 {
        let again = run(7, busy);
        assert_eq!(first, again);
    }
    assert_ne!(first, run(8, busy));
    assert!(first.lines().count() > 250, "{first}");
}

#[test]
fn seeds_follow_each_other_and_come_from_the_name() {
    let seen = Arc::new(Mutex::new(Vec::new()));
    let name = |function| TestName {
        package: "shop",
        module: "shop::tests",
        function,
    };
    for function in ["one", "one", "two"] {
        run_test(name(function), 3, || async {
            seen.lock().push(Harness::new().seed());
        });
    }
    let seen = seen.lock();
    let given = std::env::var("MQ_TEST_SEED").is_ok() || std::env::var("MQ_TEST_SEEDS").is_ok();
    if !given {
        assert_eq!(seen.len(), 9);
        assert_eq!(seen[..3], [seen[0], seen[0] + 1, seen[0] + 2]);
        assert_eq!(seen[..3], seen[3..6]);
        assert_ne!(seen[0], seen[6]);
    }
}

/// What the child process of the next test prints its story behind.
const MARK: &str = "the story of this process: ";

#[test]
fn the_story_of_this_process() {
    let bytes = run(7, busy).into_bytes();
    let digest = bytes.into_iter().fold(0_u64, |digest, byte| {
        digest.wrapping_mul(31).wrapping_add(u64::from(byte))
    });
    println!("{MARK}{digest}");
}

#[test]
fn another_process_does_the_same() {
    let story = || {
        let program = std::env::current_exe().unwrap();
        let name = "harness::repeating::the_story_of_this_process";
        let mut child = std::process::Command::new(program);
        let ended = child
            .args(["--exact", name, "--nocapture"])
            .output()
            .unwrap();
        let printed = String::from_utf8(ended.stdout).unwrap();
        let (_, digest) = printed.split_once(MARK).expect("the story");
        digest.lines().next().map(str::to_owned)
    };
    assert_eq!(story(), story());
}
