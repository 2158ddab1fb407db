//! `cargo xtask chaos`: runs suites one after the other and prints what was tried and found as a table.

use std::process::ExitCode;
use std::time::Duration;

use chaos_tests::canaries::{CANARIES, Canary};
use chaos_tests::suite::{Level, Outcome, Run, Suite, grouped, now};
use chaos_tests::suites::{SUITES, child_if_asked};

const USAGE: &str = "\
usage: cargo xtask chaos [OPTION...] [SUITE...]

  --quick       what every change must pass; minutes
  --nightly     everything; hours
  --seed N      where all randomness comes from
  --cases N     of a seeded suite, this many cases, the first of them with the seed itself
  --canaries    builds mistakes in on purpose, one after the other: each must be noticed
  --list        names the suites, or the canaries
";

/// A canary that makes a suite hang has not been noticed: a hang says nothing.
const CANARY_SECONDS_MAX: &str = "120";

struct Order {
    level: Level,
    seed: u64,
    cases: Option<u64>,
    list: bool,
    canaries: bool,
    names: Vec<String>,
}

struct Row {
    suite: &'static Suite,
    outcome: Outcome,
    cases: u64,
    faults: u64,
    took: Duration,
}

fn main() -> ExitCode {
    if let Some(ended) = soak_tests::child_if_asked().or_else(child_if_asked) {
        return ended;
    }
    match order(std::env::args().skip(1)) {
        Ok(order) if order.list && order.canaries => {
            for canary in CANARIES {
                println!("{:<30} {}", canary.name, canary.what);
            }
            ExitCode::SUCCESS
        }
        Ok(order) if order.list => {
            for suite in SUITES {
                println!("{:<20} {}", suite.name, suite.what);
            }
            ExitCode::SUCCESS
        }
        Ok(order) if order.canaries => try_canaries(&order),
        Ok(order) => run(&order),
        Err(problem) => {
            eprintln!("chaos: {problem}\n\n{USAGE}");
            ExitCode::from(2)
        }
    }
}

/// What the caller asked for.
fn order(arguments: impl Iterator<Item = String>) -> Result<Order, String> {
    let mut order = Order {
        level: Level::Default,
        seed: 20_261_127,
        cases: None,
        list: false,
        canaries: false,
        names: Vec::new(),
    };
    let mut arguments = arguments;
    while let Some(word) = arguments.next() {
        let mut number = || {
            let value = arguments.next().ok_or(format!("{word} needs a number"))?;
            value.parse().map_err(|_| format!("{value} is no number"))
        };
        match word.as_str() {
            "--quick" => order.level = Level::Quick,
            "--nightly" => order.level = Level::Nightly,
            "--seed" => order.seed = number()?,
            "--cases" => order.cases = Some(number()?),
            "--canaries" => order.canaries = true,
            "--list" => order.list = true,
            "--help" | "-h" => return Err("help".to_owned()),
            _ if word.starts_with('-') => return Err(format!("unknown option {word}")),
            _ if !is_known(&word) => {
                return Err(format!(
                    "no suite or canary is called {word}; --list names them"
                ));
            }
            _ => order.names.push(word),
        }
    }
    Ok(order)
}

fn is_known(name: &str) -> bool {
    SUITES.iter().any(|suite| suite.name == name)
        || CANARIES.iter().any(|canary| canary.name == name)
}

/// Each canary in a process of its own, in the suites that should notice it, until one does.
fn try_canaries(order: &Order) -> ExitCode {
    if !cfg!(mq_canary) {
        eprintln!("chaos: this build has no canaries; run cargo xtask chaos --canaries");
        return ExitCode::from(2);
    }
    println!("chaos: seed {}", order.seed);
    println!(
        "{:<30} {:<18} {:>10} {:>9}  what it does wrong",
        "canary", "noticed by", "tries", "time"
    );
    let chosen = |canary: &&Canary| {
        order.names.is_empty() || order.names.iter().any(|name| name == canary.name)
    };
    let mut survivors = Vec::new();
    for canary in CANARIES.iter().filter(chosen) {
        let started = now();
        let noticed = canary
            .suites
            .iter()
            .find_map(|suite| notice(order, canary, suite));
        let took = started.elapsed().as_secs_f64();
        let (by, tries) = match noticed {
            Some((by, tries)) => (by, tries),
            None => {
                survivors.push(canary.name);
                ("SURVIVED", String::new())
            }
        };
        println!(
            "{:<30} {by:<18} {tries:>10} {took:>7.1} s  {}",
            canary.name, canary.what
        );
    }
    println!(
        "\n{} survived{}{}",
        survivors.len(),
        if survivors.is_empty() { "" } else { ": " },
        survivors.join(", ")
    );
    if survivors.is_empty() {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    }
}

