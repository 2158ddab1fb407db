//! The handlers of one pool: which messages are whose, where each runs, and with which settings.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use mq_core::backend::Grant;
use mq_core::command::{PoolLine, Selector};

use crate::gate::Gate;
use crate::options::Settings;
use crate::runner::Runner;

/// One handler.
pub(crate) struct Route {
    /// Its kind, then its aliases.
    pub(crate) names: Vec<String>,
    pub(crate) selectors: Vec<Selector>,
    pub(crate) settings: Settings,
    pub(crate) runner: Arc<dyn Runner>,
}

/// All handlers of a pool; at least one.
pub(crate) struct Routes(Vec<Route>);

impl Routes {
    pub(crate) fn new(routes: Vec<Route>) -> Self {
        Self(routes)
    }

    /// Whose message it is.
    pub(crate) fn of(&self, grant: &Grant) -> Option<&Route> {
        if let [only] = self.0.as_slice() {
            return Some(only);
        }
        let takes = |selector: &Selector| selector.takes(&grant.queue, &grant.kind);
        let mut routes = self.0.iter();
        routes.find(|route| route.selectors.iter().any(takes))
    }

    /// What the store is asked for, in the order in which [`Routes::of`] looks.
    pub(crate) fn lines(&self) -> Vec<PoolLine> {
        let lines = self.0.iter().flat_map(|route| {
            let selectors = route.selectors.iter().cloned();
            selectors.map(|selector| PoolLine {
                selector,
                retry: route.settings.retry,
            })
        });
        lines.collect()
    }

    pub(crate) fn names(&self) -> impl Iterator<Item = &String> {
        self.0.iter().flat_map(|route| &route.names)
    }

    /// The gates of those whose handlers have layers.
    pub(crate) fn gates(&self) -> impl Iterator<Item = &Arc<Gate>> {
        self.0.iter().filter_map(|route| route.runner.gate())
    }

    /// The shortest time limit that an attempt can have.
    pub(crate) fn timeout_min(&self) -> Option<Duration> {
        let limits = self.0.iter();
        let limits = limits.filter_map(|route| route.settings.timeout_min());
        limits.min()
    }

    pub(crate) fn scale(&self, limit: u32) {
        self.0.iter().for_each(|route| route.runner.scale(limit));
    }

    pub(crate) fn close(&self) {
        self.0.iter().for_each(|route| route.runner.close());
    }
}

impl fmt::Debug for Routes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.names()).finish()
    }
}
