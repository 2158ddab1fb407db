//! What a picture shows, at any size of the terminal.

use mq::control::{QueueJson, RunningJson, TopJson};
use ratatui::crossterm::event::{KeyCode, KeyEvent, KeyModifiers};

use super::{ends, picture};

fn busy() -> TopJson {
    TopJson {
        pid: 4711,
        open_seconds: 3_725.0,
        queues: vec![
            QueueJson {
                queue: "mail".to_owned(),
                ready: 1_234,
                leased: 8,
                dead: 3,
                oldest_ready_seconds: Some(95.0),
                ..QueueJson::default()
            },
            QueueJson {
                queue: "images".to_owned(),
                paused: true,
                scheduled: 7,
                ..QueueJson::default()
            },
        ],
        enqueued_per_second: 12.5,
        ended_per_second: 11.0,
        dead: 3,
        dead_growth: 2,
        running: vec![RunningJson {
            id: "019301a2-0000-7000-8000-000000000001".to_owned(),
            queue: "mail".to_owned(),
            kind: "email.welcome".to_owned(),
            attempt: 2,
            seconds: 61.0,
            done: Some(40),
            total: Some(100),
            unit: Some("ro\u{1b}[2Jws".to_owned()),
            ..RunningJson::default()
        }],
        running_count: 1,
        sync_p50_ms: Some(0.09),
        sync_p99_ms: Some(1.5),
        journal_bytes: Some(64 << 20),
        disk_free_bytes: Some(12 << 30),
        ..TopJson::default()
    }
}

fn row<'a>(lines: &'a [String], first: &str) -> &'a str {
    let found = lines.iter().find(|line| line.starts_with(first));
    found.unwrap_or_else(|| panic!("no line begins with {first}: {lines:#?}"))
}

#[test]
fn depth_age_rates_and_what_runs_are_there() {
    let lines = picture(&busy(), 110);
    let text = lines.join("\n");
    for wanted in [
        "pid 4711",
        "in 12.5/s",
        "out 11.0/s",
        "dead 3 (+2 in 15 min)",
        "sync 0.09 ms",
        "journal 64 MiB",
        "disk 12 GiB free",
    ] {
        assert!(text.contains(wanted), "{wanted}: {text}");
    }
    let mail: Vec<&str> = row(&lines, "mail").split_whitespace().collect();
    assert_eq!(mail[1..4], ["1234", "8", "3"]);
    assert!(row(&lines, "images").contains("(paused)"));
    let running = row(&lines, "email.welcome");
    assert!(running.contains("40/100") && running.contains("019301a2-0000-7000-8000-000000000001"));
    assert!(text.contains("RUNS (1)"));
}

#[test]
fn nothing_a_handler_says_drives_the_terminal() {
    for width in [20, 60, 110] {
        let text = picture(&busy(), width).join("");
        assert!(!text.chars().any(char::is_control), "{text:?}");
    }
}

#[test]
fn twenty_columns_still_tell_the_depth() {
    let lines = picture(&busy(), 20);
    assert!(lines.iter().all(|line| line.chars().count() <= 20));
    assert!(row(&lines, "mail").ends_with("1234"));
    assert!(row(&lines, "RUNS (1)").contains("FOR"));
}

#[test]
fn any_size_can_be_drawn() {
    let mut many = busy();
    many.queues = (0..300).map(|_| many.queues[0].clone()).collect();
    many.running = (0..100).map(|_| many.running[0].clone()).collect();
    for width in (1..130).step_by(4) {
        for height in 1..30 {
            let backend = ratatui::backend::TestBackend::new(width, height);
            let mut screen = ratatui::Terminal::new(backend).unwrap();
            screen
                .draw(|frame| super::draw::draw(frame, &many))
                .unwrap();
            screen
                .draw(|frame| super::draw::draw(frame, &TopJson::default()))
                .unwrap();
        }
    }
}

#[test]
fn a_disk_that_refuses_and_a_handler_that_is_stuck_cannot_be_overlooked() {
    let mut top = busy();
    top.disk_refuses = true;
    top.running[0].stuck = true;
    let text = picture(&top, 80).join("\n");
    assert!(text.contains("DISK NEARLY FULL") && text.contains("STUCK"));
}

#[test]
fn q_escape_and_interrupt_end_it_and_nothing_else_does() {
    let plain = |code| KeyEvent::new(code, KeyModifiers::NONE);
    assert!(ends(plain(KeyCode::Char('q'))) && ends(plain(KeyCode::Esc)));
    assert!(ends(KeyEvent::new(
        KeyCode::Char('c'),
        KeyModifiers::CONTROL
    )));
    assert!(!ends(plain(KeyCode::Char('c'))) && !ends(plain(KeyCode::Enter)));
}
