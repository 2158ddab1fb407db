//! One handler, called once, without an engine.

use std::io;

use mq::prelude::*;
use mq_testing::{Unit, call};

use super::{Charge, Notify, charge_of};

#[derive(Clone)]
struct Limit(u64);

async fn limited(message: Charge, State(limit): State<Limit>, ctx: Ctx) -> Outcome {
    if message.order > limit.0 {
        return Err(Fail::dead_letter(io::Error::other("over the limit")));
    }
    ctx.stage(Notify {
        order: message.order,
    })
    .delay(secs(5))
    .await?;
    Ok(())
}

async fn undecided(message: Charge, ctx: Ctx) -> Outcome {
    match message.order {
        0 => Err(Fail::snooze(secs(60))),
        1 => Err(Fail::discard(io::Error::other("no such order"))),
        2 => Err(Fail::retry_in(minutes(1), io::Error::other("not yet"))),
        _ => match ctx.header("tenant") {
            Some("acme") => Ok(()),
            _ => Err(io::Error::other("no tenant").into()),
        },
    }
}

#[tokio::test]
async fn a_handler_is_called_with_state_and_shows_its_outcome_and_what_it_staged() {
    let called = Unit::new()
        .state(Limit(9))
        .call(limited, charge_of(7))
        .await;
    called.ran().assert_ok();
    let staged = called.staged::<Notify>();
    assert_eq!(staged.iter().map(|it| it.order).collect::<Vec<_>>(), [7]);
    let called = Unit::new()
        .state(Limit(9))
        .call(limited, charge_of(10))
        .await;
    called.ran().assert_dead("over the limit");
    assert!(
        called.staged::<Notify>().is_empty(),
        "dropped with the failure"
    );
}

#[tokio::test]
async fn every_outcome_is_told_without_an_engine() {
    call(undecided, charge_of(0)).await.ran().assert_snoozed();
    call(undecided, charge_of(1)).await.ran().assert_discarded();
    call(undecided, charge_of(2)).await.ran().assert_retry();
    let refused = call(undecided, charge_of(3)).await;
    refused.ran().assert_retry().assert_error("no tenant");
    let tenant = mq::Outgoing::new(&charge_of(3)).header("tenant", "acme");
    call(undecided, tenant).await.ran().assert_ok();
}
