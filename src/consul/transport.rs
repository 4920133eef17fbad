//! Sending a request to one of several addresses within a time limit.
//!
//! Addresses are tried in turn, from the last one that answered. How the limit is shared:
//!
//! - A request that may be repeated (reads, renewals) gives each address an equal share of the
//!   time left among the addresses left, and moves on after any failure.
//! - A write moves on only when it certainly was not sent: the connection could not be made
//!   (within [`CONNECT_LIMIT`]), or Consul turned it away for overload. Once sent, it has the rest
//!   of the limit, and any doubt comes back as [`Kind::Unknown`] instead of being tried elsewhere.
//!
//! After a failure the next request starts at the next address.

use std::fmt;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use reqwest::header::{CONTENT_TYPE, HeaderMap};
use reqwest::{Method, Url};
use tokio::time::{Instant, timeout};

use super::client::ClientConfig;
use super::error::{Error, Failure, Kind};
use super::right::Right;
use super::token::Token;
use super::{answer, tls};

/// How long a connection (name look-up, TCP, TLS) may take before the next address's turn.
pub const CONNECT_LIMIT: Duration = Duration::from_millis(500);

/// More than Consul ever answers to what kneard asks; a value is at most 512 KiB.
const BODY_LIMIT: usize = 8 << 20;

/// Whether a request may be sent again after a doubtful outcome.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Effect {
    /// Twice is as good as once.
    Repeatable,
    /// It must not happen twice.
    Write,
}

/// A request, apart from the address it goes to.
pub(super) struct Call {
    pub(super) method: Method,
    /// Path below the address, percent-encoded, from `/v1/`.
    pub(super) path: String,
    /// Query without `?`.
    pub(super) query: String,
    pub(super) body: Option<Vec<u8>>,
    pub(super) effect: Effect,
    /// What the token must allow, for the message when it does not.
    pub(super) right: Option<Right>,
    /// 429 is an answer, and not that the agent has no time.
    pub(super) says_429: bool,
}

/// Everything of an answer that is read.
pub(super) struct Answer {
    pub(super) address: String,
    pub(super) status: u16,
    pub(super) headers: HeaderMap,
    pub(super) body: Vec<u8>,
}

#[derive(Clone)]
pub(super) struct Transport(Arc<Inner>);

struct Inner {
    http: reqwest::Client,
    addresses: Vec<Address>,
    /// Position of the address to start at.
    preferred: AtomicUsize,
    token: Token,
}

/// A base URL without a trailing slash.
struct Address {
    text: String,
    /// The Consul node's name, once it has told.
    node: OnceLock<String>,
}

impl Transport {
    pub(super) fn new(config: ClientConfig) -> Result<Self, Error> {
        if config.addresses.is_empty() {
            return Err(Error {
                address: "consul".to_owned(),
                what: "no address is given; name one such as http://localhost:8500".to_owned(),
                kind: Kind::Invalid,
            });
        }
        let mut addresses = Vec::new();
        let mut encrypted = false;
        for text in &config.addresses {
            let (address, https) = parse_address(text)?;
            addresses.push(address);
            encrypted |= https;
        }
        let tls = if encrypted { tls::configured(&config.tls)? } else { tls::none()? };
        let http = reqwest::Client::builder()
            // A proxy of the environment must not come between a node and its own agent.
            .no_proxy()
            // Only what is certain not to have been sent may be sent again, and this module
            // decides about that.
            .retry(reqwest::retry::never())
            .redirect(reqwest::redirect::Policy::none())
            .http1_only()
            .connect_timeout(CONNECT_LIMIT)
            // A beat and a blocking query; more are dropped.
            .pool_max_idle_per_host(2)
            .tcp_nodelay(true)
            // Notices within about 8 s that the peer of a blocking query is gone without a word.
            .tcp_keepalive(Duration::from_secs(5))
            .tcp_keepalive_interval(Duration::from_secs(1))
            .tcp_keepalive_retries(3)
            .tls_backend_preconfigured(tls)
            .build()
            .map_err(|error| Error {
                address: "consul".to_owned(),
                what: format!("cannot set up HTTP: {}", root_cause(&error)),
                kind: Kind::Invalid,
            })?;
        let token = Token::read(config.token_file)?;
        Ok(Self(Arc::new(Inner { http, addresses, preferred: AtomicUsize::new(0), token })))
    }

    /// Remember what the agent that gave this answer is called.
    pub(super) fn is_named(&self, answer: &Answer, node: &str) {
        if let Some(address) = self.0.addresses.iter().find(|a| a.text == answer.address) {
            // An agent keeps its name.
            let _ = address.node.set(node.to_owned());
        }
    }

    pub(super) fn reload_token(&self) -> Result<(), Error> {
        self.0.token.reload()
    }

