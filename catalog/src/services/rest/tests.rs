//! The client against a real HTTP server on a port of its own, which answers what each test says.

use super::*;
use serde_json::json;
use std::sync::atomic::{AtomicUsize, Ordering};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinHandle;

/// What a request said.
#[derive(Debug, Clone)]
struct Asked {
    method: String,
    /// With its query.
    path: String,
    /// The whole head, in lower case.
    head: String,
    body: String,
}

/// Status, further head lines, body.
type Said = (u16, &'static str, String);

struct Server {
    url: String,
    asked: Arc<parking_lot::Mutex<Vec<Asked>>>,
    task: JoinHandle<()>,
}

impl Drop for Server {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Server {
    async fn start(say: impl Fn(&Asked) -> Said + Send + Sync + 'static) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}/c", listener.local_addr().unwrap());
        let asked: Arc<parking_lot::Mutex<Vec<Asked>>> = Arc::default();
        let (log, say) = (Arc::clone(&asked), Arc::new(say));
        let task = tokio::spawn(async move {
            loop {
                let (stream, _) = listener.accept().await.unwrap();
                let (log, say) = (Arc::clone(&log), Arc::clone(&say));
                tokio::spawn(async move { answer(stream, &log, say.as_ref()).await });
            }
        });
        Self { url, asked, task }
    }

    fn catalog(&self, options: &[(&str, &str)]) -> RestCatalog {
        let fixed = [("type", "iceberg-rest"), ("uri", self.url.as_str())];
        let all = fixed.iter().chain(options);
        let all = all.map(|(name, value)| ((*name).to_owned(), (*value).to_owned()));
        RestCatalog::open(&CatalogDefinition::new("ice", all).unwrap()).unwrap()
    }

    fn asked(&self) -> Vec<String> {
        let asked = self.asked.lock();
        asked.iter().map(|asked| format!("{} {}", asked.method, asked.path)).collect()
    }
}

async fn answer(
    mut stream: TcpStream,
    log: &parking_lot::Mutex<Vec<Asked>>,
    say: &(impl Fn(&Asked) -> Said + Sync),
) {
    let mut bytes = vec![];
    let end = loop {
        if let Some(end) = bytes.windows(4).position(|window| window == b"\r\n\r\n") {
            break end + 4;
        }
        if stream.read_buf(&mut bytes).await.unwrap_or(0) == 0 {
            return;
        }
    };
    let head = String::from_utf8_lossy(&bytes[..end]).into_owned();
    let lower = head.to_lowercase();
    let length = lower.lines().find_map(|line| line.strip_prefix("content-length: "));
    let length: usize = length.map_or(0, |length| length.parse().unwrap());
    while bytes.len() < end + length {
        stream.read_buf(&mut bytes).await.unwrap();
    }
    let mut words = head.split(' ').map(str::to_owned);
    let (method, path) = (words.next().unwrap(), words.next().unwrap());
    let body = String::from_utf8_lossy(&bytes[end..]).into_owned();
    let asked = Asked { method, path, head: lower, body };
    let (status, lines, body) = say(&asked);
    log.lock().push(asked);
    let text = format!(
        "HTTP/1.1 {status} x\r\ncontent-length: {}\r\nconnection: close\r\n{lines}\r\n{body}",
        body.len()
    );
    let _ = stream.write_all(text.as_bytes()).await;
}

fn ok(body: serde_json::Value) -> Said {
    (200, "", body.to_string())
}

fn refusal(status: u16, kind: &str) -> Said {
    (status, "", json!({"error": {"message": "no", "type": kind, "code": status}}).to_string())
}

fn config() -> Said {
    ok(json!({"defaults": {}, "overrides": {"prefix": "my lake"}}))
}

fn loaded(more: serde_json::Value) -> Said {
    let mut body = json!({"metadata-location": "s3://b/wh/t/metadata/1.metadata.json"});
    body.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    ok(body)
}

#[tokio::test]
async fn names_are_encoded_and_the_prefix_is_used() {
    let server = Server::start(|asked| match asked.path.contains("/config") {
        true => config(),
        false => loaded(json!({})),
    })
    .await;
    let catalog = server.catalog(&[("warehouse", "s3://wh/a b")]);
    let located = catalog.locate("a.b", "t/ü").await.unwrap().unwrap();
    assert_eq!(located.metadata_location, "s3://b/wh/t/metadata/1.metadata.json");
    assert_eq!(located.grant, None);
    assert_eq!(
        server.asked(),
        [
            "GET /c/v1/config?warehouse=s3%3A%2F%2Fwh%2Fa+b",
            "GET /c/v1/my%20lake/namespaces/a%1Fb/tables/t%2F%C3%BC?snapshots=refs",
        ]
    );
    let head = server.asked.lock()[1].head.clone();
    assert!(head.contains("x-iceberg-access-delegation: vended-credentials"), "{head}");
}

#[tokio::test]
async fn listings_follow_pages_and_levels() {
    let server = Server::start(|asked| match asked.path.as_str() {
        path if path.contains("/config") => ok(json!({
            "defaults": {},
            "overrides": {},
            "endpoints": ["GET /v1/{prefix}/namespaces/{namespace}/views"],
        })),
        "/c/v1/namespaces" => ok(json!({"namespaces": [["a"], ["x.y"]], "next-page-token": "p 2"})),
        "/c/v1/namespaces?pageToken=p+2" => ok(json!({"namespaces": [["c"]]})),
        "/c/v1/namespaces?parent=a" => ok(json!({"namespaces": [["a", "b"]]})),
        "/c/v1/namespaces?parent=c" => refusal(403, "ForbiddenException"),
        // As servers without nested namespaces do.
        path if path.contains("parent=") => ok(json!({"namespaces": [["a"], ["c"]]})),
        path if path.ends_with("/tables") => {
            ok(json!({"identifiers": [{"namespace": ["a"], "name": "t"}]}))
        }
        path if path.ends_with("/views") => {
            ok(json!({"identifiers": [{"namespace": ["a"], "name": "v"}], "next-page-token": null}))
        }
        path => refusal(404, path),
    })
    .await;
    let catalog = server.catalog(&[]);
    assert_eq!(catalog.namespaces().await.unwrap(), ["a", "a.b", "c"]);
    let listed = catalog.tables("a").await.unwrap().unwrap();
    let kinds: Vec<_> = listed.iter().map(|l| (l.name.as_str(), l.kind)).collect();
    assert_eq!(kinds, [("t", RelationKind::Table), ("v", RelationKind::View)]);
}

#[tokio::test]
async fn pages_that_do_not_end_are_an_error() {
    let server = Server::start(|asked| match asked.path.contains("/config") {
        true => config(),
        false => ok(json!({"namespaces": [["a"]], "next-page-token": "same"})),
    })
    .await;
    let error = server.catalog(&[]).namespaces().await.unwrap_err().to_string();
    assert!(error.contains("do not end"), "{error}");
}

#[tokio::test]
async fn a_table_a_view_and_nothing_are_told_apart() {
    let server = Server::start(|asked| match asked.path.as_str() {
        path if path.contains("/config") => ok(
            json!({"defaults": {}, "endpoints": ["GET /v1/{prefix}/namespaces/{namespace}/views"]}),
        ),
        path if path.contains("/tables/garbage") => (404, "", "<html>not here</html>".to_owned()),
        path if path.contains("/tables/") => refusal(404, "NoSuchTableException"),
        path if path.ends_with("/views/v") => ok(json!({})),
        _ => refusal(404, "NoSuchViewException"),
    })
    .await;
    let catalog = server.catalog(&[]);
    assert!(catalog.locate("a", "none").await.unwrap().is_none());
    let view = catalog.locate("a", "v").await.unwrap_err().to_string();
    assert!(view.contains("Iceberg view"), "{view}");
    let other = catalog.locate("a", "garbage").await.unwrap_err().to_string();
    assert!(other.contains("404") && other.contains("/tables/garbage"), "{other}");
}

#[tokio::test]
async fn tokens_are_bought_once_and_again_when_refused() {
    let n_bought = Arc::new(AtomicUsize::new(0));
    let n = Arc::clone(&n_bought);
    let server = Server::start(move |asked| {
        if asked.path == "/c/v1/oauth/tokens" {
            let number = n.fetch_add(1, Ordering::SeqCst);
            return ok(json!({
                "access_token": format!("token-{number}"), "token_type": "bearer", "expires_in": 3600,
            }));
        }
        match asked.path.contains("/config") {
            true => config(),
            // The first token is not good for tables.
            false if asked.head.contains("bearer token-0") => refusal(401, "NotAuthorized"),
            false => loaded(json!({})),
        }
    })
    .await;
    let catalog = server.catalog(&[("credential", "me:hush:hush"), ("scope", "PRINCIPAL:ALL")]);
    for _ in 0..3 {
        catalog.locate("a", "t").await.unwrap().unwrap();
    }
    assert_eq!(n_bought.load(Ordering::SeqCst), 2);
    let form = server.asked.lock()[0].body.clone();
    assert_eq!(
        form,
        "grant_type=client_credentials&client_id=me&client_secret=hush%3Ahush&scope=PRINCIPAL%3AALL"
    );
    assert!(!format!("{catalog:?}").contains("hush"), "{catalog:?}");
}

#[tokio::test]
async fn a_token_is_renewed_before_it_ends() {
    let server = Server::start(|asked| match asked.path.as_str() {
        "/c/v1/oauth/tokens" => ok(json!({"access_token": "x", "expires_in": 0})),
        path if path.contains("/config") => config(),
        _ => loaded(json!({})),
    })
    .await;
    let catalog = server.catalog(&[("credential", "me:hush")]);
    catalog.locate("a", "t").await.unwrap();
    let bought = server.asked().iter().filter(|asked| asked.contains("oauth")).count();
    assert_eq!(bought, 2, "one for each request, since each ends at once");
}

#[tokio::test]
async fn wrong_credentials_are_a_refusal() {
    let server = Server::start(|asked| match asked.path.contains("oauth") {
        true => (400, "", json!({"error": "invalid_client"}).to_string()),
        false => config(),
    })
    .await;
    let error = server.catalog(&[("credential", "me:hush")]).check().await.unwrap_err();
    assert!(matches!(error, Error::ServiceRefused { .. }), "{error}");
    assert!(!error.to_string().contains("hush"), "{error}");
    let fixed = Server::start(|_| refusal(403, "ForbiddenException")).await;
    let error = fixed.catalog(&[("token", "t")]).check().await.unwrap_err();
    assert!(matches!(error, Error::ServiceRefused { .. }), "{error}");
}

#[tokio::test]
async fn a_busy_service_is_asked_again() {
    let n_asked = Arc::new(AtomicUsize::new(0));
    let n = Arc::clone(&n_asked);
    let server = Server::start(move |asked| {
        if asked.path.contains("/config") {
            return config();
        }
        match n.fetch_add(1, Ordering::SeqCst) {
            0 => (503, "", "busy".to_owned()),
            1 => (429, "retry-after: 0\r\n", String::new()),
            _ => loaded(json!({})),
        }
    })
    .await;
    assert!(server.catalog(&[]).locate("a", "t").await.unwrap().is_some());
    assert_eq!(n_asked.load(Ordering::SeqCst), 3);
    let down = Server::start(|_| (503, "retry-after: 3600\r\n", "down".to_owned())).await;
    let error = down.catalog(&[]).check().await.unwrap_err().to_string();
    assert!(error.contains("503") && error.contains(&down.url), "{error}");
    assert_eq!(down.asked().len(), 1, "an hour is not waited for");
}

#[tokio::test]
async fn what_is_no_catalog_is_named_with_its_address() {
    let check = async |body: &'static str| {
        let server = Server::start(move |_| (200, "", body.to_owned())).await;
        let error = server.catalog(&[]).check().await.unwrap_err().to_string();
        assert!(error.contains(&server.url) && error.contains("not that of"), "{body}: {error}");
    };
    check("<html>hello</html>").await;
    check("{}").await;
    check("[1, 2]").await;
    let server = Server::start(|asked| match asked.path.contains("/config") {
        true => config(),
        false => ok(json!({"identifiers": 5})),
    })
    .await;
    assert!(server.catalog(&[]).tables("a").await.is_err());
    let moved = Server::start(|_| (302, "location: http://127.0.0.1:1/\r\n", String::new())).await;
    assert!(moved.catalog(&[]).check().await.unwrap_err().to_string().contains("302"));
}

#[tokio::test]
async fn a_service_that_is_not_there_is_an_error_soon() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}/", listener.local_addr().unwrap());
    drop(listener);
    let options = [("type", "iceberg-rest"), ("uri", url.as_str())];
    let options = options.map(|(name, value)| (name.to_owned(), value.to_owned()));
    let catalog = RestCatalog::open(&CatalogDefinition::new("ice", options).unwrap()).unwrap();
    let error = catalog.check().await.unwrap_err();
    assert!(matches!(error, Error::ServiceFailed { .. }), "{error}");
    assert!(error.to_string().contains("refused"), "{error}");
}

