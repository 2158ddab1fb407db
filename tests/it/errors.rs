//! Every public error says itself, in a word that stays, what it is; docs/errors.md explains each word.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use mq::prelude::*;

fn sources(folder: &Path, found: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            sources(&path, found);
        } else if path.extension().is_some_and(|it| it == "rs") {
            found.push(path);
        }
    }
}

/// The words in the bodies of `fn code(&self) -> &'static str`.
fn words_of(source: &str, words: &mut BTreeSet<String>) {
    for body in source.split("fn code(&self) -> &'static str {").skip(1) {
        let body = body.split("\n    }\n").next().unwrap();
        let quoted = body.split('"').skip(1).step_by(2);
        words.extend(quoted.map(str::to_owned));
    }
}

#[test]
fn the_page_of_errors_explains_every_code_and_no_other() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut files = Vec::new();
    for folder in [
        "src",
        "mq-core/src",
        "mq-dispatch/src",
        "mq-persistence/src",
    ] {
        sources(&root.join(folder), &mut files);
    }
    let mut words = BTreeSet::new();
    for file in files {
        words_of(&fs::read_to_string(file).unwrap(), &mut words);
    }
    assert!(words.len() > 40, "{words:?}");
    let page = fs::read_to_string(root.join("docs/errors.md")).unwrap();
    let rows = page.lines().filter_map(|line| line.strip_prefix("| `"));
    let explained: BTreeSet<String> = rows
        .map(|row| row.split('`').next().unwrap().to_owned())
        .collect();
    assert_eq!(explained, words);
}

#[tokio::test]
async fn an_error_of_any_call_answers_its_code_and_a_wrapped_one_that_of_its_cause() {
    let engine = Engine::in_memory().open().await.unwrap();
    let admin = engine.admin();
    let bad = admin.pause_queue("no queue").await.unwrap_err();
    assert_eq!(bad.code(), "name");
    let filter = mq::Filter::new().priority(99);
    let bad = engine.messages(filter.clone()).count().await.unwrap_err();
    assert_eq!(bad.code(), "filter");
    assert_eq!(engine.cancel(filter).await.unwrap_err().code(), "filter");
    let all = engine.cancel(mq::Filter::all()).rate(0).await;
    assert_eq!(all.unwrap_err().code(), "bad_value");
    let unknown = admin.bulk_job(mq::BulkId(7)).report().await;
    assert_eq!(unknown.unwrap_err().code(), "unknown_job");
    assert_eq!(admin.snapshot().await.unwrap_err().code(), "in_memory");
    engine.close().await.unwrap();
    let closed = admin.pause_queue("mail").await.unwrap_err();
    assert_eq!(closed.code(), "closed");
    let error = mq::Error::from(engine.sync().await.unwrap_err());
    assert_eq!(error.code(), "closed");
    let options = Engine::builder("unused")
        .full_wait(mq::days(400))
        .payload_size_max(0);
    assert_eq!(options.open().await.unwrap_err().code(), "options");
}

/// What is asked of an open engine is awaited or waited for, in the same words.
#[test]
fn a_program_without_async_waits_for_what_others_await() {
    let engine = Engine::in_memory().open_wait().unwrap();
    let mail = engine.admin().queue("mail");
    mail.limit_messages(1).wait().unwrap();
    mail.pause().wait().unwrap();
    let settings = mail.settings().wait().unwrap();
    assert_eq!((settings.paused, settings.messages_max), (true, Some(1)));
    engine.admin().resume_queue("mail").wait().unwrap();
    let message = mq::NewMessage::new("mail".parse().unwrap(), "k".parse().unwrap(), "{}".into());
    let id = engine
        .enqueue_raw(message.clone())
        .wait()
        .unwrap()
        .accepted
        .id;
    assert!(matches!(
        engine.message(id).wait(),
        Ok(mq::Lookup::Found(_))
    ));
    assert!(engine.envelope(id).wait().unwrap().is_some());
    let why = engine.admin().explain(id).wait().unwrap().to_string();
    assert!(why.contains("worker that takes kind k"), "{why}");
    let schedule = mq::Schedule::every(hours(1)).message(message);
    engine.schedules().put("hourly", schedule).wait().unwrap();
    engine.schedules().pause("hourly").wait().unwrap();
    assert!(engine.schedules().list().wait().unwrap()[0].paused);
    engine.sync().wait().unwrap();
    engine.close_wait().unwrap();
}
