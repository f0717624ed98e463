//! `[admin] address`: whether the collector lives and works, and its figures, over HTTP.
//!
//! `/healthz` answers while the process lives; `/readyz` while the ledger was reached and the last look at every source came to
//! its end; `/metrics` in Prometheus' text form. No label names a subscriber.

mod visit;

use std::collections::BTreeMap;
use std::io;
use std::net::TcpListener;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use axum::Router;
use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use jiff::Timestamp;
use metrics_exporter_prometheus::{PrometheusBuilder, PrometheusHandle, PrometheusRecorder};
use serde_json::json;

use super::{Reason, Watermark};

/// Records taken.
const RECORDS: &str = "zrgw_collect_records_total";
/// The last file of the unbroken run.
const WATERMARK: &str = "zrgw_collect_watermark";
/// Seconds from the end of the watermark's record to the present.
const LAG: &str = "zrgw_collect_lag_seconds";
/// Files refused.
const REFUSED: &str = "zrgw_collect_refused_total";

/// What is told over HTTP.
pub struct Board {
    /// Takes figures in.
    recorder: PrometheusRecorder,
    /// Gives them out.
    figures: PrometheusHandle,
    /// The rest.
    state: Mutex<Standing>,
}

/// How the collector stands.
struct Standing {
    /// Why it is not ready; empty where it is.
    reasons: Vec<&'static str>,
    /// End of each node's watermark, in Unix seconds.
    ends: BTreeMap<String, i64>,
}

impl Default for Board {
    fn default() -> Board {
        Board::new()
    }
}

impl Board {
    /// A board that says `starting`.
    pub fn new() -> Board {
        let recorder = PrometheusBuilder::new().build_recorder();
        let figures = recorder.handle();
        let state = Mutex::new(Standing { reasons: vec!["starting"], ends: BTreeMap::new() });
        let board = Board { recorder, figures, state };
        metrics::with_local_recorder(&board.recorder, || {
            metrics::describe_counter!(RECORDS, "Records taken into the ledger that were not there before.");
            metrics::describe_gauge!(WATERMARK, "Last file of the unbroken run of a node's files.");
            metrics::describe_gauge!(LAG, "Seconds since the end of the last record of the unbroken run.");
            metrics::describe_counter!(REFUSED, "Files refused, by reason.");
            for reason in Reason::ALL {
                metrics::counter!(REFUSED, "reason" => reason.label()).increment(0);
            }
        });
        board
    }

    /// The standing; a panic elsewhere does not make it unusable.
    fn standing(&self) -> MutexGuard<'_, Standing> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Why the collector is not ready; none where it is.
    pub fn stand(&self, reasons: Vec<&'static str>) {
        self.standing().reasons = reasons;
    }

    /// A file was taken, with so many new records.
    pub fn taken(&self, records: u64, watermark: &Watermark) {
        metrics::with_local_recorder(&self.recorder, || {
            metrics::counter!(RECORDS, "node" => watermark.node_id.clone()).increment(records);
        });
        self.reached(watermark);
    }

    /// A node is this far.
    #[expect(
        clippy::cast_precision_loss,
        reason = "a gauge is a float; files are numbered below 2^53 for all time"
    )]
    pub fn reached(&self, watermark: &Watermark) {
        metrics::with_local_recorder(&self.recorder, || {
            metrics::counter!(RECORDS, "node" => watermark.node_id.clone()).increment(0);
            metrics::gauge!(WATERMARK, "node" => watermark.node_id.clone()).set(watermark.file_seq as f64);
        });
        if let Some(end) = watermark.end_seconds {
            self.standing().ends.insert(watermark.node_id.clone(), end);
        }
    }

    /// A file was refused.
    pub fn refused(&self, reason: Reason) {
        metrics::with_local_recorder(&self.recorder, || {
            metrics::counter!(REFUSED, "reason" => reason.label()).increment(1);
        });
    }

    /// All figures at this instant.
    #[expect(clippy::cast_precision_loss, reason = "a gauge is a float; seconds stay below 2^53")]
    pub fn figures(&self, now: Timestamp) -> String {
        metrics::with_local_recorder(&self.recorder, || {
            for (node, end) in &self.standing().ends {
                let lag = now.as_second().saturating_sub(*end).max(0);
                metrics::gauge!(LAG, "node" => node.clone()).set(lag as f64);
            }
        });
        self.figures.run_upkeep();
        self.figures.render()
    }

    /// The answer of `/readyz`: whether ready, and the JSON.
    pub fn readiness(&self) -> (bool, String) {
        let reasons = self.standing().reasons.clone();
        let ready = reasons.is_empty();
        (ready, json!({"ready": ready, "reasons": reasons, "attention": []}).to_string())
    }
}

/// Answers on this socket until the future `stop` ends.
///
/// # Errors
/// The socket cannot be used.
pub async fn serve(
    listener: TcpListener,
    board: Arc<Board>,
    stop: impl Future<Output = ()> + Send + 'static,
) -> io::Result<()> {
    listener.set_nonblocking(true)?;
    let listener = tokio::net::TcpListener::from_std(listener)?;
    let app = Router::new()
        .route("/healthz", get(|| async { "ok\n" }))
        .route("/readyz", get(readyz))
        .route("/metrics", get(figures))
        .with_state(board);
    axum::serve(visit::Limited::new(listener), app).with_graceful_shutdown(stop).await
}

/// `/readyz`.
async fn readyz(State(board): State<Arc<Board>>) -> Response {
    let (ready, text) = board.readiness();
    let status = if ready { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
    (status, [(header::CONTENT_TYPE, "application/json")], text).into_response()
}

/// `/metrics`.
async fn figures(State(board): State<Arc<Board>>) -> Response {
    let text = board.figures(Timestamp::now());
    ([(header::CONTENT_TYPE, "text/plain; version=0.0.4")], text).into_response()
}
