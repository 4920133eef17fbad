use super::*;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;

const LIMIT: Duration = Duration::from_secs(10);

/// Answers every connection with these bytes and closes it.
async fn server(answer: impl Into<Vec<u8>>) -> Rpc {
    let answer = answer.into();
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let rpc = Rpc::new(listener.local_addr().unwrap());
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            let mut request = [0; 1024];
            let length = stream.read(&mut request).await.unwrap();
            assert!(request[..length].starts_with(b"GET /status HTTP/1.1\r\n"));
            // The client may have had enough before the end.
            let _ = stream.write_all(&answer).await;
        }
    });
    rpc
}

fn ok(body: &str) -> String {
    format!("HTTP/1.1 200 OK\r\ncontent-length: {}\r\n\r\n{body}", body.len())
}

const SYNCED: &str = r#""sync_info":{"syncing":false,"latest_block_height":42,"new":[]}"#;

#[tokio::test]
async fn a_validators_status_is_read() {
    let body = format!(
        r#"{{"version":{{"version":"2.6.1","build":"nix","rustc_version":"1"}},
                "chain_id":"localnet","uptime_sec":7,"validator_account_id":"a.near",
                "validator_public_key":"ed25519:v","node_public_key":"ed25519:n",
                "validators":[{{"account_id":"a.near"}}],"added_in_3.0":{{}},{SYNCED}}}"#
    );
    let rpc = server(ok(&body)).await;
    for _ in 0..2 {
        let status = rpc.status(LIMIT).await.unwrap();
        assert_eq!((status.syncing, status.head, status.uptime_sec), (false, 42, Some(7)));
        assert_eq!(status.validator_public_key.unwrap().as_str(), "ed25519:v");
        assert_eq!(status.node_public_key.unwrap().as_str(), "ed25519:n");
        assert_eq!(status.validator_account_id.as_deref(), Some("a.near"));
        assert_eq!(status.version.as_deref(), Some("2.6.1 (build nix)"));
        assert_eq!(status.chain_id.as_deref(), Some("localnet"));
    }
}

#[tokio::test]
async fn what_does_not_decide_anything_may_be_missing_or_null() {
    let rpc = server(ok(&format!(r#"{{"validator_public_key":null,{SYNCED}}}"#))).await;
    let status = rpc.status(LIMIT).await.unwrap();
    assert_eq!(status.validator_public_key, None);
    assert_eq!((status.version, status.node_public_key), (None, None));
}

#[tokio::test]
async fn answers_that_are_no_status_are_refused_in_one_line_with_the_address() {
    let huge = format!("{{{SYNCED},\"x\":\"{}\"}}", "x".repeat(MAX_ANSWER));
    for (answer, expected) in [
        (ok("{}"), "missing field `sync_info`"),
        (ok(r#"{"sync_info":{"syncing":false}}"#), "missing field `latest_block_height`"),
        (ok(r#"{"sync_info":{"latest_block_height":1}}"#), "missing field `syncing`"),
        (ok("<html>"), "something else"),
        (
            ok(r#"[{"syncing":false,"latest_block_height":1},null,null,null,null,null,null]"#),
            "not a JSON object",
        ),
        (ok(&huge), "something else"),
        ("HTTP/1.1 503 Busy\r\ncontent-length: 0\r\n\r\n".to_owned(), "answered 503"),
        ("SSH-2.0-OpenSSH\r\n".to_owned(), "broke off"),
        ("HTTP/1.1 200 OK\r\ncontent-length: 99\r\n\r\n{".to_owned(), "something else"),
        (String::new(), "broke off"),
    ] {
        let rpc = server(answer).await;
        let error = rpc.status(LIMIT).await.unwrap_err().to_string();
        assert!(error.contains(expected), "{error:?} does not say {expected:?}");
        assert!(error.contains(&rpc.addr().to_string()) && !error.contains('\n'), "{error}");
    }
}

#[tokio::test]
async fn a_server_that_does_not_answer_costs_the_limit_and_no_more() {
    // Accepted by the kernel, never by us.
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let rpc = Rpc::new(listener.local_addr().unwrap());
    let error = rpc.status(Duration::from_millis(50)).await.unwrap_err();
    assert!(error.to_string().ends_with("did not answer within 50 ms"), "{error}");
}

#[tokio::test]
async fn nobody_there_is_said() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let addr = listener.local_addr().unwrap();
    drop(listener);
    let error = Rpc::new(addr).status(LIMIT).await.unwrap_err();
    assert!(matches!(error, RpcError::Unreachable { .. }), "{error}");
}

#[test]
fn windows_are_read_as_pairs_and_as_ranges() {
    let pairs = r#"{"jsonrpc":"2.0","result":[[3,5],[7,9]],"id":"kneard"}"#;
    let ranges = r#"{"result":[{"start":3,"end":5},{"start":7,"end":9}]}"#;
    for answer in [pairs, ranges] {
        assert_eq!(parse_windows(answer.as_bytes()).unwrap(), [(3, 5), (7, 9)]);
    }
    assert_eq!(parse_windows(br#"{"result":[]}"#).unwrap(), []);
    let refused = br#"{"error":{"message":"Method not found"}}"#;
    assert!(parse_windows(refused).unwrap_err().contains("Method not found"));
    for garbage in [&b""[..], b"{}", br#"{"result":[[1]]}"#, br#"{"result":7}"#] {
        parse_windows(garbage).unwrap_err();
    }
}

#[test]
fn an_unspecified_address_is_asked_at_loopback() {
    assert_eq!(Rpc::new("0.0.0.0:3030".parse().unwrap()).addr().to_string(), "127.0.0.1:3030");
    assert_eq!(Rpc::new("[::]:3030".parse().unwrap()).addr().to_string(), "[::1]:3030");
}

#[test]
fn what_an_account_signed_is_the_sum_of_what_the_chain_counts() {
    let validator = |account: &str| {
        serde_json::json!({
            "account_id": account, "public_key": "ed25519:x", "stake": "1", "shards": [0],
            "num_produced_blocks": 3, "num_expected_blocks": 4,
            "num_produced_chunks": 20, "num_expected_chunks": 20,
            "num_produced_endorsements": 100, "num_expected_endorsements": 101,
            "num_produced_chunks_per_shard": [20],
        })
    };
    let answer = serde_json::json!({"jsonrpc": "2.0", "id": "kneard", "result": {
        "current_validators": [validator("a.near"), validator("b.near")],
        "epoch_start_height": 77, "next_validators": [], "prev_epoch_kickout": [],
    }})
    .to_string();
    let duties = parse_duties(answer.as_bytes(), "b.near");
    assert_eq!(duties, Ok(Some(Duties { epoch_start_height: 77, signed: 123 })));
    assert_eq!(parse_duties(answer.as_bytes(), "c.near"), Ok(None));
    let refused = r#"{"jsonrpc":"2.0","id":"kneard","error":{"name":"HANDLER_ERROR"}}"#;
    assert_eq!(
        parse_duties(refused.as_bytes(), "b.near"),
        Err(r#"{"name":"HANDLER_ERROR"}"#.to_owned())
    );
}

#[test]
fn a_gauge_is_read_by_its_whole_name() {
    let text = "# TYPE near_a gauge\nnear_ab 3\nnear_a 42\n";
    assert_eq!(gauge(text, "near_a"), Some(42));
    assert_eq!(gauge(text, "near_b"), None);
}
