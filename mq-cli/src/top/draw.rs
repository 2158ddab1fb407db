//! How a picture of a store is laid out: a few lines of facts, the queues, what runs. Columns that do not fit are left out, the most
//! telling ones last; what does not fit in height is counted.

use std::time::Duration;

use mq::control::{QueueJson, RunningJson, TopJson};
use ratatui::Frame;
use ratatui::layout::{Constraint, Layout, Rect};
use ratatui::style::{Color, Modifier, Style};
use ratatui::text::{Line, Span};
use ratatui::widgets::{Cell, Paragraph, Row, Table};

use crate::clock;
use crate::escape::Escaped;

/// Below so many cells the long columns go.
const WIDTH_MEDIUM: u16 = 78;
/// Below so many all but the most telling go.
const WIDTH_SMALL: u16 = 44;
/// Lines between the parts and below them.
const GAP: u16 = 1;

/// A heading, cells, and what stands there.
type Column<T> = (&'static str, u16, fn(&T) -> String);

/// Draws the whole picture.
pub(super) fn draw(frame: &mut Frame<'_>, top: &TopJson) {
    let area = frame.area();
    let facts = facts(top, area.width);
    let facts_height = u16::try_from(facts.len()).unwrap_or(u16::MAX);
    let queues_height = rows(top.queues.len());
    let [facts_area, _, queues_area, _, running_area] = Layout::vertical([
        Constraint::Length(facts_height),
        Constraint::Length(GAP),
        Constraint::Max(queues_height),
        Constraint::Length(GAP),
        Constraint::Fill(1),
    ])
    .areas(area);
    frame.render_widget(Paragraph::new(facts), facts_area);
    frame.render_widget(queues(top, queues_area), queues_area);
    frame.render_widget(running(top, running_area), running_area);
}

/// Lines that the whole picture needs.
pub(super) fn height(top: &TopJson, width: u16) -> u16 {
    let facts = u16::try_from(facts(top, width).len()).unwrap_or(u16::MAX);
    facts
        .saturating_add(rows(top.queues.len()))
        .saturating_add(rows(top.running.len()))
        .saturating_add(2 * GAP)
}

/// Lines of a table with so many rows; without any, one that says so.
fn rows(count: usize) -> u16 {
    u16::try_from(count.max(1)).map_or(u16::MAX, |count| count.saturating_add(1))
}

fn facts(top: &TopJson, width: u16) -> Vec<Line<'static>> {
    let open = clock::duration(seconds(top.open_seconds));
    let mut facts = vec![
        format!("in {:.1}/s", top.enqueued_per_second),
        format!("out {:.1}/s", top.ended_per_second),
        format!("failed {:.1}/s", top.failed_per_second),
        format!("dead {} ({:+} in 15 min)", top.dead, top.dead_growth),
    ];
    if let (Some(half), Some(most)) = (top.sync_p50_ms, top.sync_p99_ms) {
        facts.push(format!("sync {half:.2} ms, 99 % {most:.2} ms"));
    }
    if let Some(journal) = top.journal_bytes {
        facts.push(format!("journal {}", size(journal)));
    }
    if let Some(free) = top.disk_free_bytes {
        facts.push(format!("disk {} free", size(free)));
    }
    let title = format!("mq, pid {}, open {open}", top.pid);
    let mut lines = vec![Line::from(title).style(Style::new().add_modifier(Modifier::BOLD))];
    lines.extend(flow(&facts, usize::from(width)));
    if top.disk_refuses {
        let text = "DISK NEARLY FULL: new messages are refused";
        lines.push(Line::from(text).style(alarm()));
    }
    if top.waiting_for_room > 0 {
        let text = format!("FULL: {} enqueues wait for room", top.waiting_for_room);
        lines.push(Line::from(text).style(alarm()));
    }
    lines
}

/// Facts one after the other, in as many lines as they need.
fn flow(facts: &[String], width: usize) -> Vec<Line<'static>> {
    let mut lines: Vec<String> = Vec::new();
    for fact in facts {
        match lines.last_mut() {
            Some(line) if line.chars().count() + 3 + fact.chars().count() <= width => {
                line.push_str(" · ");
                line.push_str(fact);
            }
            Some(_) | None => lines.push(fact.clone()),
        }
    }
    lines.into_iter().map(Line::from).collect()
}

