//! Two owners of one store, on real files: the second is refused, with the owner's words, whatever is done to the lock file.

use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::{Child, Command, ExitCode, Stdio};

use mq::Engine;
use mq_core::backend::WhenFull;
use mq_core::message::NewMessage;

use crate::machine::text;
use crate::suite::{Outcome, Run};

/// The first argument of a process that is to own a store.
const OWN: &str = "own-a-store";
/// What an owner is told so that it starts a process that outlives it.
const BEAR: &str = "bear";
/// Processes that want the store at once.
const RIVALS: usize = 4;

/// For the program that runs the suites and starts itself as the other process: does that process's part.
#[must_use]
pub fn child_if_asked() -> Option<ExitCode> {
    let mut arguments = std::env::args().skip(1);
    if arguments.next().as_deref() != Some(OWN) {
        return None;
    }
    let store = arguments.next().unwrap_or_default();
    Some(match own(Path::new(&store)) {
        Ok(()) => ExitCode::SUCCESS,
        Err(refused) => {
            println!("refused: {refused}");
            ExitCode::FAILURE
        }
    })
}

/// Opens a store, says so, enqueues a message for each line it is told (or starts a process), and closes when it is told no more.
fn own(store: &Path) -> Result<(), String> {
    let engine = Engine::builder(store).open_wait().map_err(text)?;
    println!("open");
    for line in std::io::stdin().lines() {
        let line = line.map_err(text)?;
        if line == BEAR {
            let mut heir = Command::new("sleep");
            let heir = heir.arg("60").stdin(Stdio::null()).stdout(Stdio::null());
            println!("{}", heir.spawn().map_err(text)?.id());
            continue;
        }
        match enqueue(&engine, &line) {
            Ok(()) => println!("kept"),
            Err(refused) => println!("not kept: {refused}"),
        }
    }
    engine.close_wait().map_err(text)
}

fn enqueue(engine: &Engine, payload: &str) -> Result<(), String> {
    let (queue, kind) = ("orders".parse(), "order".parse());
    let payload = payload.as_bytes().to_vec();
    let message = NewMessage::new(queue.map_err(text)?, kind.map_err(text)?, payload.into());
    let answer = engine.backend().enqueue(vec![message], WhenFull::Refuse);
    answer.wait().map_err(text)?.map_err(text).map(drop)
}

/// Another process, and what it says.
struct Owner {
    child: Child,
    says: BufReader<std::process::ChildStdout>,
}

impl Owner {
    fn start(store: &Path) -> Result<Self, String> {
        let program = std::env::current_exe().map_err(text)?;
        let mut child = Command::new(program)
            .arg(OWN)
            .arg(store)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .map_err(text)?;
        let says = child.stdout.take().ok_or("no output")?;
        Ok(Self {
            child,
            says: BufReader::new(says),
        })
    }

    fn hear(&mut self) -> Result<String, String> {
        let mut line = String::new();
        self.says.read_line(&mut line).map_err(text)?;
        Ok(line.trim().to_owned())
    }

    /// Lets it enqueue something.
    fn enqueue(&mut self, payload: &str) -> Result<(), String> {
        let input = self.child.stdin.as_mut().ok_or("no input")?;
        writeln!(input, "{payload}").map_err(text)?;
        let answer = self.hear()?;
        require(answer == "kept", &answer)
    }

    /// Lets it start a process that lives on when it is gone, with whatever it inherits.
    fn bear(&mut self) -> Result<Heir, String> {
        let input = self.child.stdin.as_mut().ok_or("no input")?;
        writeln!(input, "{BEAR}").map_err(text)?;
        Ok(Heir(self.hear()?))
    }

    /// Lets it close.
    fn close(mut self) -> Result<(), String> {
        drop(self.child.stdin.take());
        let ended = self.child.wait().map_err(text)?;
        require(ended.success(), "the owner could not close")
    }

    fn kill(mut self) -> Result<(), String> {
        self.child.kill().map_err(text)?;
        self.child.wait().map_err(text).map(drop)
    }
}

/// A process that is not told anything more ends by itself: its input ends.
impl Drop for Owner {
    fn drop(&mut self) {
        drop(self.child.stdin.take());
        drop(self.child.wait());
    }
}

