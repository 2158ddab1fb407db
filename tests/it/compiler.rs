//! What the compiler says about wrong programs: a stranger knows what to change.
//!
//! Each program is given to the compiler beside the library that this test was built with. Only the sentences that are
//! ours, or that the advice hangs on, are looked for, so that a newer compiler may say the rest in other words.
#![expect(clippy::panic, reason = "a test fails by panicking")]

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;
use std::time::SystemTime;

use parking_lot::Mutex;

/// The libraries to compile against.
struct Libraries {
    folder: PathBuf,
    mq: PathBuf,
    serde: PathBuf,
    built: Option<[SystemTime; 2]>,
}

const START: &str = "
    #![deny(unused_must_use)]
    use mq::prelude::*;
    #[derive(Serialize, Deserialize, Message)]
    #[message(kind = \"email.welcome\")]
    struct Welcome { user: u64 }
    #[derive(Clone)]
    struct Mailer;
    fn main() {}
";

/// A program that is right in every way in which the others are wrong.
const RIGHT: &str = "
    #[mq::handler]
    async fn welcome(message: Welcome, State(_): State<Mailer>, ctx: Ctx) -> Outcome {
        ctx.check_cancelled()?;
        println!(\"{}\", message.user);
        Ok(())
    }
    fn register(engine: &Engine) -> mq::WorkersBuilder {
        engine.workers().state(Mailer).handle(welcome)
    }
";

impl Libraries {
    /// Those that the right program compiles with. Another build may be replacing them: then they are looked for again.
    fn find() -> Arc<Self> {
        static FOUND: Mutex<Option<Arc<Libraries>>> = Mutex::new(None);
        let mut found = FOUND.lock();
        if let Some(libraries) = found.as_ref().filter(|libraries| libraries.are_there()) {
            return Arc::clone(libraries);
        }
        let libraries = Arc::new(Self::look());
        *found = Some(Arc::clone(&libraries));
        libraries
    }

    fn look() -> Self {
        let test = std::env::current_exe().unwrap();
        let folder = test.parent().unwrap();
        // The library built last is the one of the present source; serde may be there in several builds, one of which it
        // was built with.
        let serdes = newest_first(folder, "libserde-");
        let mut complaints = Vec::new();
        for (mq, serde) in newest_first(folder, "libmq-")
            .into_iter()
            .take(2)
            .flat_map(|mq| serdes.iter().map(move |serde| (mq.clone(), serde.clone())))
        {
            let mut libraries = Self {
                folder: folder.to_owned(),
                mq,
                serde,
                built: None,
            };
            libraries.built = libraries.state();
            match libraries.compile(RIGHT) {
                None => return libraries,
                Some(complaint) => complaints.push(complaint),
            }
        }
        panic!(
            "the right program does not compile:\n{}",
            complaints.join("\n")
        );
    }

    /// When they were built; `None` if one of them is not there.
    fn state(&self) -> Option<[SystemTime; 2]> {
        let built = |path: &Path| fs::metadata(path).ok()?.modified().ok();
        Some([built(&self.mq)?, built(&self.serde)?])
    }

    fn are_there(&self) -> bool {
        self.built.is_some() && self.state() == self.built
    }

    /// What the compiler complains about, if it does.
    fn compile(&self, program: &str) -> Option<String> {
        let folder = tempfile::tempdir().unwrap();
        let source = folder.path().join("program.rs");
        fs::write(&source, format!("{START}{program}")).unwrap();
        let compiler = std::env::var_os("RUSTC").unwrap_or_else(|| "rustc".into());
        let output = Command::new(compiler)
            .args([
                "--edition=2024",
                "--crate-type=bin",
                "--emit=metadata",
                "--color=never",
            ])
            .arg("--out-dir")
            .arg(folder.path())
            .arg("-L")
            .arg(format!("dependency={}", self.folder.display()))
            .arg("--extern")
            .arg(format!("mq={}", self.mq.display()))
            .arg("--extern")
            .arg(format!("serde={}", self.serde.display()))
            .arg(&source)
            .output()
            .unwrap();
        (!output.status.success()).then(|| String::from_utf8_lossy(&output.stderr).into_owned())
    }
}

fn newest_first(folder: &Path, start: &str) -> Vec<PathBuf> {
    let mut found: Vec<(SystemTime, PathBuf)> = Vec::new();
    for entry in fs::read_dir(folder).unwrap() {
        let entry = entry.unwrap();
        let name = entry.file_name().into_string().unwrap_or_default();
        let built = entry.metadata().and_then(|facts| facts.modified());
        if let Ok(built) = built
            && name.starts_with(start)
            && name.ends_with(".rlib")
        {
            found.push((built, entry.path()));
        }
    }
    found.sort();
    found.into_iter().rev().map(|(_, path)| path).collect()
}

/// Compiles a wrong program and looks for each sentence. If one is missing and the libraries are others than before, or
/// the right program does not compile with them any more, a build that runs beside this test was in the way: once more.
#[track_caller]
fn says(program: &str, sentences: &[&str]) {
    let mut tries = 3;
    loop {
        let libraries = Libraries::find();
        let complaint = libraries.compile(program);
        let complaint = complaint.unwrap_or_else(|| panic!("this compiles:\n{program}"));
        let missing = sentences.iter().find(|it| !complaint.contains(**it));
        let Some(missing) = missing else {
            if std::env::var_os("MQ_SHOW_COMPLAINTS").is_some() {
                println!("{complaint}");
            }
            return;
        };
        tries -= 1;
        let is_sound = libraries.compile(RIGHT).is_none() && libraries.are_there();
        assert!(!is_sound && tries > 0, "not said: {missing}\n{complaint}");
    }
}

#[test]
fn a_type_that_is_no_message_is_told_to_derive_it() {
    says(
        "struct Plain;
        fn send(engine: &Engine) { let _request = engine.enqueue(Plain); }",
        &[
            "`Plain` is not a message",
            "derive it: `#[derive(Serialize, Deserialize, Message)]`",
        ],
    );
}

#[test]
fn a_message_without_a_kind_is_told_what_a_kind_is() {
    says(
        "#[derive(Serialize, Deserialize, Message)]
        struct Nameless;",
        &[
            "a message needs a kind",
            "#[message(kind = \"email.welcome\")]",
            "struct Nameless",
        ],
    );
}

#[test]
fn a_bad_kind_is_told_which_character_is_wrong() {
    says(
        "#[derive(Serialize, Deserialize, Message)]
        #[message(kind = \"email welcome\", retries = 3)]
        struct Spaced;",
        &["unknown key; `message` knows kind,"],
    );
    says(
        "#[derive(Serialize, Deserialize, Message)]
        #[message(kind = \"email welcome\")]
        struct Spaced;",
        &[
            "a kind has no ' '; allowed are A-Z a-z 0-9 . _ : / -",
            "kind = \"email welcome\"",
        ],
    );
}

#[test]
fn a_handler_with_its_arguments_in_the_wrong_order_is_told_the_order() {
    says(
        "async fn welcome(ctx: Ctx, message: Welcome) -> Outcome { Ok(()) }
        fn register(engine: &Engine) { let _ = engine.workers().handle(welcome); }",
        &[
            "is not a handler",
            "the first argument derives `Message`",
            "#[mq::handler]",
        ],
    );
    says(
        "#[mq::handler]
        async fn welcome(ctx: Ctx, message: Welcome) -> Outcome { Ok(()) }",
        &["Ctx` is not a message", "async fn welcome(ctx: Ctx,"],
    );
}

#[test]
fn a_handler_that_asks_for_something_unknown_is_told_what_there_is() {
    says(
        "#[mq::handler]
        async fn welcome(message: Welcome, width: u32) -> Outcome { Ok(()) }",
        &[
            "`u32` cannot be an argument of a handler",
            "a handler can ask for Ctx, State<T>, Attempt",
            "width: u32",
        ],
    );
}

#[test]
fn a_handler_that_is_not_async_is_told_of_the_blocking_form_and_back() {
    says(
        "fn welcome(message: Welcome) -> Outcome { Ok(()) }
        fn register(engine: &Engine) { let _ = engine.workers().handle(welcome); }",
        &[
            "is not a handler",
            "for a function that is not async, use `handle_blocking`",
        ],
    );
    says(
        "async fn welcome(message: Welcome) -> Outcome { Ok(()) }
        fn register(engine: &Engine) { let _ = engine.workers().handle_blocking(welcome); }",
        &[
            "is not a blocking handler",
            "for an async function, use `handle`",
        ],
    );
}

#[test]
fn a_wrong_result_is_told_what_may_be_returned() {
    says(
        "#[mq::handler]
        async fn welcome(message: Welcome) -> u32 { 7 }",
        &[
            "a handler of `Welcome` cannot return `u32`",
            "return `Outcome`, or `Result<Output, E>`",
            "-> u32",
        ],
    );
}

#[test]
fn a_handler_that_cannot_change_threads_is_told_what_holds_it() {
    says(
        "#[mq::handler]
        async fn welcome(message: Welcome) -> Outcome {
            let shared = std::rc::Rc::new(7);
            std::future::ready(()).await;
            drop(shared);
            Ok(())
        }",
        &["cannot be sent between threads safely", "let shared"],
    );
}

#[test]
fn a_state_that_cannot_be_cloned_is_told_so() {
    says(
        "struct Database;
        fn register(engine: &Engine) { let _ = engine.workers().state(Database); }",
        &[
            "the trait bound `Database: Clone` is not satisfied",
            "#[derive(Clone)]",
        ],
    );
}

#[test]
fn a_state_without_parts_is_told_to_derive_them() {
    says(
        "fn register(engine: &Engine) { let _ = engine.workers().state_parts(Mailer); }",
        &[
            "`Mailer` has no parts that handlers could ask for",
            "#[derive(Clone, FromRef)]",
            ".state(…)",
        ],
    );
}

#[test]
fn a_type_that_does_not_handle_a_message_is_told_which_trait_to_implement() {
    says(
        "struct Welcomer;
        fn register(engine: &Engine) { let _ = engine.workers().handler::<Welcome, _>(Welcomer); }",
        &[
            "`Welcomer` does not handle `Welcome`",
            "implement `Handler<Welcome>` for it",
        ],
    );
}

#[test]
fn a_request_that_is_only_made_is_told_that_nothing_has_happened() {
    says(
        "async fn send(engine: &Engine) { engine.enqueue(Welcome { user: 7 }); }",
        &["unused", "nothing has happened yet", ".await"],
    );
    says(
        "fn register(engine: &Engine) { engine.workers(); }",
        &["unused", "nothing runs before `start`"],
    );
}

#[test]
fn an_error_that_is_no_error_is_told_what_may_become_a_failure() {
    says(
        "struct Odd;
        #[mq::handler]
        async fn welcome(message: Welcome) -> Outcome { Err(Odd)?; Ok(()) }",
        &["`?` couldn't convert the error", "Odd"],
    );
}
