//! `billing-export`: what billing does with usage files.
//!
//! `verify` checks them, `show` turns one into JSON lines, `render` writes a sealed one again, `totals` sums them up,
//! `explain` makes a statement of a subscriber's day, `collect` takes them into a PostgreSQL ledger, which
//! `reconcile` holds against the operator's figures; `adjust` corrects a
//! sealed record, `prune` lets records leave a node's state that billing has.
//! Exit codes: 0 done · 1 the answer is no · 2 wrong use · 74 input/output · 78 configuration.

mod cli;

use std::process::ExitCode;

use clap::Parser as _;

fn main() -> ExitCode {
    match cli::Command::parse().verb {
        cli::Verb::Verify(arguments) => cli::verify::run(&arguments),
        cli::Verb::Show(arguments) => cli::show::run(&arguments),
        cli::Verb::Render(arguments) => cli::render::run(&arguments),
        cli::Verb::Totals(arguments) => cli::totals::run(&arguments),
        cli::Verb::Explain(arguments) => cli::explain::run(&arguments),
        cli::Verb::Adjust(arguments) => cli::adjust::run(&arguments),
        #[cfg(feature = "collect")]
        cli::Verb::Reconcile(arguments) => cli::reconcile::run(&arguments),
        cli::Verb::Prune(arguments) => cli::prune::run(&arguments),
        #[cfg(feature = "collect")]
        cli::Verb::Collect(arguments) => cli::collect::run(&arguments),
    }
    .unwrap_or_else(|failure| failure.report())
}
