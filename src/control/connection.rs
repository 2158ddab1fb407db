//! One caller: its lines are read, its calls carried out, its answers written in order.
//!
//! Invariants: what was read is answered, unless the caller stops reading. A half line is never a call. At most
//! [`UNDER_WAY_MAX`] calls of at most [`BYTES_UNDER_WAY_MAX`] bytes are under way.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use mq_core::backend::Receipt;
use mq_core::limits::PAYLOAD_SIZE_MAX;
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader, BufWriter};
use tokio::net::UnixStream;
use tokio::net::unix::{OwnedReadHalf, OwnedWriteHalf};
use tokio::sync::mpsc::error::TryRecvError;
use tokio::sync::mpsc::{Receiver, Sender, channel};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, watch};
use tokio::time;

use super::answer::{Answer, Enqueued};
use super::call::Call;
use super::execute::{execute, submit};
use super::fault::CallError;
use super::line::{self, AnswerLine, Read};
use super::server::{Phase, greeting, reached};
use crate::engine::Engine;
use crate::request::Pending;

/// Calls under way: enough for several full commits.
const UNDER_WAY_MAX: usize = 1_024;

/// Bytes of calls under way; one call may be larger and is then alone.
const BYTES_UNDER_WAY_MAX: u32 = 8 << 20;

/// Bytes of a line beside its payload: headers and keys, escaped.
const LINE_SIZE_BESIDE: usize = 256 << 10;

/// How long a line may take from its first byte to its end.
const LINE_WITHIN: Duration = Duration::from_secs(30);

/// How long a caller may leave its answers unread.
const READ_WITHIN: Duration = Duration::from_secs(30);

/// Serves one caller until it or the engine ends.
pub(super) async fn run(stream: UnixStream, engine: Engine, phase: watch::Receiver<Phase>) {
    let (input, output) = stream.into_split();
    let (sender, receiver) = channel(UNDER_WAY_MAX);
    let ((), answered) = tokio::join!(
        take(input, sender, &engine, phase),
        answer(output, receiver)
    );
    if let Err(error) = answered {
        tracing::debug!(%error, "a caller went away before its answers");
    }
}

/// A call that was read.
struct UnderWay {
    id: Option<u64>,
    answer: Answering,
    /// Given back when it is answered.
    _room: Option<OwnedSemaphorePermit>,
}

enum Answering {
    There(Box<Result<Answer, CallError>>),
    Enqueue(Pending<Receipt>),
}

impl UnderWay {
    fn refused(error: CallError) -> Self {
        Self {
            id: None,
            answer: Answering::There(Box::new(Err(error))),
            _room: None,
        }
    }
}

async fn take(
    input: OwnedReadHalf,
    sender: Sender<UnderWay>,
    engine: &Engine,
    mut phase: watch::Receiver<Phase>,
) {
    let mut input = BufReader::new(input);
    let mut line = Vec::new();
    let room = Arc::new(Semaphore::new(BYTES_UNDER_WAY_MAX as usize));
    let size_max = 2 * engine.payload_size_max().min(PAYLOAD_SIZE_MAX) + LINE_SIZE_BESIDE;
    loop {
        let read = tokio::select! {
            biased;
            () = reached(&mut phase, Phase::Closing) => {
                // Nothing behind what was read is taken: whoever asked can ask the next owner.
                sender.send(UnderWay::refused(CallError::closing())).await.ok();
                return;
            }
            () = sender.closed() => return,
            read = next_line(&mut input, &mut line, size_max) => read,
        };
        let next = match read {
            Ok(Read::Line) => {
                let size = u32::try_from(line.len()).unwrap_or(u32::MAX);
                let size = size.clamp(1, BYTES_UNDER_WAY_MAX);
                let held = Arc::clone(&room).acquire_many_owned(size).await;
                carry_out(engine, &line, held.ok()).await
            }
            Ok(Read::TooLong) => UnderWay::refused(too_long(size_max)),
            Ok(Read::End) | Err(_) => return,
        };
        let over = matches!(read, Ok(Read::TooLong));
        if sender.send(next).await.is_err() || over {
            return;
        }
    }
}

/// Waits for the first byte as long as it takes, for the rest of the line not so long.
async fn next_line(
    input: &mut BufReader<OwnedReadHalf>,
    line: &mut Vec<u8>,
    size_max: usize,
) -> io::Result<Read> {
    if input.fill_buf().await?.is_empty() {
        return Ok(Read::End);
    }
    let read = time::timeout(LINE_WITHIN, line::read(input, line, size_max)).await;
    read.unwrap_or(Ok(Read::End))
}

fn too_long(size_max: usize) -> CallError {
    CallError::new(
        "too_long",
        format_args!("a line is at most {size_max} bytes; this connection ends here"),
    )
}

async fn carry_out(engine: &Engine, line: &[u8], room: Option<OwnedSemaphorePermit>) -> UnderWay {
    let (id, call) = line::parse(line);
    let answer = match call {
        Ok(Call::Enqueue(call)) => match submit(engine, *call).await {
            Ok(pending) => Answering::Enqueue(pending),
            Err(error) => Answering::There(Box::new(Err(error))),
        },
        Ok(call) => Answering::There(Box::new(execute(engine, call).await)),
        Err(error) => Answering::There(Box::new(Err(error))),
    };
    UnderWay {
        id,
        answer,
        _room: room,
    }
}

async fn answer(output: OwnedWriteHalf, mut receiver: Receiver<UnderWay>) -> io::Result<()> {
    let mut output = BufWriter::new(output);
    let mut greeted = serde_json::to_vec(&greeting())?;
    greeted.push(b'\n');
    write(&mut output, &greeted).await?;
    loop {
        let next = match receiver.try_recv() {
            Ok(next) => Some(next),
            Err(TryRecvError::Disconnected) => None,
            Err(TryRecvError::Empty) => {
                flush(&mut output).await?;
                receiver.recv().await
            }
        };
        let Some(UnderWay { id, answer, _room }) = next else {
            return flush(&mut output).await;
        };
        let result = match answer {
            Answering::There(result) => *result,
            Answering::Enqueue(pending) => {
                if !pending.is_done() {
                    flush(&mut output).await?;
                }
                let receipt = pending.await;
                receipt
                    .map(|receipt| Answer::Enqueued(Enqueued::from(receipt)))
                    .map_err(CallError::from)
            }
        };
        let mut bytes = serde_json::to_vec(&AnswerLine::new(id, result))?;
        bytes.push(b'\n');
        write(&mut output, &bytes).await?;
    }
}

async fn write(output: &mut BufWriter<OwnedWriteHalf>, bytes: &[u8]) -> io::Result<()> {
    within(output.write_all(bytes)).await
}

async fn flush(output: &mut BufWriter<OwnedWriteHalf>) -> io::Result<()> {
    within(output.flush()).await
}

async fn within(writing: impl Future<Output = io::Result<()>>) -> io::Result<()> {
    let written = time::timeout(READ_WITHIN, writing).await;
    written.unwrap_or_else(|_| Err(io::ErrorKind::TimedOut.into()))
}
