//! Small mistakes put into the journal and its recovery, one at a time; the tests of mq-persistence must notice each.

use std::path::Path;

use anyhow::{Context, bail};

use super::Done;
use crate::shell::Invocation;

pub(super) const HELP: &str = "\
usage: cargo xtask mutants [--sample N] [--seed S] [--file GLOB]

cargo-mutants on the journal and its recovery in mq-persistence: one small mistake at a time (a comparison turned round, a body that returns
a default), then the tests of that package. A mistake that no test notices is a hole in the tests and fails the command; they are listed
in target/mutants/mutants.out/missed.txt. Mend each with a test.

  --sample N    about how many mistakes to try; default 60, about 20 minutes; 0 tries all
  --seed S      which: 0, 1, 2 … try different ones until all are tried; default 0
  --file GLOB   in which files, instead of the journal and its recovery
";

/// The journal: what is written, and what is made of it at the next opening.
const FILES: &[&str] = &[
    "mq-persistence/src/frame.rs",
    "mq-persistence/src/frame/**",
    "mq-persistence/src/log.rs",
    "mq-persistence/src/log/**",
    "mq-persistence/src/open.rs",
    "mq-persistence/src/open/**",
    "mq-persistence/src/recovery.rs",
    "mq-persistence/src/recovery/**",
    "mq-persistence/src/scan.rs",
    "mq-persistence/src/segment.rs",
];

struct Order<'a> {
    sample: usize,
    seed: usize,
    file: Option<&'a str>,
}

pub(super) fn run(root: &Path, arguments: &[&str]) -> anyhow::Result<Done> {
    let order = parse(arguments)?;
    let all = mutants(root, &order).arguments(&["--list"]).output(root)?;
    let all = all.lines().count();
    let shards = match order.sample {
        0 => 1,
        sample => all.div_ceil(sample).max(1),
    };
    let shard = format!("{}/{shards}", order.seed % shards);
    println!("mutants: {all} mistakes are possible; this is part {shard} of them");
    std::fs::create_dir_all(root.join("target/mutants"))?;
    let ran = mutants(root, &order)
        .arguments(&["--shard", &shard, "--sharding", "round-robin"])
        .arguments(&["--output", "target/mutants", "--minimum-test-timeout", "60"])
        .arguments(&["--colors", "never", "--no-times"])
        .run(root);
    let listed = |name: &str| {
        let path = root.join("target/mutants/mutants.out").join(name);
        std::fs::read_to_string(path).unwrap_or_default()
    };
    let missed = listed("missed.txt");
    if !missed.is_empty() {
        bail!(
            "no test notices:\n{missed}run the same part again with --seed {}",
            order.seed
        );
    }
    ran?;
    let noticed = listed("caught.txt").lines().count() + listed("timeout.txt").lines().count();
    Ok(Done::Passed(format!("{noticed} mistakes noticed")))
}

fn mutants(root: &Path, order: &Order<'_>) -> Invocation {
    let mut command = Invocation::cargo(&["mutants", "-p", "mq-persistence"]).with_tools(root);
    let own = order.file.as_slice();
    for file in if own.is_empty() { FILES } else { own } {
        command = command.arguments(&["--file", file]);
    }
    command
}

fn parse<'a>(arguments: &[&'a str]) -> anyhow::Result<Order<'a>> {
    let mut order = Order {
        sample: 60,
        seed: 0,
        file: None,
    };
    let mut words = arguments.iter();
    while let Some(word) = words.next() {
        if !["--sample", "--seed", "--file"].contains(word) {
            bail!("unknown argument {word}; --help names them");
        }
        let value = words.next();
        let value = value.with_context(|| format!("{word} takes a value; --help says more"))?;
        let number = || {
            value
                .parse()
                .with_context(|| format!("{word} takes a number"))
        };
        match *word {
            "--sample" => order.sample = number()?,
            "--seed" => order.seed = number()?,
            _ => order.file = Some(value),
        }
    }
    Ok(order)
}
