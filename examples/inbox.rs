//! An effect that happens once, although a handler can run twice: the message's id goes into your database in the same
//! transaction as the effect, and the lease's token keeps an overtaken handler out.
//!
//! `cargo run --example inbox`

use std::sync::{Arc, Mutex};

use mq::prelude::*;
use rusqlite::Connection;

#[derive(Serialize, Deserialize, Message)]
#[message(kind = "account.deposit")]
struct Deposit {
    account: i64,
    cents: i64,
}

type Database = Arc<Mutex<Connection>>;

fn deposit(message: Deposit, State(db): State<Database>, ctx: Ctx) -> Outcome {
    let mut db = db
        .lock()
        .map_err(|_| std::io::Error::other("the database's lock is poisoned"))?;
    let transaction = db.transaction()?;
    let token = ctx.token();
    let fresh = transaction.execute(
        "INSERT OR IGNORE INTO inbox (message, delivery) VALUES (?1, ?2)",
        (ctx.id().to_string(), token.delivery),
    )?;
    if fresh == 0 {
        println!("delivery {} finds that it is done", token.delivery);
        return Ok(());
    }
    transaction.execute(
        "UPDATE accounts SET cents = cents + ?2 WHERE id = ?1",
        (message.account, message.cents),
    )?;
    transaction.commit()?;
    if token.delivery == 1 {
        // The effect is done, and this attempt fails, as if the process had died here.
        let died = std::io::Error::other("died after the commit");
        return Err(Fail::retry_in(mq::millis(10), died));
    }
    Ok(())
}

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let db = Connection::open("./app.sqlite")?;
    db.execute_batch(
        "CREATE TABLE accounts (id INTEGER PRIMARY KEY, cents INTEGER NOT NULL);
         CREATE TABLE inbox (message TEXT PRIMARY KEY, delivery INTEGER NOT NULL);
         INSERT INTO accounts VALUES (1, 0);",
    )?;
    let db: Database = Arc::new(Mutex::new(db));
    let engine = Engine::builder("./data").open_wait()?;
    let workers = engine.workers().state(Arc::clone(&db));
    let workers = workers.handle_blocking(deposit).start()?;
    let (account, cents) = (1, 500);
    engine.enqueue(Deposit { account, cents }).wait()?;
    engine.run_until_empty_wait()?;
    workers.stop(secs(25)).wait();
    engine.close_wait()?;

    let db = db.lock().map_err(|_| "poisoned")?;
    let sql = "SELECT cents FROM accounts WHERE id = ?1";
    let cents: i64 = db.query_row(sql, [account], |row| row.get(0))?;
    println!("the account has {cents} cents");
    assert_eq!(cents, 500); // handled twice, deposited once
    Ok(())
}
