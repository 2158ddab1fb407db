//! A bulk job, with a power cut or a kill after every I/O of it and of the recovery: it goes on, and changes each message
//! once.

use std::time::Duration;

use chaos_tests::machine::{Machine, text};
use mq::{BulkEnd, BulkReport, Cursor, Filter, MessageId, MessageView, StateKind};
use mq_core::backend::WhenFull;
use mq_core::message::NewMessage;
use mq_testing::crash_points::{Checked, Plan, Reopened, crash_everywhere};
use mq_testing::sim_disk::SimDisk;

const SEED: u64 = 20_261_127;
/// Messages of the workload; those of 8 cents or more match.
const MESSAGES: usize = 30;
const MATCHING: usize = MESSAGES - 8;
/// Two messages a step, a step every 100 ms.
const RATE: u32 = 20;

/// What was promised.
#[derive(Clone, Debug, Default)]
struct Promised {
    lives: u64,
    /// Acknowledged before the job was asked for.
    before: Vec<MessageId>,
    /// Acknowledged after the job was.
    after: Vec<MessageId>,
    /// The job was acknowledged.
    started: bool,
    /// Messages that were seen held.
    held: usize,
    /// The job was seen ended.
    ended: bool,
}

fn message(cents: usize) -> NewMessage {
    NewMessage::new(
        "orders".parse().unwrap(),
        "charge".parse().unwrap(),
        format!("{{\"cents\": {cents}}}").into(),
    )
}

fn enqueue(machine: &Machine, cents: usize) -> Result<MessageId, String> {
    let receipts = machine
        .backend()
        .enqueue(vec![message(cents)], WhenFull::Refuse);
    let receipts = receipts.wait().map_err(text)?.map_err(text)?;
    Ok(receipts[0].accepted.id)
}

fn step(machine: &Machine) {
    machine.pass(Duration::from_millis(100));
    machine.run_bulk();
}

fn job(machine: &Machine) -> Result<Option<BulkReport>, String> {
    let jobs = machine.engine()?.admin().bulk_jobs().wait();
    Ok(jobs.map_err(text)?.pop())
}

fn held(machine: &Machine) -> Result<Vec<MessageView>, String> {
    let filter = Filter::new().state(StateKind::Held);
    let page = machine.engine()?.messages(filter).page(Cursor::START, 100);
    Ok(page.wait().map_err(text)?.messages)
}

fn work(disk: &SimDisk, known: &mut Promised) -> Result<(), String> {
    let machine = Machine::open(disk, known.lives)?;
    known.lives += 1;
    for cents in 0..MESSAGES {
        known.before.push(enqueue(&machine, cents)?);
    }
    let filter = Filter::new().payload("/cents >= 8");
    let order = machine.engine()?.hold(filter, "aside".parse().unwrap());
    order.rate(RATE).by("zoe").wait().map_err(text)?;
    known.started = true;
    for _ in 0..6 {
        step(&machine);
        known.held = held(&machine)?.len();
    }
    known.after.push(enqueue(&machine, 99)?);
    for _ in 0..30 {
        step(&machine);
        known.held = held(&machine)?.len();
    }
    known.ended = job(&machine)?.is_some_and(|job| job.ended.is_some());
    Ok(())
}

fn check(reopened: Reopened<'_, Promised>) -> Result<Checked, String> {
    let Reopened {
        disk, knowledge, ..
    } = reopened;
    knowledge.lives += 1;
    let machine = match Machine::open(disk, knowledge.lives) {
        Ok(machine) => machine,
        Err(_) if disk.has_crashed() => return Ok(Checked::Interrupted),
        Err(error) => return Err(error),
    };
    match finish(&machine, knowledge) {
        _ if disk.has_crashed() => Ok(Checked::Interrupted),
        Ok(()) => Ok(Checked::Complete),
        Err(error) => Err(error),
    }
}

/// Lets the job end, and looks at every message.
fn finish(machine: &Machine, known: &mut Promised) -> Result<(), String> {
    let found = held(machine)?;
    require(found.len() >= known.held, "a change that was seen is lost")?;
    known.held = found.len();
    let Some(first) = job(machine)? else {
        require(!known.started, "the job is lost")?;
        return require(found.is_empty(), "messages were changed by no job");
    };
    require(first.ended.is_some() || !known.ended, "the job runs again")?;
    require(
        first.counts.done == found.len() as u64,
        "the job and its changes are apart",
    )?;
    let mut report = first;
    for _ in 0..60 {
        if report.ended.is_some() {
            break;
        }
        step(machine);
        report = job(machine)?.ok_or("the job went away")?;
    }
    let how = report.ended.map(|(how, _)| how);
    require(how == Some(BulkEnd::Completed), "the job does not end")?;
    known.ended = true;
    let counts = report.counts;
    let found = held(machine)?;
    known.held = found.len();
    require(
        found.len() == MATCHING,
        "not exactly the matching messages are held",
    )?;
    require(
        counts.done == MATCHING as u64,
        "the record counts something else",
    )?;
    require(counts.matched == counts.done, "a message was met twice")?;
    for view in found {
        require(view.tail.edits.len() == 1, "a message was changed twice")?;
        let is_late = known.after.contains(&view.id);
        require(
            !is_late,
            "a message enqueued after the job began was changed",
        )?;
    }
    Ok(())
}

fn require(holds: bool, otherwise: &str) -> Result<(), String> {
    if holds {
        Ok(())
    } else {
        Err(otherwise.to_owned())
    }
}

#[test]
fn a_bulk_job_goes_on_and_changes_each_message_once_wherever_the_machine_dies() {
    let mut plan = Plan::new(SEED, 11);
    plan.every = 2;
    let report = crash_everywhere(&plan, work, check)
        .unwrap_or_else(|failure| panic!("seed {SEED}: {failure}"));
    println!("seed {SEED}: {report:?}");
    assert!(
        report.workload_ios > 60,
        "the workload became too small: {report:?}"
    );
}