fn queues(top: &TopJson, area: Rect) -> Table<'static> {
    let all: [Column<QueueJson>; 8] = [
        ("READY", 9, |it| it.ready.to_string()),
        ("RUN", 6, |it| it.leased.to_string()),
        ("DEAD", 7, |it| it.dead.to_string()),
        ("OLDEST", 8, oldest),
        ("LATER", 9, |it| it.scheduled.to_string()),
        ("BEHIND", 7, |it| it.blocked.to_string()),
        ("HELD", 6, |it| it.held.to_string()),
        ("KEPT", 8, |it| it.completed.to_string()),
    ];
    let shown = columns(area.width, [all.len(), 4, 1]);
    let all = all.get(..shown).unwrap_or_default();
    let rows = top.queues.iter().map(|queue| {
        let name = if queue.paused {
            format!("{} (paused)", Escaped(&queue.queue))
        } else {
            Escaped(&queue.queue).to_string()
        };
        let name = Cell::from(name);
        let cells = all.iter().map(|(_, _, value)| right(value(queue)));
        let row = Row::new(std::iter::once(name).chain(cells));
        if queue.dead > 0 {
            row.style(Style::new().fg(Color::Yellow))
        } else {
            row
        }
    });
    let headings = all.iter().map(|(heading, ..)| right((*heading).to_owned()));
    table(
        "QUEUE",
        rows.collect(),
        headings.collect(),
        all.iter().map(|(_, width, _)| *width),
    )
}

fn running(top: &TopJson, area: Rect) -> Table<'static> {
    let all: [Column<RunningJson>; 4] = [
        ("FOR", 8, |it| clock::duration(seconds(it.seconds))),
        ("PROGRESS", 22, progress),
        ("TRY", 4, |it| it.attempt.to_string()),
        ("MESSAGE", 36, |it| it.id.clone()),
    ];
    let shown = columns(area.width, [all.len(), 2, 1]);
    let all = all.get(..shown).unwrap_or_default();
    let rows = top.running.iter().map(|running| {
        let kind = Cell::from(Escaped(&running.kind).to_string());
        let cells = all.iter().map(|(_, _, value)| right(value(running)));
        let row = Row::new(std::iter::once(kind).chain(cells));
        if running.stuck {
            row.style(alarm())
        } else {
            row
        }
    });
    let headings = all.iter().map(|(heading, ..)| right((*heading).to_owned()));
    let first = match top.running_count {
        0 => "NOTHING RUNS".to_owned(),
        count => format!("RUNS ({count})"),
    };
    table(
        &first,
        rows.collect(),
        headings.collect(),
        all.iter().map(|(_, width, _)| *width),
    )
}

/// How many columns fit, behind the first.
const fn columns(width: u16, [large, medium, small]: [usize; 3]) -> usize {
    if width >= WIDTH_MEDIUM {
        large
    } else if width >= WIDTH_SMALL {
        medium
    } else {
        small
    }
}

fn table(
    first: &str,
    rows: Vec<Row<'static>>,
    headings: Vec<Cell<'static>>,
    widths: impl Iterator<Item = u16>,
) -> Table<'static> {
    let first_cell = Cell::from(first.to_owned());
    let header = Row::new(std::iter::once(first_cell).chain(headings))
        .style(Style::new().add_modifier(Modifier::BOLD));
    let widths = std::iter::once(Constraint::Fill(1)).chain(widths.map(Constraint::Length));
    Table::new(rows, widths.collect::<Vec<_>>()).header(header)
}

fn right(text: String) -> Cell<'static> {
    Cell::from(Line::from(Span::from(text)).right_aligned())
}

fn oldest(queue: &QueueJson) -> String {
    queue
        .oldest_ready_seconds
        .map_or_else(|| "-".to_owned(), |age| clock::duration(seconds(age)))
}

fn progress(running: &RunningJson) -> String {
    if running.stuck {
        return "STUCK".to_owned();
    }
    if let Some(reason) = &running.cancel {
        return format!("stopping: {}", Escaped(reason));
    }
    match (running.done, running.total) {
        (Some(done), Some(total)) => {
            let unit = running.unit.as_deref().unwrap_or_default();
            format!("{done}/{total} {}", Escaped(unit))
        }
        (Some(_) | None, Some(_) | None) => "-".to_owned(),
    }
}

const fn alarm() -> Style {
    Style::new().fg(Color::Red).add_modifier(Modifier::BOLD)
}

fn seconds(seconds: f64) -> Duration {
    Duration::try_from_secs_f64(seconds).unwrap_or_default()
}

/// A size in the largest unit that leaves a whole number.
fn size(bytes: u64) -> String {
    let units = ["B", "KiB", "MiB", "GiB", "TiB", "PiB"];
    let mut rest = bytes;
    for unit in units {
        if rest < 10_240 {
            return format!("{rest} {unit}");
        }
        rest /= 1_024;
    }
    format!("{rest} EiB")
}
