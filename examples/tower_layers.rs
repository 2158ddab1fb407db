//! tower layers around handlers: a span for each attempt, a time limit, a limit that keeps messages in the store, and a
//! layer of one's own.
//!
//! `cargo run --example tower_layers`

use std::task::{Context, Poll};

use mq::prelude::*;
use mq::{AttemptError, AttemptRequest, SharedLayer, TraceLayer};
use tower::layer::layer_fn;
use tower::limit::{ConcurrencyLimitLayer, RateLimitLayer};
use tower::timeout::TimeoutLayer;
use tower::{BoxError, Service};

#[derive(Serialize, Deserialize, Message)]
#[message(kind = "mail.send")]
struct Mail {
    to: String,
}

async fn send(message: Mail) -> Outcome {
    println!("to {}", message.to);
    Ok(())
}

/// Discards the messages of tenants that are gone, before they are decoded.
#[derive(Clone)]
struct OfKnownTenants<S>(S);

impl<S> Service<AttemptRequest> for OfKnownTenants<S>
where
    S: Service<AttemptRequest, Response = mq::AttemptResponse, Error = BoxError>,
    S::Future: Send + 'static,
{
    type Response = mq::AttemptResponse;
    type Error = BoxError;
    type Future = mq::AttemptFuture;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), BoxError>> {
        self.0.poll_ready(context)
    }

    fn call(&mut self, request: AttemptRequest) -> Self::Future {
        if request.ctx().header("tenant") == Some("gone") {
            let gone = AttemptError::from(Fail::discard("the tenant is gone"));
            return Box::pin(async { Err(gone.into()) });
        }
        Box::pin(self.0.call(request))
    }
}

#[tokio::main]
async fn main() -> mq::Result {
    let engine = Engine::open("./data").await?;
    let workers = engine
        .workers()
        .layer(TraceLayer::new()) // outermost: the first one sees an attempt first
        .layer(TimeoutLayer::new(secs(30)))
        .layer(layer_fn(OfKnownTenants))
        .layer(ConcurrencyLimitLayer::new(8))
        .layer(SharedLayer::new(RateLimitLayer::new(100, secs(1)))) // its service is not Clone
        .handle(send)
        .start()?;
    for (to, tenant) in [("ann@example.org", "acme"), ("bob@example.org", "gone")] {
        engine
            .enqueue(Mail { to: to.to_owned() })
            .header("tenant", tenant)
            .await?;
    }
    engine.run_until_empty().await?;
    println!(
        "{:?}",
        engine.admin().pools().first().map(|pool| pool.totals)
    );
    workers.stop(secs(25)).await;
    engine.close().await?;
    Ok(())
}