    /// Send `call` to the addresses in turn until `read` makes something of an answer or fails
    /// for good. The module's documentation says how `limit` is shared.
    pub(super) async fn send<T>(
        &self,
        call: &Call,
        limit: Duration,
        read: impl Fn(&Answer) -> Result<T, Failure>,
    ) -> Result<T, Error> {
        self.send_sharing(call, limit, true, read).await
    }

    /// As [`Transport::send`], but each address has all of the time left: for blocking queries,
    /// whose waiting is no sign of trouble.
    pub(super) async fn send_each<T>(
        &self,
        call: &Call,
        limit: Duration,
        read: impl Fn(&Answer) -> Result<T, Failure>,
    ) -> Result<T, Error> {
        self.send_sharing(call, limit, false, read).await
    }

    async fn send_sharing<T>(
        &self,
        call: &Call,
        limit: Duration,
        shared: bool,
        read: impl Fn(&Answer) -> Result<T, Failure>,
    ) -> Result<T, Error> {
        let end = Instant::now() + limit;
        let count = self.0.addresses.len();
        let first = self.0.preferred.load(Ordering::Relaxed) % count;
        let mut failed: Option<Error> = None;
        for tried in 0..count {
            let position = (first + tried) % count;
            let left = end.saturating_duration_since(Instant::now());
            if left.is_zero() && failed.is_some() {
                break;
            }
            let share = if shared && call.effect == Effect::Repeatable {
                left / u32::try_from(count - tried).unwrap_or(u32::MAX)
            } else {
                left
            };
            let address = &self.0.addresses[position];
            let outcome = match self.attempt(address, call, share).await {
                Ok(answer) => answer::judged(&answer, call.says_429, &read),
                Err(failure) => Err(failure),
            };
            match outcome {
                Ok(value) => {
                    self.0.preferred.store(position, Ordering::Relaxed);
                    return Ok(value);
                }
                Err(failure) => {
                    let kind = failure.kind.clone();
                    let error = self.with_remedy(failure, call, address).at(&address.text);
                    let next = match kind {
                        Kind::NotSent => true,
                        Kind::Unknown => call.effect == Effect::Repeatable,
                        // The address is fine, the answer is no.
                        _ => {
                            self.0.preferred.store(position, Ordering::Relaxed);
                            return Err(error);
                        }
                    };
                    self.avoid(position);
                    let error = match failed.take() {
                        None => error,
                        Some(before) => before.and(error),
                    };
                    if !next {
                        return Err(error);
                    }
                    failed = Some(error);
                }
            }
        }
        Err(failed.unwrap_or_else(|| Error {
            address: self.0.addresses[first].text.clone(),
            what: "there was no time to ask".to_owned(),
            kind: Kind::NotSent,
        }))
    }

    async fn attempt(
        &self,
        address: &Address,
        call: &Call,
        limit: Duration,
    ) -> Result<Answer, Failure> {
        let mut text = format!("{}{}", address.text, call.path);
        if !call.query.is_empty() {
            text.push('?');
            text.push_str(&call.query);
        }
        let url = Url::parse(&text)
            .map_err(|error| Failure::new(Kind::Invalid, format!("{}: {error}", call.path)))?;
        let mut request = self.0.http.request(call.method.clone(), url);
        if let Some(token) = self.0.token.header() {
            request = request.header("X-Consul-Token", token);
        }
        if let Some(body) = &call.body {
            request = request.header(CONTENT_TYPE, "application/json").body(body.clone());
        }
        let exchange = async {
            let mut response = request.send().await.map_err(|error| broken(&error))?;
            let status = response.status().as_u16();
            let headers = std::mem::take(response.headers_mut());
            let mut body = Vec::new();
            while let Some(chunk) = response.chunk().await.map_err(|error| broken(&error))? {
                if body.len() + chunk.len() > BODY_LIMIT {
                    return Err(Failure::unknown(format!(
                        "answered more than {BODY_LIMIT} bytes; is this Consul?"
                    )));
                }
                body.extend_from_slice(&chunk);
            }
            Ok(Answer { address: address.text.clone(), status, headers, body })
        };
        timeout(limit, exchange).await.unwrap_or_else(|_| {
            Err(Failure::unknown(format!(
                "no answer within {} ms; is it overloaded, hung or cut off?",
                limit.as_millis()
            )))
        })
    }

