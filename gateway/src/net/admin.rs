//! The admin HTTP endpoint: health, readiness, metrics, status. Reads only; nothing can be changed through it.
//!
//! No names or queries of subscribers are served here, and no metric has a label of theirs. Whose an address is, is told to who asks
//! for it by that address (`/api/v1/session`): the support desk's question.
//!
//! Whoever watches the node is always served: connections that say nothing, or drip, lose their place (`visit`). A browser
//! is not talked into reading it for somebody else's page (`host`).

mod host;
mod visit;

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use axum::Router;
use axum::extract::rejection::QueryRejection;
use axum::extract::{Query, State};
use axum::http::{StatusCode, header};
use axum::middleware::from_fn_with_state;
use axum::response::IntoResponse;
use axum::routing::get;
use serde::{Deserialize, Serialize};
use tokio::net::TcpListener;

use self::host::Hosts;
use self::visit::Limited;
use crate::net::ingress::inherited::Inherited;
use crate::net::sys::attention::Attention;
use crate::net::sys::socket;

/// What the endpoint serves; the answers are made by whoever knows them.
pub trait Pages: Send + Sync + 'static {
    /// The metrics in Prometheus text form.
    fn metrics(&self) -> String;
    /// Why the gateway is not ready; empty when it is.
    fn not_ready(&self) -> Vec<String>;
    /// What is wrong although traffic is carried and judged.
    fn attention(&self) -> Vec<Attention>;
    /// The state of the node for people and scripts.
    fn status(&self) -> serde_json::Value;
    /// Whose an address is, or a port of it.
    fn session(&self, address: IpAddr, port: Option<u16>) -> serde_json::Value;
}

/// The body of `/readyz`.
#[derive(Serialize)]
struct Readiness {
    ready: bool,
    reasons: Vec<String>,
    attention: Vec<Attention>,
}

/// Binds the endpoint, or takes the socket that is open already.
///
/// # Errors
/// What the system says of the address.
pub fn bind(address: SocketAddr, inherited: &mut Inherited) -> io::Result<std::net::TcpListener> {
    if let Some(socket) = inherited.take_connections(address).into_iter().next() {
        return Ok(socket);
    }
    socket::listen_alone(address)
}

/// Serves until the event loop ends; at most `connections_max` connections at once, of which the one that was served longest
/// ago makes room. `names` are host names it is asked by, beside addresses, names of one label and the machine's own name.
///
/// # Errors
/// When the listening socket is lost.
pub async fn serve(
    listener: std::net::TcpListener,
    connections_max: usize,
    names: Vec<String>,
    source: Arc<dyn Pages>,
) -> io::Result<()> {
    let listener = TcpListener::from_std(listener)?;
    let router = Router::new()
        .route("/healthz", get(|| async { "ok\n" }))
        .route("/readyz", get(readyz))
        .route("/metrics", get(metrics))
        .route("/api/v1/status", get(status))
        .route("/api/v1/session", get(session))
        .with_state(source)
        .layer(from_fn_with_state(Arc::new(Hosts::new(names)), host::judge));
    axum::serve(Limited::new(listener, connections_max), router).await
}

/// 200 when ready, 503 with the reasons when not; what wants attention stands beside either.
async fn readyz(State(source): State<Arc<dyn Pages>>) -> impl IntoResponse {
    let reasons = source.not_ready();
    let code = if reasons.is_empty() { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
    (code, axum::Json(Readiness { ready: reasons.is_empty(), reasons, attention: source.attention() }))
}

/// Prometheus text exposition format 0.0.4.
async fn metrics(State(source): State<Arc<dyn Pages>>) -> impl IntoResponse {
    ([(header::CONTENT_TYPE, "text/plain; version=0.0.4; charset=utf-8")], source.metrics())
}

/// What is asked of an address.
#[derive(Deserialize)]
struct Whose {
    address: IpAddr,
    port: Option<u16>,
}

/// Whose an address is, as JSON; 400 with the reason where none is asked for.
async fn session(
    State(source): State<Arc<dyn Pages>>,
    whose: Result<Query<Whose>, QueryRejection>,
) -> impl IntoResponse {
    match whose {
        Ok(Query(Whose { address, port })) => axum::Json(source.session(address, port)).into_response(),
        Err(fault) => {
            (StatusCode::BAD_REQUEST, format!("{}; wanted ?address=ADDRESS[&port=PORT]\n", fault.body_text()))
                .into_response()
        }
    }
}

/// The node's state as JSON.
async fn status(State(source): State<Arc<dyn Pages>>) -> impl IntoResponse {
    axum::Json(source.status())
}
