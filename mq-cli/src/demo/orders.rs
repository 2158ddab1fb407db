//! The orders file: made with a fixed generator, or taken from the user and checked line by line.

use std::collections::HashSet;
use std::fs::File;
use std::io::{BufRead, BufReader, BufWriter, Write};
use std::path::Path;

use anyhow::{Context, anyhow};
use serde::{Deserialize, Serialize};

use crate::exit::{Exit, Failure, Result};

/// Name of the file in the demo's folder.
pub(crate) const FILE: &str = "orders.jsonl";
/// Cards that the made payment service declines for good begin with this.
pub(crate) const DECLINED: &str = "4000-0002";

/// One order.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Order {
    /// The order's number: one order is one order, however often it is sent.
    pub(crate) id: String,
    /// Who bought.
    pub(crate) customer: String,
    /// What.
    #[serde(default)]
    pub(crate) items: Vec<String>,
    /// For how much.
    pub(crate) cents: u64,
    /// With which card.
    pub(crate) card: String,
}

/// What is in the file.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Orders {
    /// Different orders.
    pub(crate) distinct: u64,
}

/// Puts the orders file into `folder`: a checked copy of `given`, or `count` made ones.
pub(crate) fn prepare(folder: &Path, given: Option<&Path>, count: u64) -> Result<Orders> {
    let path = folder.join(FILE);
    if path.exists() {
        let hint = anyhow!(
            "{} exists: this folder holds a former demo; name another one, or look at it with --audit",
            path.display()
        );
        return Err(Failure::new(Exit::Usage, hint));
    }
    let mut out = BufWriter::new(
        File::create_new(&path).with_context(|| format!("cannot create {}", path.display()))?,
    );
    match given {
        None => made(count).try_for_each(|order| write_line(&mut out, &order))?,
        Some(given) => read(given, |order| write_line(&mut out, &order))?,
    }
    out.flush().context("cannot write the orders")?;
    let mut ids = HashSet::new();
    read(&path, |order| {
        ids.insert(order.id);
        Ok(())
    })?;
    if ids.is_empty() {
        return Err(Failure::new(
            Exit::Usage,
            anyhow!("there are no orders in the file; give it one JSON object per line"),
        ));
    }
    Ok(Orders {
        distinct: ids.len() as u64,
    })
}

fn write_line(out: &mut impl Write, order: &Order) -> Result {
    serde_json::to_writer(&mut *out, order).context("cannot write an order")?;
    out.write_all(b"\n").context("cannot write an order")?;
    Ok(())
}

/// Calls `each` for every order of a file.
pub(crate) fn read(path: &Path, mut each: impl FnMut(Order) -> Result) -> Result {
    let file = File::open(path).with_context(|| format!("cannot open {}", path.display()))?;
    for (number, line) in (1..).zip(BufReader::new(file).lines()) {
        let line = line.with_context(|| format!("{} line {number}", path.display()))?;
        if line.trim().is_empty() {
            continue;
        }
        let order = serde_json::from_str(&line)
            .with_context(|| {
                format!(
                    "{} line {number} is not an order: it needs id, customer, cents and card",
                    path.display()
                )
            })
            .map_err(|error| Failure::new(Exit::Usage, error))?;
        each(order)?;
    }
    Ok(())
}

/// Orders as a shop sees them: a few customers buy much, two in a hundred are sent twice, a few cards are declined.
fn made(count: u64) -> impl Iterator<Item = Order> {
    (0..count).map(move |position| {
        // Every fiftieth line repeats an order that was sent shortly before: a client that did not see its answer.
        let number = if position % 50 == 49 {
            position - 7
        } else {
            position
        };
        make(number)
    })
}

fn make(number: u64) -> Order {
    const GOODS: [&str; 8] = [
        "coffee beans 1 kg",
        "filter papers",
        "grinder",
        "mug",
        "kettle",
        "scale",
        "syrup",
        "gift card",
    ];
    let dice = scramble(number);
    let item = |shift: u32| {
        GOODS
            .get(usize::try_from((dice >> shift) % 8).unwrap_or_default())
            .map(ToString::to_string)
    };
    let items: Vec<String> = (0..1 + (dice % 4))
        .filter_map(|place| item(u32::try_from(place).unwrap_or_default() * 3 + 8))
        .collect();
    let card = if dice.is_multiple_of(211) {
        format!("{DECLINED}-{:08}", number)
    } else {
        format!("4242-4242-{:08}", dice % 100_000_000)
    };
    Order {
        id: format!("order-{number:06}"),
        customer: format!("customer-{}", (dice % 977) * (dice % 7) / 3),
        cents: 250 + dice % 20_000,
        items,
        card,
    }
}

/// Source: the finalizer of SplitMix64, <https://prng.di.unimi.it/splitmix64.c>.
pub(crate) fn scramble(number: u64) -> u64 {
    let mut z = number.wrapping_add(1).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}
