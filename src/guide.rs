//! The guides, as they stand in the folder `docs/` of the repository: what people read who use mq, in the order in which
//! they need it. Their Rust blocks are compiled as tests of this crate.

/// Where links between guides lead in the reference; on the page itself its own list of links follows and is ignored.
macro_rules! links {
    () => {
        "[quick-start.md]: crate::guide::quick_start
[concepts.md]: crate::guide::concepts
[message-lifecycle.md]: crate::guide::message_lifecycle
[keys.md]: crate::guide::keys
[finding-messages.md]: crate::guide::finding_messages
[handlers.md]: crate::guide::handlers
[schedules.md]: crate::guide::schedules
[observability.md]: crate::guide::observability
[metrics.md]: crate::guide::metrics
[durability.md]: crate::guide::durability
[configuration.md]: crate::guide::configuration
[testing-your-handlers.md]: crate::guide::testing_your_handlers
[deploy.md]: crate::guide::deploy
[operations.md]: crate::guide::operations
[upgrade.md]: crate::guide::upgrade
[security.md]: crate::guide::security
[coming-from.md]: crate::guide::coming_from
[comparison.md]: crate::guide::comparison
[journal-format.md]: crate::guide::journal_format
[cli.md]: crate::guide::cli
"
    };
}

macro_rules! guides {
    ($($name:ident: $file:literal,)*) => {
        $(
            #[doc = links!()]
            #[doc = include_str!(concat!("../docs/", $file))]
            pub mod $name {}
        )*
    };
}

guides! {
    quick_start: "quick-start.md",
    concepts: "concepts.md",
    message_lifecycle: "message-lifecycle.md",
    keys: "keys.md",
    finding_messages: "finding-messages.md",
    handlers: "handlers.md",
    schedules: "schedules.md",
    durability: "durability.md",
    configuration: "configuration.md",
    observability: "observability.md",
    metrics: "metrics.md",
    testing_your_handlers: "testing-your-handlers.md",
    deploy: "deploy.md",
    operations: "operations.md",
    upgrade: "upgrade.md",
    security: "security.md",
    coming_from: "coming-from.md",
    comparison: "comparison.md",
    journal_format: "journal-format.md",
    cli: "cli.md",
}