#[tokio::test]
async fn credentials_of_the_longest_prefix_are_taken() {
    let server = Server::start(|asked| {
        if asked.path.contains("/config") {
            return config();
        }
        let keys = |id: &str| json!({"s3.access-key-id": id, "s3.secret-access-key": "hush"});
        match asked.path.contains("/tables/stored") {
            true => loaded(json!({
                "config": {"s3.endpoint": "http://h:1", "client.region": "eu-x"},
                "storage-credentials": [
                    {"prefix": "s3://b/", "config": keys("bucket")},
                    {"prefix": "s3://b/wh/t", "config": keys("table")},
                    {"prefix": "s3://b/wh/u", "config": keys("other")},
                ],
            })),
            false => loaded(json!({"config": keys("plain")})),
        }
    })
    .await;
    let catalog = server.catalog(&[]);
    let stored = catalog.locate("a", "stored").await.unwrap().unwrap().grant.unwrap();
    assert_eq!((stored.keys.id.as_str(), stored.root.as_str()), ("table", "s3://b/wh/t"));
    assert_eq!(stored.reach.endpoint.as_deref(), Some("http://h:1"));
    assert_eq!(stored.reach.region, "eu-x");
    let plain = catalog.locate("a", "plain").await.unwrap().unwrap().grant.unwrap();
    assert_eq!((plain.keys.id.as_str(), plain.root.as_str()), ("plain", "s3://b/"));
}

#[test]
fn addresses_are_checked() {
    for uri in ["ftp://h/", "not a url", "file:///path"] {
        let options = [("type", "iceberg-rest"), ("uri", uri)];
        let options = options.map(|(name, value)| (name.to_owned(), value.to_owned()));
        let definition = CatalogDefinition::new("ice", options).unwrap();
        let error = RestCatalog::open(&definition).unwrap_err().to_string();
        assert!(error.contains("no http(s) URL"), "{error}");
    }
}
