//! A stand-in for Consul: the HTTP face of [`Model`], in one process and in memory.
//!
//! For a localnet where no real Consul is installed, and for tests that need to reach inside. It
//! answers what kneard and its operators ask, with Consul's status codes, headers and words; it
//! has no ACLs, no TLS, no second server and forgets everything when it ends. Never for
//! production: it says that it is a stand-in in its log and its version.

mod wire;

use std::io;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use axum::Router;
use axum::body::Bytes;
use axum::extract::State;
use axum::http::{Method, Uri};
use axum::response::Response;
use serde_json::json;
use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio::time::{Instant, sleep_until, timeout_at};

use super::model::{Answer, Condition, Model, Op};
use super::types::{SessionId, TxnOp};
use wire::{BadTransaction, Query, error, missing, ok, plain, with_index};

/// The Consul whose answers it gives, marked as what it is.
const VERSION: &str = "1.8.7-standin";
const NODE: &str = "standin";
/// Consul's bounds for blocking queries.
const DEFAULT_WAIT: Duration = Duration::from_secs(5 * 60);
const LONGEST_WAIT: Duration = Duration::from_secs(10 * 60);
/// Consul's bounds for writes.
const MOST_OPERATIONS: usize = 64;
const LARGEST_VALUE: usize = 512 * 1024;

/// A stand-in that is bound to its address.
pub struct StandIn {
    listener: TcpListener,
    shared: Arc<Shared>,
}

struct Shared {
    address: SocketAddr,
    model: Mutex<Model>,
    /// Tells blocking queries and the expiry of sessions to look again.
    changed: watch::Sender<()>,
    started: Instant,
}

impl StandIn {
    /// Bind to `address`; port 0 takes a free one.
    ///
    /// # Errors
    /// The address cannot be bound.
    pub async fn bind(address: SocketAddr) -> io::Result<Self> {
        let listener = TcpListener::bind(address).await?;
        let address = listener.local_addr()?;
        let seed = std::process::id() ^ (u32::from(address.port()) << 16);
        let shared = Shared {
            address,
            model: Mutex::new(Model::new(NODE, seed)),
            changed: watch::Sender::new(()),
            started: Instant::now(),
        };
        Ok(Self { listener, shared: Arc::new(shared) })
    }

    /// Where it listens.
    pub fn local_addr(&self) -> SocketAddr {
        self.shared.address
    }

    /// Answer until the future is dropped.
    ///
    /// # Errors
    /// The listener failed for good.
    pub async fn serve(self) -> io::Result<()> {
        tracing::warn!(
            "this is a stand-in for Consul ({VERSION}) at {}: for trying out only",
            self.shared.address
        );
        let router = Router::new().fallback(answer).with_state(Arc::clone(&self.shared));
        tokio::select! {
            served = axum::serve(self.listener, router).into_future() => served,
            () = expire(&self.shared) => Ok(()),
        }
    }
}

impl Shared {
    fn model(&self) -> MutexGuard<'_, Model> {
        self.model.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn apply(&self, op: Op) -> Answer {
        let answer = self.model().apply(self.started.elapsed(), op);
        self.changed.send_replace(());
        answer
    }
}

/// End sessions at twice their TTL, as Consul's timer does.
async fn expire(shared: &Shared) {
    let mut changed = shared.changed.subscribe();
    loop {
        let next = shared
            .model()
            .expirations()
            .map(|(id, _, must)| (must, id.clone()))
            .min_by_key(|(must, _)| *must);
        let Some((must, id)) = next else {
            if changed.changed().await.is_err() {
                return;
            }
            continue;
        };
        tokio::select! {
            () = sleep_until(shared.started + must) => {
                tracing::info!("session {id} expired");
                shared.apply(Op::Expire(id));
            }
            _ = changed.changed() => {}
        }
    }
}

