//! From what was said about handlers to pools that can be attached: every problem is found before anything starts.

use std::collections::BTreeMap;
use std::sync::Arc;

use mq_core::command::Selector;
use mq_core::name::{KindName, QueueName};

use crate::defaults::Defaults;
use crate::layer::AnyLayer;
use crate::newer::{Probe, Readable};
use crate::options::{HandlerOptions, PoolOptions, Settings};
use crate::problem::{Fault, Problem, StartError};
use crate::runner::Runner;
use crate::sharing::check_pools;
use crate::states::{Needs, States};

/// A handler before its start.
pub(crate) struct Entry {
    /// The kind, then its aliases; none for a raw handler of all kinds.
    pub(crate) kinds: Vec<String>,
    pub(crate) is_raw: bool,
    pub(crate) options: HandlerOptions,
    pub(crate) faults: Vec<Fault>,
    pub(crate) needs: fn(&mut Needs<'_>),
    pub(crate) runner: Arc<dyn Runner>,
    /// The queue of its kind.
    pub(crate) home: Option<&'static str>,
    /// Its kind, and the indexed fields that its type declares.
    pub(crate) index: (&'static str, &'static [&'static str]),
    /// The latest version of the payload that it reads, and how; none if it takes any bytes.
    pub(crate) reads: Option<(u16, Probe)>,
}

/// A handler that passed every check.
pub(crate) struct Checked {
    pub(crate) readable: Vec<Readable>,
    pub(crate) names: Vec<String>,
    pub(crate) selectors: Vec<Selector>,
    pub(crate) settings: Settings,
    pub(crate) layers: Vec<AnyLayer>,
    /// The pool it shares with others.
    pub(crate) pool: Option<String>,
    pub(crate) runner: Arc<dyn Runner>,
}

/// What a raw pool is called: its kind, else its queue, else `*`.
pub(crate) fn raw_name(selector: &Selector) -> String {
    let kind = selector.kind.as_ref().map(KindName::to_string);
    let queue = || selector.queue.as_ref().map(QueueName::to_string);
    kind.or_else(queue).unwrap_or_else(|| "*".to_owned())
}

/// All handlers, or all problems.
pub(crate) fn check(
    entries: Vec<Entry>,
    pools: Vec<(String, PoolOptions)>,
    defaults: &Defaults,
    states: &States,
    mut problems: Vec<Problem>,
) -> Result<(Vec<Checked>, BTreeMap<String, Settings>), StartError> {
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    problems.extend(defaults.problems(cores));
    let mut checked: Vec<Checked> = Vec::with_capacity(entries.len());
    for entry in entries {
        let (pool, faults) = check_one(entry, defaults, states, cores, &checked);
        let handler = pool.names.first().cloned().unwrap_or_default();
        problems.extend(faults.into_iter().map(|fault| Problem {
            handler: handler.clone(),
            fault,
        }));
        checked.push(pool);
    }
    let pools = check_pools(pools, &checked, cores, &mut problems);
    if problems.is_empty() {
        Ok((checked, pools))
    } else {
        Err(StartError::Handlers { problems })
    }
}

fn check_one(
    entry: Entry,
    defaults: &Defaults,
    states: &States,
    cores: usize,
    earlier: &[Checked],
) -> (Checked, Vec<Fault>) {
    let mut faults = entry.faults;
    let queue = entry.options.queue.as_deref().map(QueueName::new);
    let queue = queue.and_then(|name| name.map_err(|error| faults.push(error.into())).ok());
    let mut selectors = Vec::with_capacity(entry.kinds.len());
    for name in &entry.kinds {
        match KindName::new(name) {
            Ok(kind) => selectors.push(Selector {
                queue: queue.clone(),
                kind: Some(kind),
            }),
            Err(error) => faults.push(error.into()),
        }
    }
    if entry.kinds.is_empty() {
        selectors.push(Selector { queue, kind: None });
    }
    duplicates(&selectors, earlier, &mut faults);
    let mut needs = Needs::new(states);
    (entry.needs)(&mut needs);
    let missing = needs.into_missing().into_iter();
    faults.extend(missing.map(|type_name| Fault::MissingState { type_name }));
    let own = &entry.options;
    let _: Settings = own.settings(cores, &mut faults);
    let mut inherited = Vec::new(); // what it inherits is checked by itself
    let home = own.queue.as_deref().or(entry.home);
    let complete = defaults.complete(own, home);
    let mut settings = complete.settings(cores, &mut inherited);
    settings.by_queue = defaults.by_queue(own);
    let kinds = selectors
        .iter()
        .filter_map(|selector| selector.kind.clone());
    let readable = entry.reads.map(|(version, probe)| {
        let readable = kinds.map(|kind| Readable {
            kind,
            version,
            probe,
        });
        readable.collect()
    });
    let shares = own.pool.as_ref().filter(|_| own.has_size());
    faults.extend(shares.map(|name| Fault::SizeInPool { name: name.clone() }));
    let names = if entry.is_raw {
        selectors.first().map(raw_name).into_iter().collect()
    } else {
        entry.kinds
    };
    let checked = Checked {
        readable: readable.unwrap_or_default(),
        names,
        selectors,
        settings,
        layers: complete.layers,
        pool: complete.pool,
        runner: entry.runner,
    };
    (checked, faults)
}

/// Notes each selector that another handler, or the same one, has already.
fn duplicates(selectors: &[Selector], earlier: &[Checked], faults: &mut Vec<Fault>) {
    for (index, selector) in selectors.iter().enumerate() {
        let others = earlier.iter().flat_map(|checked| &checked.selectors);
        let own = selectors.iter().take(index);
        if others.chain(own).any(|other| is_same_line(selector, other)) {
            let name = raw_name(selector);
            faults.push(Fault::DuplicateKind { name });
        }
    }
}

/// Whether two selectors with the same kind (or both without one) share a queue.
fn is_same_line(one: &Selector, other: &Selector) -> bool {
    let shares_queue = match (&one.queue, &other.queue) {
        (Some(one), Some(other)) => one == other,
        (None, _) | (_, None) => true,
    };
    one.kind == other.kind && shares_queue
}