/// The process that an owner started, by its number; ends with this.
struct Heir(String);

impl Drop for Heir {
    fn drop(&mut self) {
        drop(Command::new("kill").arg(&self.0).status());
    }
}

fn require(holds: bool, or: &str) -> Result<(), String> {
    holds.then_some(()).ok_or_else(|| or.to_owned())
}

/// A folder for one case.
struct Folder(std::path::PathBuf);

impl Folder {
    fn new(seed: u64) -> Result<Self, String> {
        let name = format!("mq-two-{}-{seed}", std::process::id());
        let path = std::env::temp_dir().join(name);
        fs::create_dir_all(&path).map_err(text)?;
        Ok(Self(path))
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        drop(fs::remove_dir_all(&self.0));
    }
}

/// What is done to the lock file while somebody holds it.
const VANDALS: [fn(&Path) -> std::io::Result<()>; 4] = [
    |_| Ok(()),
    |lock| fs::remove_file(lock),
    |lock| {
        fs::remove_file(lock)?;
        fs::write(lock, "pid 1")
    },
    |lock| fs::write(lock, ""),
];

/// Each case: one owner; a vandal at the lock file; a second process and a second engine in this one are refused; the owner
/// goes on; it closes or is killed, outlived by a process that it started; rivals race for the store; everything that was
/// kept is there.
pub(super) fn owners(run: &Run) -> Outcome {
    let cases = run.level.of(8, 80, 2_000);
    run.each_seed(cases, |seed| {
        let folder = Folder::new(seed)?;
        let store = folder.0.join("store");
        let vandal = usize::try_from(seed % 4).unwrap_or(0);
        let kills = seed % 8 < 4;
        let (kept, heir) = one_owner(&store, VANDALS.get(vandal).copied(), kills)?;
        let kept = kept + rivals(&store)?;
        drop(heir); // until now it lived
        let engine = Engine::builder(&store).open_wait().map_err(text)?;
        let there = engine.backend().stats().live_messages;
        engine.close_wait().map_err(text)?;
        run.tried(u64::from(kills) + u64::from(vandal > 0));
        require(
            there == kept,
            &format!("{kept} messages were kept and {there} are there"),
        )
    })
    .into()
}

fn one_owner(
    store: &Path,
    vandal: Option<fn(&Path) -> std::io::Result<()>>,
    kills: bool,
) -> Result<(u64, Heir), String> {
    let mut owner = Owner::start(store)?;
    let answer = owner.hear()?;
    require(answer == "open", &answer)?;
    owner.enqueue("before")?;
    if let Some(vandal) = vandal {
        vandal(&store.join("LOCK")).map_err(text)?;
    }
    let mut second = Owner::start(store)?;
    let answer = second.hear()?;
    let in_use = answer.starts_with("refused") && answer.contains("in use");
    require(in_use, &format!("a second process was answered: {answer}"))?;
    drop(second);
    match Engine::builder(store).open_wait() {
        Err(refused) if refused.to_string().contains("in use") => {}
        Err(refused) => return Err(format!("a second engine was answered: {refused}")),
        Ok(_) => return Err("a second engine was let in".to_owned()),
    }
    owner.enqueue("after")?;
    let heir = owner.bear()?;
    if kills {
        owner.kill()?
    } else {
        owner.close()?
    }
    Ok((2, heir))
}

/// Several processes want the store at once: one at a time has it. Answers how many messages they kept.
fn rivals(store: &Path) -> Result<u64, String> {
    let mut kept = 0;
    let mut waiting: Vec<Owner> = (0..RIVALS)
        .map(|_| Owner::start(store))
        .collect::<Result<_, _>>()?;
    let mut owners = Vec::new();
    for mut rival in waiting.drain(..) {
        match rival.hear()? {
            answer if answer == "open" => owners.push(rival),
            answer => require(answer.contains("in use"), &answer)?,
        }
    }
    // None of those that are in has been told to go: there can be only one.
    require(
        owners.len() == 1,
        &format!("{} of {RIVALS} rivals are in", owners.len()),
    )?;
    for mut owner in owners {
        owner.enqueue("rival")?;
        kept += 1;
        owner.close()?;
    }
    Ok(kept)
}
