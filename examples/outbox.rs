//! Enqueueing "inside" your database's transaction: the message is a row of an outbox table, committed with your data,
//! and a relay enqueues it with the row's id as idempotency key. However often the relay dies, it is one message.
//!
//! `cargo run --example outbox`

use mq::prelude::*;
use rusqlite::Connection;

#[derive(Serialize, Deserialize, Message)]
#[message(kind = "order.confirm")]
struct Confirm {
    order: i64,
}

fn confirm(message: Confirm) -> Outcome {
    println!("order {} is confirmed", message.order);
    Ok(())
}

/// Your code: the order and the wish to confirm it, both or neither.
fn place_order(db: &mut Connection, order: i64) -> rusqlite::Result<()> {
    let transaction = db.transaction()?;
    transaction.execute("INSERT INTO orders (id) VALUES (?1)", [order])?;
    transaction.execute("INSERT INTO outbox (order_id) VALUES (?1)", [order])?;
    transaction.commit()
}

/// The relay: enqueue what stands in the outbox, then strike it off. It may die between any two lines.
fn relay(db: &Connection, engine: &Engine) -> Result<usize, Box<dyn std::error::Error>> {
    let mut rows = db.prepare("SELECT id, order_id FROM outbox ORDER BY id")?;
    let rows = rows.query_map([], |row| Ok((row.get(0)?, row.get(1)?)))?;
    let rows: Vec<(i64, i64)> = rows.collect::<Result<_, _>>()?;
    for (id, order) in &rows {
        engine
            .enqueue(Confirm { order: *order })
            .idempotency_key(format!("outbox-{id}"))
            .wait()?; // on the disk of the queue; only now may the row go
        db.execute("DELETE FROM outbox WHERE id = ?1", [id])?;
    }
    Ok(rows.len())
}

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let mut db = Connection::open("./app.sqlite")?;
    db.execute_batch(
        "CREATE TABLE orders (id INTEGER PRIMARY KEY);
         CREATE TABLE outbox (id INTEGER PRIMARY KEY AUTOINCREMENT, order_id INTEGER NOT NULL);",
    )?;
    let engine = Engine::builder("./data").open_wait()?;
    for order in 1..=3 {
        place_order(&mut db, order)?;
    }
    // A relay that died after enqueueing and before striking off: its row is still there, and is enqueued again.
    engine
        .enqueue(Confirm { order: 1 })
        .idempotency_key("outbox-1")
        .wait()?;
    println!("{} rows relayed", relay(&db, &engine)?);
    assert_eq!(engine.stats().enqueued, 3); // not four

    let workers = engine.workers().handle_blocking(confirm).start()?;
    engine.run_until_empty_wait()?;
    workers.stop(secs(25)).wait();
    engine.close_wait()?;
    Ok(())
}
