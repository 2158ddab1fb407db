//! The harness that users test their handlers with: what it runs, what it sees, when it fails, and that it repeats itself.

mod calling;
mod crashes;
mod exploring;
mod failing;
mod repeating;
mod running;
mod slow_disk;

use mq::prelude::*;

/// Takes money for an order.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, Message)]
#[message(kind = "charge")]
pub(crate) struct Charge {
    pub(crate) order: u64,
    pub(crate) cents: u64,
}

/// Tells the customer.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, Message)]
#[message(kind = "notify")]
pub(crate) struct Notify {
    pub(crate) order: u64,
}

#[derive(Debug)]
pub(crate) struct Declined;

impl std::fmt::Display for Declined {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("the card was declined")
    }
}

impl std::error::Error for Declined {}

pub(crate) fn charge_of(order: u64) -> Charge {
    Charge { order, cents: 100 }
}

/// Always fails.
pub(crate) async fn decline(_charge: Charge) -> Result<(), Declined> {
    Err(Declined)
}

/// Stages the notification.
pub(crate) async fn charge(message: Charge, ctx: Ctx) -> Outcome {
    ctx.stage(Notify {
        order: message.order,
    })
    .await?;
    Ok(())
}
