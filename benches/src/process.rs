//! This program again, as a process of its own: to be weighed alone, or to be killed.
//!
//! It is called `mq-benches child STORE WORK …` and says what it finds in lines of JSON.

use std::io::{BufRead, BufReader, Read};
use std::path::Path;
use std::process::{Child as Spawned, ChildStdout, Command, Stdio};

use anyhow::{Context, bail};
use serde::Serialize;
use serde::de::DeserializeOwned;

/// A child at work.
#[derive(Debug)]
pub struct Child {
    spawned: Spawned,
    output: BufReader<ChildStdout>,
}

impl Child {
    /// Starts one that works on the store `store`.
    ///
    /// # Errors
    /// The system starts no process.
    pub fn start(store: &Path, words: &[String]) -> anyhow::Result<Self> {
        let mut command = Command::new(std::env::current_exe()?);
        command.arg("child").arg(store).args(words);
        let mut spawned = command
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .context("cannot start a child")?;
        let output = spawned.stdout.take().context("a child has no output")?;
        Ok(Self {
            spawned,
            output: BufReader::new(output),
        })
    }

    /// Waits for the next thing it finds.
    ///
    /// # Errors
    /// It ended instead, or told nonsense.
    pub fn hear<T: DeserializeOwned>(&mut self) -> anyhow::Result<T> {
        let mut line = String::new();
        if self.output.read_line(&mut line)? == 0 {
            bail!("a child failed: {}", self.spawned.wait()?);
        }
        serde_json::from_str(&line).with_context(|| format!("a child told nonsense: {line:?}"))
    }

    /// Waits for the one thing it finds before it ends.
    ///
    /// # Errors
    /// It failed, or told nonsense.
    pub fn answer<T: DeserializeOwned>(mut self) -> anyhow::Result<T> {
        let answer = self.hear();
        let status = self.spawned.wait()?;
        if !status.success() {
            bail!("a child failed: {status}");
        }
        answer
    }

    /// Kills it with signal 9.
    ///
    /// # Errors
    /// What the system says.
    pub fn kill(mut self) -> anyhow::Result<()> {
        self.spawned.kill()?;
        self.spawned.wait()?;
        Ok(())
    }
}

/// Says what a child has found.
///
/// # Errors
/// It is no JSON.
pub fn say(found: &impl Serialize) -> anyhow::Result<()> {
    println!("{}", serde_json::to_string(found)?);
    Ok(())
}

/// Waits to be killed. If the parent is gone instead, the input ends.
///
/// # Errors
/// What the system says.
pub fn wait_to_be_killed() -> anyhow::Result<()> {
    std::io::stdin().read_to_end(&mut Vec::new())?;
    Ok(())
}