async fn answer(
    State(shared): State<Arc<Shared>>,
    method: Method,
    uri: Uri,
    body: Bytes,
) -> Response {
    let path = uri.path().to_owned();
    let query = Query::parse(uri.query().unwrap_or_default());
    if let Some(key) = path.strip_prefix("/v1/kv/") {
        return kv(&shared, &method, &wire::percent_decoded(key), &query, &body).await;
    }
    if let Some(rest) = path.strip_prefix("/v1/session/") {
        return session(&shared, &method, &wire::percent_decoded(rest), &body);
    }
    match (method.as_str(), path.as_str()) {
        ("PUT", "/v1/txn") => txn(&shared, &body),
        ("GET", "/v1/status/leader") => ok(&json!(shared.address.to_string())),
        ("GET", "/v1/status/peers") => ok(&json!([shared.address.to_string()])),
        ("GET", "/v1/agent/self") => ok(&json!({
            "Config": {
                "Datacenter": "dc1", "NodeName": NODE, "Revision": "", "Server": true,
                "Version": VERSION,
            },
            "Member": {"Name": NODE, "Addr": shared.address.ip(), "Status": 1},
        })),
        ("GET", "/v1/catalog/nodes") => with_index(
            1,
            ok(&json!([{
                "Node": NODE, "Address": shared.address.ip(), "Datacenter": "dc1",
                "CreateIndex": 1, "ModifyIndex": 1,
            }])),
        ),
        (_, "/v1/txn" | "/v1/status/leader" | "/v1/status/peers" | "/v1/agent/self") => {
            not_allowed(&method)
        }
        _ => plain(404, ""),
    }
}

async fn kv(shared: &Shared, method: &Method, key: &str, query: &Query, body: &Bytes) -> Response {
    let listing = query.has("recurse") || query.has("keys");
    if key.is_empty() && !listing {
        return plain(400, "Missing key name");
    }
    match method.as_str() {
        "GET" => kv_get(shared, key, query).await,
        "PUT" => kv_put(shared, key, query, body),
        "DELETE" => {
            let op = if query.has("recurse") {
                Op::DeleteTree { prefix: key.to_owned() }
            } else {
                let index = match query.number("cas") {
                    Ok(index) => index,
                    Err(what) => return error(&what),
                };
                Op::Delete { key: key.to_owned(), index }
            };
            done(shared.apply(op))
        }
        _ => not_allowed(method),
    }
}

fn kv_put(shared: &Shared, key: &str, query: &Query, body: &Bytes) -> Response {
    let conditions = ["cas", "acquire", "release"];
    if conditions.iter().filter(|name| query.has(name)).count() > 1 {
        return plain(400, &format!("Conflicting flags: {}", query.raw()));
    }
    if body.len() > LARGEST_VALUE {
        return plain(
            413,
            &format!("Request body({} bytes) too large, max size: {LARGEST_VALUE}", body.len()),
        );
    }
    let (index, flags) = match (query.number("cas"), query.number("flags")) {
        (Ok(index), Ok(flags)) => (index, flags.unwrap_or(0)),
        (Err(what), _) | (_, Err(what)) => return error(&what),
    };
    let session = |name| query.value(name).map(|id| SessionId(id.to_owned()));
    let condition = match (index, session("acquire"), session("release")) {
        (Some(index), _, _) => Condition::Index(index),
        (_, Some(session), _) => Condition::Acquire(session),
        (_, _, Some(session)) => Condition::Release(session),
        _ => Condition::Always,
    };
    done(shared.apply(Op::Put { key: key.to_owned(), value: body.to_vec(), flags, condition }))
}

async fn kv_get(shared: &Shared, key: &str, query: &Query) -> Response {
    if query.has("stale") && query.has("consistent") {
        return plain(400, "Cannot specify ?stale with ?consistent, conflicting semantics.");
    }
    let Ok(above) = query.number("index") else { return plain(400, "Invalid index") };
    let wait = match query.value("wait").map(wire::go_duration) {
        None => DEFAULT_WAIT,
        Some(Some(wait)) => wait.min(LONGEST_WAIT),
        Some(None) => return plain(400, "Invalid wait time"),
    };
    let end = Instant::now() + wait;
    let mut changed = shared.changed.subscribe();
    loop {
        let (index, response) = kv_look(&shared.model(), key, query);
        if above.is_none_or(|above| above == 0 || index > above) {
            return with_index(index, response);
        }
        if timeout_at(end, changed.changed()).await.is_err() {
            return with_index(index, response);
        }
    }
}

