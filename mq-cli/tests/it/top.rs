//! `mq top` on a terminal: what it draws, the keys it takes, and the terminal that it leaves behind.

use std::fs::{File, OpenOptions};
use std::io::{Read, Write};
use std::process::{Child, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::thread;
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process};
use rustix::termios::{LocalModes, tcgetattr};

use crate::setup::{Store, terminal};

/// Longer than anything here takes: a test that waits for it has failed.
const NEVER: Duration = Duration::from_secs(60);

/// `mq top` on a terminal of its own.
struct Top {
    child: Child,
    /// The terminal's own end.
    keys: File,
    /// The end that the program has, for a look at its modes.
    line: File,
    printed: Receiver<Vec<u8>>,
    seen: String,
}

impl Top {
    fn start(store: &Store, columns: u16, rest: &[&str]) -> Top {
        let (terminal, name) = terminal(columns);
        let mut options = OpenOptions::new();
        let line = options.read(true).write(true).open(name).unwrap();
        let end = || Stdio::from(line.try_clone().unwrap());
        let mut command = store.command("top", rest);
        let command = command.env_remove("COLUMNS").env("TERM", "xterm");
        let child = command.stdin(end()).stdout(end()).stderr(end()).spawn();
        let keys = File::from(terminal);
        let mut reader = keys.try_clone().unwrap();
        let (sender, printed) = channel();
        thread::spawn(move || {
            let mut bytes = [0; 4096];
            while let Ok(count) = reader.read(&mut bytes) {
                if sender.send(bytes.get(..count).unwrap().to_vec()).is_err() {
                    return;
                }
            }
        });
        Top {
            child: child.unwrap(),
            keys,
            line,
            printed,
            seen: String::new(),
        }
    }

    /// Waits until `text` is drawn, and forgets what was drawn before it.
    fn sees(&mut self, text: &str) {
        while !self.seen.contains(text) {
            let more = self.printed.recv_timeout(NEVER);
            assert!(more.is_ok(), "{text:?} is not drawn: {:?}", self.seen);
            let more = more.unwrap();
            self.seen.push_str(&String::from_utf8_lossy(&more));
        }
        let at = self.seen.find(text).unwrap();
        self.seen = self.seen.split_off(at + text.len());
    }

    fn presses(&mut self, keys: &str) {
        self.keys.write_all(keys.as_bytes()).unwrap();
    }

    /// Whether lines are edited and echoed, as a shell expects it.
    fn is_ordinary(&self) -> bool {
        let modes = tcgetattr(&self.line).unwrap().local_modes;
        modes.contains(LocalModes::ICANON | LocalModes::ECHO | LocalModes::ISIG)
    }

    /// Waits for its end: with 0, and with the terminal as it was.
    fn ends(mut self) {
        self.sees("\u{1b}[?1049l"); // the other screen is left
        assert!(self.child.wait().unwrap().success(), "{}", self.seen);
        assert!(self.is_ordinary());
    }
}

impl Drop for Top {
    fn drop(&mut self) {
        self.child.kill().ok();
        self.child.wait().ok();
    }
}

fn store() -> Store {
    let store = Store::new();
    store.enqueue("mail", &["1".to_owned(), "2".to_owned()]);
    store
}

#[test]
fn it_draws_looks_again_at_a_key_and_leaves_the_terminal_as_it_was() {
    let store = store();
    let mut top = Top::start(&store, 100, &["--every", "1h"]);
    top.sees("\u{1b}[?1049h"); // a screen of its own
    top.sees("pid");
    top.sees("mail");
    assert!(!top.is_ordinary(), "keys come one by one");
    // It owns the store, and serves others meanwhile.
    store.enqueue("invoices", &["3".to_owned()]);
    top.presses(" ");
    top.sees("invoices");
    top.presses("q");
    top.ends();
}

#[test]
fn ctrl_c_escape_and_a_signal_end_it_as_q_does() {
    let store = store();
    for keys in ["\u{3}", "\u{1b}", ""] {
        let mut top = Top::start(&store, 20, &[]);
        top.sees("mail");
        if keys.is_empty() {
            let pid = Pid::from_raw(i32::try_from(top.child.id()).unwrap()).unwrap();
            kill_process(pid, Signal::TERM).unwrap();
        }
        top.presses(keys);
        top.ends();
    }
}

#[test]
fn one_picture_needs_no_terminal_and_the_view_says_that_it_does() {
    let store = store();
    let shown = store.mq("top", &["--once"]);
    let text = shown.lines().join("\n");
    assert!(text.contains("pid ") && text.contains("mail"), "{text}");
    assert!(!text.contains('\u{1b}'), "{text}");
    let refused = store.mq("top", &[]);
    assert_eq!(refused.code, 2, "{}", refused.stderr);
    assert!(refused.stderr.contains("--once"), "{}", refused.stderr);
}
