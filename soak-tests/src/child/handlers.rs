//! The handlers: each says that it has the message in hand, works for a while, and says that it is about to finish.

use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, anyhow};
use mq::Workers;
use mq::prelude::*;

use super::Child;
use crate::line::{HandOut, Said};
use crate::plan::{Name, checksum, failures, work};

/// The lease: shorter than some of the stops that the parent makes, so that some run out.
const LEASE: Duration = Duration::from_secs(8);
const BACKOFF: Duration = Duration::from_millis(150);
const ATTEMPTS: u32 = 8;

macro_rules! messages {
    ($($name:ident $kind:literal $queue:literal)*) => {$(
        /// A message of the load.
        #[derive(Clone, Debug, Serialize, Deserialize, Message)]
        #[message(kind = $kind, queue = $queue)]
        pub(super) struct $name {
            /// Who it is.
            pub(super) name: u64,
            /// What it carries.
            pub(super) body: String,
        }

        impl From<Name> for $name {
            fn from(name: Name) -> Self {
                Self { name: name.0, body: name.body() }
            }
        }

        impl Load for $name {
            fn name(&self) -> Name {
                Name(self.name)
            }

            fn body(&self) -> &str {
                &self.body
            }
        }
    )*};
}

/// A message of the load.
trait Load: Message {
    fn name(&self) -> Name;
    fn body(&self) -> &str;
}

messages! {
    Work "soak.work" "work"
    Line "soak.line" "lines"
    Step "soak.step" "chains"
    Flaky "soak.flaky" "work"
    Doomed "soak.doomed" "work"
    Cold "soak.cold" "cold"
}

/// What a schedule sends.
#[derive(Clone, Debug, Serialize, Deserialize, Message)]
#[message(kind = "soak.beat", queue = "beats")]
pub(super) struct Beat {}

/// Kinds that an operator scales, with the most workers each may have.
pub(super) const POOLS: [(&str, usize); 4] = [
    ("soak.work", 12),
    ("soak.line", 8),
    ("soak.step", 8),
    ("soak.flaky", 4),
];

type Shared = State<Arc<Child>>;

fn hand_out(ctx: &Ctx) -> HandOut {
    let token = ctx.token();
    HandOut {
        incarnation: token.incarnation.0,
        delivery: token.delivery,
    }
}

async fn take(child: &Child, message: &impl Load, ctx: &Ctx) {
    let name = message.name();
    child.mouth.say(&Said::Handed {
        name,
        seq: ctx.id().seq().get(),
        hand_out: hand_out(ctx),
        checksum: checksum(message.body()),
    });
    let time = work(name);
    if !time.is_zero() {
        tokio::time::sleep(time).await;
    }
}

fn finish(child: &Child, message: &impl Load, ctx: &Ctx) {
    child.mouth.say(&Said::Finishing {
        name: message.name(),
        seq: ctx.id().seq().get(),
        hand_out: hand_out(ctx),
    });
}

async fn handle_work(message: Work, ctx: Ctx, State(child): Shared) -> Outcome {
    take(&child, &message, &ctx).await;
    finish(&child, &message, &ctx);
    Ok(())
}

async fn handle_line(message: Line, ctx: Ctx, State(child): Shared) -> Outcome {
    take(&child, &message, &ctx).await;
    finish(&child, &message, &ctx);
    Ok(())
}

async fn handle_cold(message: Cold, ctx: Ctx, State(child): Shared) -> Outcome {
    take(&child, &message, &ctx).await;
    finish(&child, &message, &ctx);
    Ok(())
}

async fn handle_step(message: Step, ctx: Ctx, State(child): Shared) -> Outcome {
    take(&child, &message, &ctx).await;
    if let Some(next) = message.name().next_stage() {
        ctx.stage(Step::from(next)).await?;
    }
    finish(&child, &message, &ctx);
    Ok(())
}

async fn handle_flaky(
    message: Flaky,
    Attempt(attempt): Attempt,
    ctx: Ctx,
    State(child): Shared,
) -> Outcome {
    take(&child, &message, &ctx).await;
    if attempt <= failures(message.name().number()) {
        return Err(anyhow!("attempt {attempt} fails").into());
    }
    finish(&child, &message, &ctx);
    Ok(())
}

async fn handle_doomed(message: Doomed, ctx: Ctx, State(child): Shared) -> Outcome {
    take(&child, &message, &ctx).await;
    if ctx.last_attempt().is_none() {
        return Err(Fail::dead_letter(anyhow!("it is doomed")));
    }
    finish(&child, &message, &ctx);
    Ok(())
}

async fn handle_beat(_: Beat, ctx: Ctx, State(child): Shared) -> Outcome {
    child.mouth.say(&Said::Tick {
        seq: ctx.id().seq().get(),
        hand_out: hand_out(&ctx),
    });
    Ok(())
}

/// Registers and starts all of them.
///
/// # Errors
/// The engine refused.
pub(super) fn start(child: &Arc<Child>) -> anyhow::Result<Workers> {
    let retry = Retry::fixed(BACKOFF).max_attempts(ATTEMPTS);
    let [work, line, step, flaky] = POOLS.map(|(_, most)| most);
    child
        .engine
        .workers()
        .state(Arc::clone(child))
        .handle_with(handle_work, move |h| {
            h.parallelism(1..=work).lease(LEASE).retry(retry)
        })
        .handle_with(handle_line, move |h| {
            h.parallelism(1..=line).lease(LEASE).retry(retry)
        })
        .handle_with(handle_step, move |h| {
            h.parallelism(1..=step).lease(LEASE).retry(retry)
        })
        .handle_with(handle_flaky, move |h| {
            h.parallelism(1..=flaky).lease(LEASE).retry(retry)
        })
        .handle_with(handle_doomed, move |h| {
            h.parallelism(1..=2).lease(LEASE).retry(retry)
        })
        .handle_with(handle_cold, |h| h.parallelism(1..=4).lease(LEASE))
        .handle_with(handle_beat, |h| h.parallelism(1..=1).lease(LEASE))
        .start()
        .context("cannot start the workers")
}