/// What a read finds now.
fn kv_look(model: &Model, key: &str, query: &Query) -> (u64, Response) {
    if query.has("keys") {
        let (index, entries) = model.list(key);
        let keys = wire::keys_to_separator(&entries, key, query.value("separator"));
        return (index, if keys.is_empty() { missing() } else { ok(&json!(keys)) });
    }
    if query.has("recurse") {
        let (index, entries) = model.list(key);
        return (index, if entries.is_empty() { missing() } else { ok(&json!(entries)) });
    }
    let (index, entry) = model.get(key);
    let response = match entry {
        None => missing(),
        Some(entry) if query.has("raw") => wire::raw(entry.value.clone()),
        Some(entry) => ok(&json!([entry])),
    };
    (index, response)
}

fn session(shared: &Shared, method: &Method, rest: &str, body: &Bytes) -> Response {
    let (verb, argument) = rest.split_once('/').unwrap_or((rest, ""));
    let id = SessionId(argument.to_owned());
    let malformed = argument.len() != 36;
    let expected = if matches!(verb, "create" | "renew" | "destroy") { "PUT" } else { "GET" };
    if !matches!(verb, "create" | "renew" | "destroy" | "info" | "list" | "node") {
        return plain(404, "");
    }
    if method.as_str() != expected {
        return not_allowed(method);
    }
    match verb {
        "create" => match wire::session_request(body) {
            Err(what) => plain(400, &format!("Request decode failed: {what}")),
            Ok(Err(what)) => error(&what),
            Ok(Ok(request)) => match shared.apply(Op::CreateSession(request)) {
                Answer::Created(id) => ok(&json!({"ID": id})),
                other => done(other),
            },
        },
        "renew" | "destroy" | "info" if argument.is_empty() => plain(400, "Missing session"),
        "renew" | "destroy" | "info" if malformed => {
            error("failed session lookup: index error: UUID must be 36 characters")
        }
        "renew" => match shared.apply(Op::RenewSession(id)) {
            Answer::Session(Some(info)) => {
                let model = shared.model();
                let checks = model.session(&info.id).map_or(&[][..], |(_, checks)| checks);
                ok(&json!([wire::session(&info, checks)]))
            }
            _ => plain(404, &format!("Session id '{argument}' not found")),
        },
        "destroy" => done(shared.apply(Op::DestroySession(id))),
        _ => {
            let model = shared.model();
            let shown: Vec<_> = model
                .sessions()
                .filter(|(info, _)| match verb {
                    "info" => info.id == id,
                    "node" => info.node == argument,
                    _ => true,
                })
                .map(|(info, checks)| wire::session(info, checks))
                .collect();
            with_index(model.session_index(), ok(&json!(shown)))
        }
    }
}

fn txn(shared: &Shared, body: &Bytes) -> Response {
    let ops: Vec<TxnOp> = match wire::transaction(body) {
        Ok(ops) => ops,
        Err(BadTransaction::Unparsable(what)) => {
            return plain(400, &format!("Failed to parse body: {what}"));
        }
        Err(BadTransaction::Refused(at, what)) => return wire::refused(&[(at, what)]),
    };
    if ops.len() > MOST_OPERATIONS {
        let what =
            format!("Transaction contains too many operations ({} > {MOST_OPERATIONS})", ops.len());
        return plain(413, &what);
    }
    match shared.apply(Op::Txn(ops)) {
        Answer::Committed(results) => {
            let results: Vec<_> = results.iter().map(|entry| json!({"KV": entry})).collect();
            ok(&json!({"Results": results, "Errors": null}))
        }
        Answer::Refused(errors) => wire::refused(&errors),
        other => done(other),
    }
}

/// The `true` or `false` of a write, or its error.
fn done(answer: Answer) -> Response {
    match answer {
        Answer::Done(done) => ok(&json!(done)),
        Answer::Failed(what) => error(&what),
        other => error(&format!("the stand-in has no answer for {other:?}")),
    }
}

fn not_allowed(method: &Method) -> Response {
    plain(405, &format!("method {method} not allowed"))
}
