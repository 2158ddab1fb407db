//! From checked handlers to pools: a pool of its own for each, or one that several share.

use std::collections::BTreeMap;
use std::sync::Arc;

use mq_core::backend::{Stopped, Wake};
use mq_core::command::PoolSpec;
use tokio::sync::Notify;

use crate::check::Checked;
use crate::options::{PoolOptions, Settings};
use crate::pool::{NewPool, Pool, Shared};
use crate::problem::{Fault, Problem, StartError};
use crate::route::{Route, Routes};

/// A pool with all its handlers.
pub(crate) struct Grouped {
    name: Option<String>,
    settings: Settings,
    routes: Vec<Route>,
}

/// Pools that are shared, and handlers that share one.
pub(crate) fn check_pools(
    pools: Vec<(String, PoolOptions)>,
    handlers: &[Checked],
    cores: usize,
    problems: &mut Vec<Problem>,
) -> BTreeMap<String, Settings> {
    let mut known = BTreeMap::new();
    for (name, options) in pools {
        let mut faults = Vec::new();
        let settings = options.settings(cores, &mut faults);
        if !handlers
            .iter()
            .any(|handler| handler.pool.as_ref() == Some(&name))
        {
            faults.push(Fault::EmptyPool);
        }
        let is_kind = handlers.iter().any(|handler| handler.names.contains(&name));
        if is_kind || known.contains_key(&name) {
            faults.push(Fault::TakenPool { name: name.clone() });
        }
        problems.extend(faults.into_iter().map(|fault| Problem {
            handler: format!("pool {name}"),
            fault,
        }));
        known.insert(name, settings);
    }
    for handler in handlers {
        let unknown = handler
            .pool
            .as_ref()
            .filter(|name| !known.contains_key(*name));
        problems.extend(unknown.map(|name| Problem {
            handler: handler.names.first().cloned().unwrap_or_default(),
            fault: Fault::UnknownPool { name: name.clone() },
        }));
    }
    known
}

/// Handlers that share a pool go into one.
pub(crate) fn group(
    handlers: Vec<Checked>,
    mut shared: BTreeMap<String, Settings>,
) -> Vec<Grouped> {
    let mut pools: Vec<Grouped> = Vec::with_capacity(handlers.len());
    for handler in handlers {
        let Checked {
            names,
            selectors,
            settings,
            runner,
            pool: name,
            ..
        } = handler;
        let own = settings.clone();
        let route = Route {
            names,
            selectors,
            settings,
            runner,
        };
        let known = pools
            .iter_mut()
            .find(|pool| name.is_some() && pool.name == name);
        if let Some(pool) = known {
            pool.routes.push(route);
            continue;
        }
        let of_pool = name.as_ref().and_then(|name| shared.remove(name));
        pools.push(Grouped {
            name,
            settings: of_pool.unwrap_or(own),
            routes: vec![route],
        });
    }
    pools
}

pub(crate) fn attach_all(
    pools: Vec<Grouped>,
    shared: &Arc<Shared>,
) -> Result<Vec<Arc<Pool>>, StartError> {
    let mut attached: Vec<Arc<Pool>> = Vec::with_capacity(pools.len());
    for pool in pools {
        match attach(pool, shared) {
            Ok(pool) => attached.push(pool),
            Err(stopped) => {
                attached.iter().for_each(|pool| pool.detach());
                return Err(stopped.into());
            }
        }
    }
    Ok(attached)
}

fn attach(pool: Grouped, shared: &Arc<Shared>) -> Result<Arc<Pool>, Stopped> {
    let Grouped {
        name,
        settings,
        routes,
    } = pool;
    let routes = Routes::new(routes);
    let spec = PoolSpec {
        lines: routes.lines(),
        lease: settings.lease,
    };
    let delivered = Arc::new(Notify::new());
    let told = Arc::clone(&delivered);
    let wake: Wake = Arc::new(move || told.notify_one());
    let line = shared.backend.attach(spec, wake)?;
    let new = NewPool {
        name,
        settings,
        line,
        routes,
        delivered,
    };
    Ok(Pool::new(new, Arc::clone(shared)))
}