    /// Says which right a refused token lacks, in the words of the policy.
    fn with_remedy(&self, failure: Failure, call: &Call, address: &Address) -> Failure {
        if failure.kind != Kind::Denied {
            return failure;
        }
        let remedy = if !answer::lacks_right(&failure.what) {
            "check the token of --consul-token-file".to_owned()
        } else {
            let rights = if failure.lacking.is_empty() {
                call.right.iter().collect()
            } else {
                failure.lacking.iter().collect::<Vec<_>>()
            };
            let node = address.node.get().map(String::as_str);
            let mut lines: Vec<String> = rights.iter().map(|right| right.policy(node)).collect();
            lines.dedup();
            let whose = match self.0.token.header() {
                Some(_) => "the token of --consul-token-file lacks",
                None => "without a --consul-token-file there is not the right",
            };
            format!("{whose} {}", lines.join(" and "))
        };
        Failure { what: format!("{}; {remedy}", failure.what), ..failure }
    }

    /// Start the next request elsewhere, unless another one has found better already.
    fn avoid(&self, position: usize) {
        let next = (position + 1) % self.0.addresses.len();
        let _ =
            self.0.preferred.compare_exchange(position, next, Ordering::Relaxed, Ordering::Relaxed);
    }
}

impl fmt::Debug for Transport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let addresses: Vec<&str> = self.0.addresses.iter().map(|a| a.text.as_str()).collect();
        f.debug_struct("Transport")
            .field("addresses", &addresses)
            .field("token", &self.0.token)
            .finish_non_exhaustive()
    }
}

/// The base URL, and whether it is encrypted.
fn parse_address(text: &str) -> Result<(Address, bool), Error> {
    let invalid = |shown: &str, what: &str| Error {
        address: format!("consul address {shown:?}"),
        what: what.to_owned(),
        kind: Kind::Invalid,
    };
    let form = "is not a URL such as http://localhost:8500; correct it";
    let url = Url::parse(text.trim()).map_err(|_| invalid(text, form))?;
    if !url.username().is_empty() || url.password().is_some() {
        return Err(invalid(
            url.host_str().unwrap_or_default(),
            "carries a user name or password; use a token file instead",
        ));
    }
    if !matches!(url.scheme(), "http" | "https") || url.host().is_none() {
        return Err(invalid(text, form));
    }
    if url.query().is_some() || url.fragment().is_some() {
        return Err(invalid(text, "carries a query or fragment; leave it out"));
    }
    let https = url.scheme() == "https";
    let text = url.as_str().trim_end_matches('/').to_owned();
    Ok((Address { text, node: OnceLock::new() }, https))
}

/// A request that was not answered: not sent if the connection failed, unknown otherwise.
fn broken(error: &reqwest::Error) -> Failure {
    let cause = root_cause(error);
    if let Some(what) = tls::trouble(error) {
        let kind = if error.is_connect() { Kind::NotSent } else { Kind::Unknown };
        Failure::new(kind, what)
    } else if error.is_connect() {
        let what = format!("cannot connect: {cause}; is the Consul agent up and the URL right?");
        Failure::new(Kind::NotSent, what)
    } else if error.is_builder() {
        Failure::new(Kind::Invalid, cause)
    } else {
        Failure::unknown(format!("the answer broke off: {cause}; is this Consul, and is it up?"))
    }
}

/// The innermost error, which alone says something ("Connection refused").
fn root_cause(error: &reqwest::Error) -> String {
    if error.is_timeout() && error.is_connect() {
        return format!("no connection within {} ms", CONNECT_LIMIT.as_millis());
    }
    let mut cause: &dyn std::error::Error = error;
    while let Some(source) = cause.source() {
        cause = source;
    }
    answer::one_line(&cause.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn transport(address: &str) -> Result<Transport, Error> {
        Transport::new(ClientConfig {
            addresses: vec![address.to_owned()],
            ..ClientConfig::default()
        })
    }

    #[test]
    fn addresses_that_cannot_be_asked_are_refused_with_the_remedy() {
        for bad in ["", "localhost:8500", "localhost", "ftp://x", "http://", "http://x?a=b", "::"] {
            let error = transport(bad).expect_err(bad);
            assert_eq!(error.kind, Kind::Invalid);
            assert!(error.to_string().starts_with(&format!("consul address {bad:?}")), "{error}");
        }
        let none = Transport::new(ClientConfig::default()).expect_err("no address");
        assert!(none.to_string().contains("http://localhost:8500"), "{none}");
    }

    #[test]
    fn a_password_in_an_address_is_refused_and_not_repeated() {
        let error = transport("http://joe:hunter2@consul:8500").expect_err("a password");
        assert!(!format!("{error} {error:?}").contains("hunter2"), "{error:?}");
    }

    #[test]
    fn a_trailing_slash_or_path_prefix_is_kept_straight() {
        for (given, kept) in [
            ("http://localhost:8500", "http://localhost:8500"),
            ("http://localhost:8500/", "http://localhost:8500"),
            ("http://proxy/consul/", "http://proxy/consul"),
            ("http://[::1]:8500", "http://[::1]:8500"),
        ] {
            assert_eq!(transport(given).expect(given).0.addresses[0].text, kept);
        }
    }
}