/// Whether a suite notices a canary, and after how many cases.
fn notice(order: &Order, canary: &Canary, suite: &'static str) -> Option<(&'static str, String)> {
    let program = std::env::current_exe().ok()?;
    let output = std::process::Command::new("timeout")
        .arg(CANARY_SECONDS_MAX)
        .arg(program)
        .args([suite, "--quick", "--seed", &order.seed.to_string()])
        .env("MQ_CANARY", canary.name)
        .stderr(std::process::Stdio::null())
        .output()
        .ok()?;
    if output.status.code() == Some(124) {
        println!("{}: {suite} hung", canary.name);
        return None;
    }
    let text = String::from_utf8_lossy(&output.stdout);
    let row = text
        .lines()
        .find(|line| line.starts_with(suite) && line.contains("BROKEN"))?;
    row.split_whitespace()
        .nth(1)
        .map(|cases| (suite, cases.to_owned()))
}

fn run(order: &Order) -> ExitCode {
    println!("chaos: seed {}", order.seed);
    let chosen = |suite: &&Suite| {
        if order.names.is_empty() {
            suite.from <= order.level
        } else {
            order.names.iter().any(|name| name == suite.name)
        }
    };
    let rows: Vec<Row> = SUITES
        .iter()
        .filter(chosen)
        .map(|suite| try_suite(order, suite))
        .collect();
    println!("\n{}", table(&rows));
    let mut failed = false;
    for row in &rows {
        if let Outcome::Failed(reason) = &row.outcome {
            failed = true;
            println!("{}: {reason}\n", row.suite.name);
        }
    }
    if failed {
        ExitCode::FAILURE
    } else {
        ExitCode::SUCCESS
    }
}

fn try_suite(order: &Order, suite: &'static Suite) -> Row {
    println!("chaos: {}: {}", suite.name, suite.what);
    let run = Run::new(suite.name, order.level, order.seed, order.cases);
    let started = now();
    // On a thread of its own: a suite whose puppets keep it on one core leaves the others with all of them.
    let ended = std::thread::scope(|scope| scope.spawn(|| (suite.work)(&run)).join());
    let mut outcome = ended.unwrap_or_else(|panic| std::panic::resume_unwind(panic));
    let (cases, faults) = run.counts();
    if cases == 0 && matches!(outcome, Outcome::Passed) {
        outcome = Outcome::Failed("nothing was tried".to_owned());
    }
    let row = Row {
        suite,
        outcome,
        cases,
        faults,
        took: started.elapsed(),
    };
    println!("{}", line(&row));
    row
}

fn table(rows: &[Row]) -> String {
    let head = format!(
        "{:<20} {:>12} {:>12} {:>8} {:>9}\n",
        "suite", "cases", "faults", "found", "time"
    );
    rows.iter()
        .map(|row| format!("{}\n", line(row)))
        .fold(head, |table, line| table + &line)
}

fn line(row: &Row) -> String {
    let found = match &row.outcome {
        Outcome::Passed => "0".to_owned(),
        Outcome::Failed(_) => "BROKEN".to_owned(),
        Outcome::Skipped(reason) => format!("skipped: {reason}"),
    };
    format!(
        "{:<20} {:>12} {:>12} {found:>8} {:>7.1} s",
        row.suite.name,
        grouped(row.cases),
        grouped(row.faults),
        row.took.as_secs_f64()
    )
}
