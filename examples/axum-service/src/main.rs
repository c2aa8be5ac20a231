//! A web service: all handlers share one client, whose commands go to the nodes of a cluster.
#![allow(clippy::print_stdout)]

mod metrics;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use axum::Router;
use axum::extract::{Path, State};
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post, put};
use metrics::Metrics;
use redis_entraid::error::{ErrorKind, Outcome};
use redis_entraid::{Client, Error, args};
use tokio::net::TcpListener;
use tokio::signal::unix::{SignalKind, signal};

/// What a handler needs. A clone of the client is another handle on the same connections.
#[derive(Clone)]
struct Service {
    redis: Client,
    metrics: Arc<Metrics>,
    is_ending: Arc<AtomicBool>,
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let metrics = Arc::new(Metrics::default());
    let told = metrics.clone();
    // Returns at once: the service is alive, and gets ready when Redis is.
    let redis = Client::from_env()?.on_event(move |event| told.count(event)).start()?;
    let service = Service { redis: redis.clone(), metrics, is_ending: Arc::default() };
    let is_ending = service.is_ending.clone();
    let app = Router::new()
        .route("/visits/{page}", post(visit).get(visits))
        .route("/pages/{page}", put(store).get(load))
        .route("/livez", get(async || "alive\n"))
        .route("/readyz", get(ready))
        .route("/metrics", get(show_metrics))
        .with_state(service);

    let address = std::env::var("LISTEN").unwrap_or_else(|_| "0.0.0.0:8080".to_owned());
    let listener = TcpListener::bind(address).await?;
    println!("listening on {}", listener.local_addr()?);
    let mut terminate = signal(SignalKind::terminate())?;
    let ending = async move {
        terminate.recv().await;
        // The load balancer sends nobody any more; requests that are there are answered.
        is_ending.store(true, Ordering::Relaxed);
    };
    axum::serve(listener, app).with_graceful_shutdown(ending).await?;
    // Commands that were sent are answered.
    redis.close().await;
    println!("ended");
    Ok(())
}

/// Counts a visit, and says how many there were.
async fn visit(
    State(mut service): State<Service>,
    Path(page): Path<String>,
) -> Result<String, Failure> {
    let count = service.redis.command(args!["INCR", &format!("visits:{page}")]).await?.int()?;
    Ok(format!("{count}\n"))
}

async fn visits(
    State(mut service): State<Service>,
    Path(pages): Path<String>,
) -> Result<String, Failure> {
    let keys: Vec<_> = pages.split(',').map(|page| format!("visits:{page}")).collect();
    let commands: Vec<_> = keys.iter().map(|key| ["GET".into(), key.into()]).collect();
    let mut text = String::new();
    // Each goes to the node that has its key, all at the same time.
    for (page, count) in pages.split(',').zip(service.redis.pipeline(&commands).await?) {
        let count = count?;
        let count = if count.is_null() { "0" } else { count.str()? };
        text += &format!("{page} {count}\n");
    }
    Ok(text)
}

/// Keeps a page for a minute.
async fn store(
    State(mut service): State<Service>,
    Path(page): Path<String>,
    body: String,
) -> Result<StatusCode, Failure> {
    let key = format!("page:{page}");
    service.redis.command(args!["SET", &key, &body, "EX", 60]).await?;
    Ok(StatusCode::NO_CONTENT)
}

async fn load(
    State(mut service): State<Service>,
    Path(page): Path<String>,
) -> Result<Response, Failure> {
    let reply = service.redis.command(args!["GET", &format!("page:{page}")]).await?;
    match reply.is_null() {
        true => Ok(StatusCode::NOT_FOUND.into_response()),
        false => Ok(reply.str()?.to_owned().into_response()),
    }
}

/// Whether requests should come here: there is a login, and the service isn't about to end.
async fn ready(State(service): State<Service>) -> (StatusCode, String) {
    let is_ready = service.redis.health().is_ready();
    match (is_ready && !service.is_ending.load(Ordering::Relaxed), service.redis.problem()) {
        (true, _) => (StatusCode::OK, "ready\n".to_owned()),
        (false, Some(problem)) => (StatusCode::SERVICE_UNAVAILABLE, format!("{problem}\n")),
        (false, None) => (StatusCode::SERVICE_UNAVAILABLE, "not ready\n".to_owned()),
    }
}

async fn show_metrics(State(service): State<Service>) -> String {
    service.metrics.text(&service.redis.health())
}

/// A request that can't be answered.
struct Failure(Error);

impl<E: Into<Error>> From<E> for Failure {
    fn from(error: E) -> Self {
        Self(error.into())
    }
}

impl IntoResponse for Failure {
    fn into_response(self) -> Response {
        let Self(error) = self;
        let text = format!("{error}\n");
        match (error.kind(), error.outcome()) {
            (ErrorKind::Server | ErrorKind::Usage, _) => {
                (StatusCode::INTERNAL_SERVER_ERROR, text).into_response()
            }
            // Nothing has happened: who asks again does no harm.
            (_, Outcome::NotSent) => {
                (StatusCode::SERVICE_UNAVAILABLE, [(header::RETRY_AFTER, "1")], text)
                    .into_response()
            }
            _ => (StatusCode::GATEWAY_TIMEOUT, text).into_response(),
        }
    }
}
