//! Before a deploy: can this program read everything that is stored of a kind?
//!
//! Invariants: nothing is changed. Messages are looked at page by page, so that the store goes on meanwhile; what is
//! enqueued or leaves during the check may or may not be seen.

use std::collections::BTreeMap;

use mq_core::backend::{Backend, ReadError, Stopped};
use mq_core::id::{MessageId, Seq};
use mq_core::message::Envelope;
use mq_core::name::KindName;
use mq_core::view::{Filter, MessageView, StateKind};
use mq_dispatch::{DecodeError, Message};

use crate::admin::Admin;
use crate::call::Call;
use crate::engine::EngineBackend;

/// Messages of one page.
const PAGE_LEN: usize = 256;
/// Failures that a report names; it counts all of them.
const FAILURES_LEN_MAX: usize = 100;

/// Why a stored message cannot be handled by this program.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum CheckProblem {
    /// Its payload cannot be decoded.
    #[error(transparent)]
    Decode(DecodeError),
    /// Its bytes cannot be read from the disk.
    #[error(transparent)]
    Read(ReadError),
}

impl CheckProblem {
    /// A stable word for programs.
    #[must_use]
    pub const fn code(&self) -> &'static str {
        match self {
            Self::Decode(error) => error.code(),
            Self::Read(error) => error.code(),
        }
    }
}

/// A stored message that this program cannot handle.
#[derive(Debug)]
#[non_exhaustive]
pub struct CheckFailure {
    /// The message.
    pub id: MessageId,
    /// What it is now.
    pub state: StateKind,
    /// Version of its payload.
    pub version: u16,
    /// Why.
    pub problem: CheckProblem,
}

/// What a check found.
#[derive(Debug, Default)]
#[non_exhaustive]
pub struct CheckReport {
    /// Messages that were decoded or could not be, of the kind and its aliases.
    pub checked: u64,
    /// Of them, by state, in the order of [`StateKind::ALL`].
    pub by_state: [u64; 8],
    /// Of them, those that cannot be decoded or read. They would go dead as undecodable.
    pub failed: u64,
    /// Of them, those that a newer program wrote. They would be held until it runs.
    pub newer: u64,
    /// The first hundred that cannot be handled, by ascending id.
    pub failures: Vec<CheckFailure>,
}

impl CheckReport {
    /// Whether everything can be handled.
    #[must_use]
    pub fn is_ok(&self) -> bool {
        self.failed == 0 && self.newer == 0
    }
}

/// Why a check could not be carried out.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum CheckError {
    /// The kind or an alias is not a valid name.
    #[error(transparent)]
    Name(#[from] mq_core::name::NameError),
    /// The engine does not serve any more.
    #[error(transparent)]
    Stopped(#[from] Stopped),
}

impl CheckError {
    /// A stable word for programs.
    #[must_use]
    pub const fn code(&self) -> &'static str {
        match self {
            Self::Name(error) => error.code(),
            Self::Stopped(error) => error.code(),
        }
    }
}

/// Why a program could not handle what is in an envelope.
type Probe<'a> = &'a (dyn Fn(&Envelope) -> Option<DecodeError> + Sync);

/// Decodes everything stored of the kind of `M` and its aliases.
pub(crate) async fn check<M: Message>(backend: &EngineBackend) -> Result<CheckReport, CheckError> {
    let mut report = CheckReport::default();
    let probe = |envelope: &Envelope| mq_dispatch::decode::<M>(envelope).err();
    for kind in std::iter::once(M::KIND).chain(M::ALIASES.iter().copied()) {
        check_kind(backend, &kind.parse()?, &probe, &mut report).await?;
    }
    report.failures.sort_by_key(|failure| failure.id.seq());
    Ok(report)
}

impl Admin {
    /// Decodes every stored message of each kind (aliases apart) that workers of this engine decode, as they would: after a
    /// deploy, or before work is moved back to an older program. Changes nothing; goes through the store in pages.
    ///
    /// # Errors
    /// [`CheckError`] from the call if the engine stopped.
    pub fn check_running(&self) -> Call<Result<BTreeMap<KindName, CheckReport>, CheckError>> {
        let backend = self.backend.clone();
        Call::of(async move {
            let mut reports = BTreeMap::new();
            for readable in backend.shell().roster.readable() {
                let mut report = CheckReport::default();
                let probe = |envelope: &Envelope| readable.problem(envelope);
                check_kind(&backend, readable.kind(), &probe, &mut report).await?;
                reports.entry(readable.kind().clone()).or_insert(report);
            }
            Ok(reports)
        })
    }
}

async fn check_kind(
    backend: &EngineBackend,
    kind: &KindName,
    probe: Probe<'_>,
    report: &mut CheckReport,
) -> Result<(), CheckError> {
    let mut after = Some(Seq::NONE);
    while let Some(from) = after {
        let filter = Filter {
            kind: Some(kind.clone()),
            ..Filter::default()
        };
        let page = backend.list(filter, from, PAGE_LEN).await;
        let page = page.unwrap_or(Err(Stopped::Closed))?;
        for view in &page.messages {
            check_one(backend, view, probe, report).await?;
        }
        after = page.next;
    }
    Ok(())
}

async fn check_one(
    backend: &EngineBackend,
    view: &MessageView,
    probe: Probe<'_>,
    report: &mut CheckReport,
) -> Result<(), CheckError> {
    let stopped = || Err(ReadError::Stopped(Stopped::Closed));
    let read = backend
        .envelope(view.id)
        .await
        .unwrap_or_else(|_| stopped());
    let (version, problem) = match read {
        Ok(None) => return Ok(()), // it has left meanwhile
        Err(ReadError::Stopped(stopped)) => return Err(stopped.into()),
        Err(error @ ReadError::Unreadable { .. }) => (0, Some(CheckProblem::Read(error))),
        Ok(Some(envelope)) => {
            let problem = probe(&envelope);
            (envelope.version, problem.map(CheckProblem::Decode))
        }
    };
    let state = view.state.kind();
    report.checked += 1;
    if let Some(count) = report.by_state.get_mut(state as usize) {
        *count += 1;
    }
    let Some(problem) = problem else {
        return Ok(());
    };
    if matches!(problem, CheckProblem::Decode(DecodeError::Newer { .. })) {
        report.newer += 1;
    } else {
        report.failed += 1;
    }
    if report.failures.len() < FAILURES_LEN_MAX {
        report.failures.push(CheckFailure {
            id: view.id,
            state,
            version,
            problem,
        });
    }
    Ok(())
}
