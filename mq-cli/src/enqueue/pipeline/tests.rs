//! Order, failures, closing: with answers that the test gives.

use std::io;
use std::sync::mpsc::{Sender, channel};
use std::thread;

use mq_core::id::{MessageId, Seq, StoreTag};

use super::*;
use crate::input::Format;

/// An answer that arrives when the test sends it.
struct Awaited(Receiver<std::result::Result<MessageId, &'static str>>);

impl Answer for Awaited {
    fn is_done(&self) -> bool {
        false
    }

    fn wait(self) -> Result<String> {
        let answer = self.0.recv().unwrap_or(Err("the store stopped"));
        answer
            .map(|id| id.to_string())
            .map_err(|text| anyhow!(text).into())
    }
}

fn id(number: u64) -> MessageId {
    MessageId::new(0, Seq::new(number).unwrap(), StoreTag::new(1))
}

/// Runs `lines` through a pipeline whose answers are `answers` (given at once), and returns what was printed and said.
fn run(
    lines: &'static str,
    answer: fn(u64) -> std::result::Result<u64, &'static str>,
) -> (String, String, Result<u64>) {
    let (intake, answers) = start();
    let feeding = thread::spawn({
        let intake = Arc::clone(&intake);
        move || {
            feed(
                Lines::new(lines.as_bytes(), Format::Json),
                &intake,
                |line| {
                    let (sender, receiver) = channel();
                    sender.send(answer(line.number).map(id)).unwrap();
                    Ok(Awaited(receiver))
                },
            );
        }
    });
    feeding.join().unwrap();
    let (mut printed, mut remarks) = (Vec::new(), Vec::new());
    let result = report(
        &answers,
        &intake,
        &mut Output::new(&mut printed),
        &mut remarks,
    );
    (
        String::from_utf8(printed).unwrap(),
        String::from_utf8(remarks).unwrap(),
        result,
    )
}

fn ids(numbers: impl IntoIterator<Item = u64>) -> String {
    numbers
        .into_iter()
        .map(|number| format!("{}\n", id(number)))
        .collect()
}

#[test]
fn ids_are_printed_in_the_order_of_the_lines() {
    let (printed, remarks, result) = run("1\n2\n3\n", Ok);
    assert_eq!((printed, remarks), (ids(1..=3), String::new()));
    assert_eq!(result.unwrap(), 3);
}

#[test]
fn after_a_refused_line_nothing_is_printed_but_what_is_stored_is_named() {
    let refuse_second = |number| {
        if number == 2 {
            Err("refused")
        } else {
            Ok(number)
        }
    };
    let (printed, remarks, result) = run("1\n2\n3\n", refuse_second);
    assert_eq!(printed, ids([1]));
    assert_eq!(
        remarks,
        format!("mq: line 3 is stored all the same: {}\n", id(3))
    );
    assert_eq!(
        format!("{:#}", result.unwrap_err().error),
        "line 2: refused"
    );
}

#[test]
fn a_line_that_is_no_message_ends_the_input() {
    let (printed, remarks, result) = run("1\nnot json\n3\n", Ok);
    assert_eq!((printed, remarks), (ids([1]), String::new()));
    assert!(format!("{:#}", result.unwrap_err().error).starts_with("line 2: not JSON"));
}

#[test]
fn a_store_that_stops_ends_the_printing() {
    let stop_at_two = |number| {
        if number < 2 {
            Ok(number)
        } else {
            Err("the engine stopped")
        }
    };
    let (printed, remarks, result) = run("1\n2\n3\n", stop_at_two);
    assert_eq!(printed, ids([1]));
    assert!(!remarks.contains("stored"), "{remarks}");
    assert!(result.is_err());
}

#[test]
fn closing_the_intake_still_answers_what_is_under_way() {
    let (intake, answers) = start();
    let (first, waiting) = channel();
    let entry = |number, receiver| Entry {
        number,
        answer: Ok(Awaited(receiver)),
    };
    assert!(intake.offer(|| entry(1, waiting)));
    intake.close();
    let refused = intake.offer(|| panic!("nothing may be submitted behind a closed intake"));
    assert!(!refused);
    first.send(Ok(id(1))).unwrap();
    let mut printed = Vec::new();
    let result = report(
        &answers,
        &intake,
        &mut Output::new(&mut printed),
        &mut io::sink(),
    );
    assert_eq!(result.unwrap(), 1);
    assert_eq!(String::from_utf8(printed).unwrap(), ids([1]));
}

#[test]
fn an_id_is_handed_over_as_soon_as_it_is_durable() {
    /// Tells the test about each write.
    struct Seen(Sender<Vec<u8>>);
    impl Write for Seen {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0.send(bytes.to_vec()).unwrap();
            Ok(bytes.len())
        }
        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }
    let (intake, answers) = start();
    let (first, waiting_first) = channel();
    let (second, waiting_second) = channel();
    for (number, receiver) in [(1, waiting_first), (2, waiting_second)] {
        intake.offer(|| Entry {
            number,
            answer: Ok(Awaited(receiver)),
        });
    }
    let (seen, writes) = channel();
    let reporting = thread::spawn({
        let intake = Arc::clone(&intake);
        move || {
            report(
                &answers,
                &intake,
                &mut Output::new(Seen(seen)),
                &mut io::sink(),
            )
        }
    });
    first.send(Ok(id(1))).unwrap();
    assert_eq!(
        writes.recv().unwrap(),
        ids([1]).as_bytes(),
        "printed while the second is still under way"
    );
    second.send(Ok(id(2))).unwrap();
    assert_eq!(writes.recv().unwrap(), ids([2]).as_bytes());
    intake.close();
    assert_eq!(reporting.join().unwrap().unwrap(), 2);
}

#[test]
fn a_reader_that_goes_away_stops_the_intake() {
    struct Gone;
    impl Write for Gone {
        fn write(&mut self, _: &[u8]) -> io::Result<usize> {
            Err(io::ErrorKind::BrokenPipe.into())
        }
        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }
    let (intake, answers) = start();
    let (sender, receiver) = channel();
    sender.send(Ok(id(1))).unwrap();
    intake.offer(|| Entry {
        number: 1,
        answer: Ok(Awaited(receiver)),
    });
    let result = report(&answers, &intake, &mut Output::new(Gone), &mut io::sink());
    assert!(
        !result.unwrap_err().is_broken_pipe(),
        "a quiet end would hide the lost ids"
    );
    assert!(!intake.offer(|| panic!("the intake must be closed")));
}

#[test]
fn a_failure_ends_the_input_also_while_no_room_is_left_under_way() {
    let (intake, answers) = start();
    let feeding = thread::spawn({
        let intake = Arc::clone(&intake);
        move || {
            let endless = io::BufReader::new(Endless);
            feed(Lines::new(endless, Format::Json), &intake, |_| {
                let (sender, receiver) = channel();
                sender.send(Err("the store stopped")).unwrap();
                Ok(Awaited(receiver))
            });
        }
    });
    let mut printed = Vec::new();
    let result = report(
        &answers,
        &intake,
        &mut Output::new(&mut printed),
        &mut io::sink(),
    );
    assert!(result.is_err() && printed.is_empty());
    feeding.join().unwrap();
}

/// Line after line, for ever.
struct Endless;

impl io::Read for Endless {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let lines = b"1\n".iter().cycle();
        let even = buffer.len() & !1;
        buffer[..even]
            .iter_mut()
            .zip(lines)
            .for_each(|(byte, line)| *byte = *line);
        Ok(even)
    }
}
