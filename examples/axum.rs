//! Embedded in a web service: a request enqueues and is answered when the work is safe; the service's stop is the queue's.
//!
//! `cargo run --example axum`

use axum::extract::{Path, State as App};
use axum::http::StatusCode;
use axum::routing::{get, post};
use axum::{Json, Router};
use mq::prelude::*;

#[derive(Serialize, Deserialize, Message)]
#[message(kind = "image.resize")]
struct Resize {
    url: String,
}

async fn resize(message: Resize) -> Outcome {
    println!("resizing {}", message.url);
    Ok(())
}

/// 202 with the message's id once it is on the disk; 503 when the store pushes back.
async fn accept(App(engine): App<Engine>, Json(body): Json<Resize>) -> (StatusCode, String) {
    let key = body.url.clone();
    match engine.try_enqueue(body).idempotency_key(key).await {
        Ok(receipt) => (StatusCode::ACCEPTED, receipt.accepted.id.to_string()),
        Err(error) => (StatusCode::SERVICE_UNAVAILABLE, error.to_string()),
    }
}

async fn show(App(engine): App<Engine>, Path(id): Path<String>) -> (StatusCode, String) {
    let Ok(id) = id.parse() else {
        return (StatusCode::BAD_REQUEST, "not an id".to_owned());
    };
    match engine.message(id).await {
        Ok(found) => (StatusCode::OK, format!("{found:?}")),
        Err(error) => (StatusCode::SERVICE_UNAVAILABLE, error.to_string()),
    }
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let engine = Engine::open("./data").await?;
    let workers = engine.workers().handle(resize).start()?;
    let app = Router::new()
        .route("/images", post(accept))
        .route("/images/{id}", get(show))
        .with_state(engine.clone());
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await?;
    println!("listening on http://{}", listener.local_addr()?);
    let (stop, stopped) = tokio::sync::oneshot::channel::<()>();
    let server = tokio::spawn(async move {
        let until = async move { drop(stopped.await) };
        axum::serve(listener, app)
            .with_graceful_shutdown(until)
            .await
    });
    engine.run_until_signal(workers).await?; // SIGTERM: handlers end, everything is synced
    drop(stop);
    Ok(server.await??)
}
