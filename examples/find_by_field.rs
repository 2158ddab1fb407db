//! Finds one message by a field of its payload, with and without an index of the field, and says what each took.
//!
//! `cargo run --release --example find_by_field -- 1000000 indexed`, and the same with `plain`, are the runs whose figures stand
//! in docs/finding-messages.md.
#![expect(clippy::disallowed_methods, reason = "it measures real time")]

use std::time::Instant;

use mq::prelude::*;
use mq::{Cursor, Filter, FoundBy, Limit};

#[derive(Serialize, Deserialize, Message)]
#[message(kind = "order.indexed", index = "/order/sku")]
struct Indexed {
    order: Order,
}

#[derive(Serialize, Deserialize, Message)]
#[message(kind = "order.plain")]
struct Plain {
    order: Order,
}

#[derive(Serialize, Deserialize)]
struct Order {
    sku: String,
    cents: u64,
    note: String,
}

fn order(number: u64) -> Order {
    Order {
        sku: format!("sku-{number}"),
        cents: number % 10_000,
        note: "please ring twice ".repeat(8),
    }
}

/// Fills a store, and answers how long finding one of its messages took, how many payloads were read, and how.
fn find<M: Message>(count: u64, new: impl Fn(u64) -> M) -> Result<(), Box<dyn std::error::Error>> {
    let folder = std::env::temp_dir().join(format!("mq-find-{}-{}", M::KIND, std::process::id()));
    let engine = Engine::builder(&folder)
        .capacity(Limit::messages(count + 64))
        .open_wait()?;
    let (start, before) = (Instant::now(), memory());
    for first in (0..count).step_by(1_000) {
        let batch = (first..(first + 1_000).min(count)).map(&new);
        engine.batch().extend(batch).wait()?;
    }
    println!(
        "{}: {count} enqueued in {:.1?}, {} bytes of memory for each",
        M::KIND,
        start.elapsed(),
        memory().saturating_sub(before) / count
    );
    let wanted = format!(r#"/order/sku == "sku-{}""#, count / 2);
    let filter = Filter::new().kind(M::KIND).payload(wanted);
    let (start, mut read, mut found, mut by) = (Instant::now(), 0, 0, FoundBy::Scan);
    let mut cursor = Some(Cursor::START);
    while let Some(from) = cursor {
        let page = engine.messages(filter.clone()).page(from, 100).wait()?;
        (read, found, by) = (read + page.read, found + page.messages.len(), page.by);
        cursor = page.next;
    }
    println!(
        "  {found} found by {} in {:.1?}, {read} payloads read",
        by.as_str(),
        start.elapsed()
    );
    engine.close_wait()?;
    std::fs::remove_dir_all(folder).ok();
    Ok(())
}

/// Bytes of memory that this process holds; 0 where that is not told.
fn memory() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    let kib = line.and_then(|line| line.split_whitespace().next()?.parse::<u64>().ok());
    kib.unwrap_or(0) * 1_024
}

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let mut arguments = std::env::args().skip(1);
    let count = arguments.next().and_then(|text| text.parse().ok());
    let (count, which) = (count.unwrap_or(2_000), arguments.next());
    let is_wanted = |name: &str| which.as_deref().is_none_or(|which| which == name);
    if is_wanted("indexed") {
        find(count, |number| Indexed {
            order: order(number),
        })?;
    }
    if is_wanted("plain") {
        find(count, |number| Plain {
            order: order(number),
        })?;
    }
    Ok(())
}
