//! Real processes: shells that read, write, hang, fork and ignore signals.

use std::fs;
use std::future::pending;
use std::path::Path;

use tokio::sync::oneshot;

use super::super::verdict::Verdict;
use super::*;

fn shell(script: &str) -> Program {
    Program {
        name: "sh".into(),
        arguments: vec!["-c".into(), script.into()],
        timeout: Duration::from_secs(60),
    }
}

fn job(payload: &'static [u8]) -> Job {
    Job {
        payload: Bytes::from_static(payload),
        message_id: "id-7".to_owned(),
        attempt: 3,
        queue: "mail".to_owned(),
        kind: "email.welcome".to_owned(),
        lease: "id-7/1/2".to_owned(),
    }
}

fn run(program: &Program, job: Job) -> Verdict {
    block_on(program.run(job, pending())).verdict()
}

fn block_on<T>(future: impl Future<Output = T>) -> T {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    runtime.block_on(future)
}

fn failed_saying(verdict: Verdict) -> String {
    match verdict {
        Verdict::Failed(reason) => reason.text,
        other => panic!("{other:?} instead of a failure"),
    }
}

/// Whether the process is still running; a zombie that nobody has waited for is not.
fn is_running(pid: &str) -> bool {
    let stat = fs::read_to_string(Path::new("/proc").join(pid).join("stat"));
    stat.is_ok_and(|stat| !stat.contains(") Z "))
}

/// Waits until the process is gone; the test's own time limit is the only one.
fn until_gone(pid: &str) {
    while is_running(pid) {
        std::thread::yield_now();
    }
}

#[test]
fn the_command_gets_the_payload_and_the_facts() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("seen");
    let facts = "$MQ_MESSAGE_ID $MQ_ATTEMPT $MQ_QUEUE $MQ_KIND $MQ_LEASE";
    let script = format!("(cat; echo; echo \"{facts}\") > {}", file.display());
    assert_eq!(run(&shell(&script), job(b"\x00payload\xff")), Verdict::Ack);
    let seen = fs::read(file).unwrap();
    assert_eq!(
        seen,
        b"\x00payload\xff\nid-7 3 mail email.welcome id-7/1/2\n"
    );
}

#[test]
fn a_payload_larger_than_a_pipe_arrives_whole() {
    let payload: &'static [u8] = Box::leak(vec![b'x'; 1 << 20].into_boxed_slice());
    assert_eq!(
        run(&shell("test $(wc -c) -eq 1048576"), job(payload)),
        Verdict::Ack
    );
}

#[test]
fn a_command_that_does_not_read_its_input_decides_all_the_same() {
    let payload: &'static [u8] = Box::leak(vec![b'x'; 1 << 20].into_boxed_slice());
    assert_eq!(run(&shell("exit 0"), job(payload)), Verdict::Ack);
    assert_eq!(run(&shell("exit 75"), job(payload)), Verdict::Snooze);
}

#[test]
fn what_it_says_on_standard_error_is_the_error_text() {
    let text = failed_saying(run(&shell("echo card declined >&2; exit 3"), job(b"")));
    assert_eq!(text, "exit code 3: card declined");
}

#[test]
fn only_the_end_of_a_long_error_is_kept() {
    let text = failed_saying(run(
        &shell("head -c 6000 /dev/zero | tr '\\0' x >&2; echo the end >&2; exit 1"),
        job(b""),
    ));
    assert!(
        text.ends_with("the end") && text.len() <= ERROR_SIZE_MAX,
        "{} bytes",
        text.len()
    );
}

#[test]
fn a_command_that_is_not_there_is_a_failed_attempt() {
    let program = Program {
        name: "/nowhere/at/all".into(),
        ..shell("")
    };
    assert!(failed_saying(run(&program, job(b""))).starts_with("the command could not be run"));
}

#[test]
fn a_signal_from_elsewhere_is_a_failed_attempt() {
    assert_eq!(
        failed_saying(run(&shell("kill -TERM $$"), job(b""))),
        "killed by signal 15"
    );
}

#[test]
fn when_the_time_is_up_the_whole_group_is_killed() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("pid");
    // The shell and its child both ignore every signal that can be ignored.
    let script = format!(
        "trap '' TERM INT HUP; sleep 1000 & echo $! > {}; wait",
        file.display()
    );
    let program = Program {
        timeout: Duration::from_millis(500),
        ..shell(&script)
    };
    let text = failed_saying(run(&program, job(b"")));
    assert_eq!(text, "killed after 500ms, its time limit");
    until_gone(fs::read_to_string(file).unwrap().trim());
}

#[test]
fn a_stop_kills_the_group_and_costs_nothing() {
    let (stop, stopped) = oneshot::channel::<()>();
    stop.send(()).unwrap();
    let ended = block_on(shell("sleep 1000").run(job(b""), async { stopped.await.unwrap_or(()) }));
    assert_eq!(ended.verdict(), Verdict::Interrupted);
}

#[test]
fn a_run_that_is_dropped_kills_its_group() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("pid");
    let script = format!(
        "echo $$ > {0}.new; mv {0}.new {0}; sleep 1000",
        file.display()
    );
    let program = shell(&script);
    block_on(async {
        let running = program.run(job(b""), pending());
        let started = async {
            while !file.exists() {
                tokio::task::yield_now().await;
            }
        };
        tokio::select! {
            ended = running => panic!("{ended:?} before it was dropped"),
            () = started => {}
        }
    });
    until_gone(fs::read_to_string(file).unwrap().trim());
}

#[test]
fn a_process_left_behind_does_not_delay_the_verdict_and_lives() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("pid");
    let script = format!("sleep 1000 & echo $! > {}; exit 0", file.display());
    assert_eq!(run(&shell(&script), job(b"")), Verdict::Ack);
    let pid = fs::read_to_string(file).unwrap();
    assert!(
        is_running(pid.trim()),
        "what a command starts in the background is its own affair"
    );
    let pid = Pid::from_raw(pid.trim().parse().unwrap()).unwrap();
    rustix::process::kill_process(pid, Signal::KILL).unwrap();
}
