//! Traces and metrics on standard output: an enqueue, its first attempt as a child, its second one linked.
//!
//! Run it with `cargo run --example otel --features otel`. Another exporter is another line in `main`.

use mq::prelude::*;
use opentelemetry::trace::{TraceContextExt, Tracer};
use opentelemetry::{Context, global};
use opentelemetry_sdk::metrics::SdkMeterProvider;
use opentelemetry_sdk::trace::SdkTracerProvider;

#[derive(Serialize, Deserialize, Message)]
#[message(kind = "email.welcome", queue = "mail")]
struct SendWelcome {
    user_id: u64,
}

async fn send_welcome(message: SendWelcome, Attempt(attempt): Attempt) -> Outcome {
    let trace = Context::current().span().span_context().trace_id();
    println!(
        "attempt {attempt} for user {} in trace {trace}",
        message.user_id
    );
    match attempt {
        1 => Err(Fail::retry_in(secs(0), "the mail server is busy")),
        _ => Ok(()),
    }
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let traces = SdkTracerProvider::builder()
        .with_simple_exporter(opentelemetry_stdout::SpanExporter::default())
        .build();
    let metrics = SdkMeterProvider::builder()
        .with_periodic_exporter(opentelemetry_stdout::MetricExporter::default())
        .build();
    global::set_tracer_provider(traces.clone());
    global::set_meter_provider(metrics.clone());

    let engine = Engine::open("./data").await?;
    mq::otel::metrics(&engine, &global::meter("mq"));
    let workers = engine.workers().handle(send_welcome).start()?;

    // The enqueue is a child of whatever span it is called in: of a web request, say.
    let request = global::tracer("shop").start("POST /users");
    let sending = {
        let _entered = Context::current_with_span(request).attach();
        engine.enqueue(SendWelcome { user_id: 7 }).submit()?
    };
    sending.await?;

    engine.run_until_empty().await?;
    workers.stop(secs(5)).await;
    metrics.force_flush()?;
    engine.close().await?;
    traces.shutdown()?;
    metrics.shutdown()?;
    Ok(())
}
