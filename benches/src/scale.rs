//! Cost against size: what a message costs while a thousand, or ten million, others wait, and what very many of one kind
//! cost (delayed, keyed, ordered, in a thousand queues, for ten thousand handlers), up to opening the store again.
//!
//! Each row is a process of its own, which is killed with signal 9 in the end; another process opens the store with nothing
//! of it in the page cache. Costs are processor time of the whole process, load generator included: they do not depend on
//! how fast the disk syncs.

mod child;

use serde::Serialize;

pub use child::run as run_child;
use child::{Pile, Shape, Step};

use crate::disk::{forget_cached, free_bytes};
use crate::goals::Opened;
use crate::measure::forget_store;
use crate::plan::Plan;
use crate::plot::{Across, Plot};
use crate::process::Child;
use crate::report::grouped;
use crate::store::PAYLOAD_SIZE;

/// Payloads of the larger kind, in bytes.
const LARGE: usize = 4096;
/// Fewer messages cannot be weighed beside everything else.
const WEIGHED_MIN: u64 = 50_000;
/// Of the free disk, a store takes at most one part in so many.
const DISK_PART: u64 = 4;

/// What is piled up.
#[derive(Clone, Debug)]
struct Task {
    shape: Shape,
    size: usize,
    /// How many wait when it is looked at how much a job costs.
    steps: Vec<usize>,
    /// Jobs that are done at each step.
    jobs: usize,
}

/// One line of the table.
#[derive(Clone, Debug, Serialize)]
pub struct Line {
    /// What waits, in words.
    what: String,
    /// Bytes of each payload.
    size: usize,
    step: Step,
    pile: Option<Pile>,
    /// Seconds to open it again after the kill.
    reopen: Option<f64>,
}

/// Measures all of it, and prints each line when it is known.
///
/// # Errors
/// What the engine or the system says; messages that were answered and did not come back.
pub fn measure(plan: &Plan) -> anyhow::Result<Vec<Line>> {
    let tasks = tasks(plan)?;
    let all = tasks.len();
    let mut lines = Vec::new();
    print!("{}", TABLE_HEAD);
    for (task, number) in tasks.iter().zip(1..) {
        eprintln!("scale: {number} of {all}, {}", task.shape.about());
        pile_up(plan, task, &mut lines)?;
    }
    Ok(lines)
}

/// The table for a page.
#[must_use]
pub fn table(lines: &[Line]) -> String {
    let lines: String = lines.iter().map(Line::table_line).collect();
    format!("{TABLE_HEAD}{lines}")
}

/// What a plain message costs beside how many others: flat lines are what is wanted.
#[must_use]
pub fn plot(lines: &[Line]) -> Plot {
    let plain = lines
        .iter()
        .filter(|line| line.what == Shape::Waiting.about() && line.size == PAYLOAD_SIZE);
    let steps: Vec<&Step> = plain.map(|line| &line.step).collect();
    let series = |of: fn(&Step) -> f64| -> Vec<(f64, f64)> {
        #[expect(clippy::cast_precision_loss, reason = "pixels")]
        let points = steps.iter().map(|step| (step.waiting as f64, of(step)));
        points.collect()
    };
    Plot {
        title: "Cost against how many wait".to_owned(),
        across: Across::Powers("messages that wait"),
        unit: "µs",
        series: vec![
            ("a page of 100", series(|step| step.page_us)),
            ("a job", series(|step| step.job_us)),
            ("an enqueue", series(|step| step.enqueue_us)),
        ],
    }
}

fn tasks(plan: &Plan) -> anyhow::Result<Vec<Task>> {
    let large_most = usize::try_from(free_bytes(&plan.folder)? / DISK_PART)? / (LARGE + 256);
    let million = plan.size(1_000_000, 50_000);
    let growing = plan.size(10_000_000, 300_000);
    let steps = |most: usize| -> Vec<usize> {
        let powers = (3..7).map(|power| 10_usize.pow(power));
        powers.filter(|step| *step < most).chain([most]).collect()
    };
    let task = |shape, size, steps, jobs| Task {
        shape,
        size,
        steps,
        jobs,
    };
    let jobs = plan.size(50_000, 5_000);
    Ok(vec![
        task(Shape::Waiting, PAYLOAD_SIZE, steps(growing), jobs),
        task(
            Shape::Waiting,
            LARGE,
            vec![growing.min(large_most.max(1_000))],
            jobs,
        ),
        task(Shape::Delayed, PAYLOAD_SIZE, vec![million], jobs),
        task(Shape::Keyed, PAYLOAD_SIZE, vec![million], jobs),
        task(Shape::Ordered, PAYLOAD_SIZE, vec![million], 4 * jobs),
        task(Shape::Queues, PAYLOAD_SIZE, vec![million], 4 * jobs),
        task(Shape::Permits, PAYLOAD_SIZE, vec![million], 4 * jobs),
    ])
}

/// Piles messages up, kills the process that did so and opens the store again.
fn pile_up(plan: &Plan, task: &Task, lines: &mut Vec<Line>) -> anyhow::Result<()> {
    let store = plan.store("store-scale");
    let mut words = vec!["scale".to_owned(), task.shape.as_str().to_owned()];
    words.extend([task.size, task.jobs].map(|number| number.to_string()));
    words.extend(task.steps.iter().map(ToString::to_string));
    let mut child = Child::start(&store, &words)?;
    let mut found: Vec<Line> = Vec::new();
    for _ in &task.steps {
        let step: Step = child.hear()?;
        found.push(Line {
            what: task.shape.about().to_owned(),
            size: task.size,
            step,
            pile: None,
            reopen: None,
        });
    }
    let pile: Pile = child.hear()?;
    child.kill()?;
    forget_cached(&store)?;
    let opened: Opened = Child::start(&store, &["open".to_owned()])?.answer()?;
    forget_store(&store)?;
    anyhow::ensure!(
        opened.messages == pile.left,
        "{} messages were in the store and {} came back",
        pile.left,
        opened.messages
    );
    if let Some(last) = found.last_mut() {
        (last.pile, last.reopen) = (Some(pile), Some(opened.seconds));
    }
    found
        .iter()
        .for_each(|line| print!("{}", line.table_line()));
    lines.extend(found);
    Ok(())
}

const TABLE_HEAD: &str = "\
| what waits | how many | payload B | enqueue µs | enqueues/s | job µs | page of 100, µs | memory B each | at most | snapshot s | open again s |
| --- | ---: | ---: | ---: | ---: | ---: | ---: | ---: | ---: | ---: | ---: |
";

impl Line {
    fn table_line(&self) -> String {
        let step = &self.step;
        let pile = self.pile.as_ref();
        let told = |value: Option<f64>| value.map(grouped).unwrap_or_default();
        #[expect(clippy::cast_precision_loss, reason = "a number for people")]
        let (waiting, size) = (step.waiting as f64, self.size as f64);
        format!(
            "| {} | {} | {} | {} | {} | {} | {} | {} | {} | {} | {} |\n",
            self.what,
            grouped(waiting),
            grouped(size),
            grouped(step.enqueue_us),
            grouped(step.enqueues_per_second),
            grouped(step.job_us),
            grouped(step.page_us),
            told((step.waiting >= WEIGHED_MIN).then_some(step.memory_each)),
            told(pile.map(|pile| pile.memory_each_at_most)),
            told(pile.map(|pile| pile.snapshot_seconds)),
            told(self.reopen),
        )
    }
}
