//! An HTTP server that answers as a test says: statuses, garbage, silence.

use rcgen::{CertifiedKey, KeyPair};
use serde_json::{Value, json};
use std::io::{Read, Write};
use std::net::TcpListener;
use std::sync::{Arc, Mutex};
use std::thread;
use tokio_rustls::rustls::crypto::ring;
use tokio_rustls::rustls::pki_types::PrivatePkcs8KeyDer;
use tokio_rustls::rustls::{ServerConfig, ServerConnection, StreamOwned};

/// What the server does with a request.
pub enum Say {
    /// Answers with a status and a body.
    Answer(u16, String),
    /// Accepts the request and says nothing.
    Nothing,
}

/// Returns the answer to `GET /v1/config` of a service without settings.
pub fn config() -> Say {
    Say::Answer(200, json!({"defaults": {}, "overrides": {}}).to_string())
}

/// Returns a success.
pub fn ok(body: &Value) -> Say {
    Say::Answer(200, body.to_string())
}

/// Returns an error in the protocol's form.
pub fn refuse(status: u16, kind: &str) -> Say {
    let error = json!({"error": {"message": "the test says no", "type": kind, "code": status}});
    Say::Answer(status, error.to_string())
}

/// A server; its threads end with the test's process.
pub struct FakeService {
    /// Its address.
    pub url: String,
    asked: Arc<Mutex<Vec<String>>>,
}

impl FakeService {
    /// Starts one that answers a path, query included, as `say` says.
    pub fn start(say: impl Fn(&str) -> Say + Send + Sync + 'static) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let asked: Arc<Mutex<Vec<String>>> = Arc::default();
        let (log, say) = (Arc::clone(&asked), Arc::new(say));
        thread::spawn(move || {
            for stream in listener.incoming().map_while(Result::ok) {
                let (log, say) = (Arc::clone(&log), Arc::clone(&say));
                thread::spawn(move || answer(stream, &log, say.as_ref()));
            }
        });
        Self { url, asked }
    }

    /// Starts one that speaks TLS as `localhost`.
    pub fn start_tls(
        say: impl Fn(&str) -> Say + Send + Sync + 'static,
        secret: &CertifiedKey<KeyPair>,
    ) -> Self {
        let key = PrivatePkcs8KeyDer::from(secret.signing_key.serialize_der());
        let config = ServerConfig::builder_with_provider(Arc::new(ring::default_provider()))
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_no_client_auth()
            .with_single_cert(vec![secret.cert.der().clone()], key.into())
            .unwrap();
        let config = Arc::new(config);
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let url = format!("https://localhost:{}", listener.local_addr().unwrap().port());
        let asked: Arc<Mutex<Vec<String>>> = Arc::default();
        let (log, say) = (Arc::clone(&asked), Arc::new(say));
        thread::spawn(move || {
            for stream in listener.incoming().map_while(Result::ok) {
                let (log, say, config) = (Arc::clone(&log), Arc::clone(&say), Arc::clone(&config));
                let connection = ServerConnection::new(config).unwrap();
                let stream = StreamOwned::new(connection, stream);
                thread::spawn(move || answer(stream, &log, say.as_ref()));
            }
        });
        Self { url, asked }
    }

    /// Returns the paths that were asked for so far.
    pub fn asked(&self) -> Vec<String> {
        self.asked.lock().unwrap().clone()
    }
}

fn answer(mut stream: impl Read + Write, log: &Mutex<Vec<String>>, say: &impl Fn(&str) -> Say) {
    let mut head = Vec::new();
    let mut byte = [0];
    while !head.ends_with(b"\r\n\r\n") {
        match stream.read(&mut byte) {
            Ok(1) => head.push(byte[0]),
            _ => return,
        }
    }
    let head = String::from_utf8_lossy(&head).into_owned();
    let path = head.split(' ').nth(1).unwrap_or_default().to_owned();
    let said = say(&path);
    log.lock().unwrap().push(path);
    match said {
        Say::Answer(status, body) => {
            let length = body.len();
            let text = format!(
                "HTTP/1.1 {status} x\r\ncontent-length: {length}\r\nconnection: close\r\n\r\n{body}"
            );
            let _ = stream.write_all(text.as_bytes());
        }
        // Until the other side gives up.
        Say::Nothing => drop(stream.read(&mut byte)),
    }
}
