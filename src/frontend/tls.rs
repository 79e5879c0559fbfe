//! TLS for the doors: one certificate for all of them, read at start.
//!
//! Where it is configured a door speaks TLS or not at all: nothing falls back to clear text.

use crate::error::{Error, Result};
use std::io;
use std::path::Path;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio_rustls::rustls::ServerConfig;
use tokio_rustls::rustls::pki_types::pem::PemObject;
use tokio_rustls::rustls::pki_types::{CertificateDer, PrivateKeyDer};
use tokio_rustls::server::TlsStream;
use tokio_rustls::{TlsAcceptor, rustls};

/// The server's certificate and key, ready for each door.
#[derive(Clone)]
pub struct Tls {
    /// The chain as it was read, for SCRAM's channel binding and for gRPC.
    pub certificate_pem: Vec<u8>,
    /// The key as it was read, for gRPC.
    pub key_pem: Vec<u8>,
    acceptor: TlsAcceptor,
}

impl std::fmt::Debug for Tls {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Tls")
    }
}

impl Tls {
    /// Reads a certificate chain and its private key, both PEM.
    ///
    /// # Errors
    /// When a file cannot be read, holds something else, or the two do not belong together.
    pub fn read(certificate: &Path, key: &Path) -> Result<Self> {
        let certificate_pem = read(certificate)?;
        let key_pem = read(key)?;
        let chain = CertificateDer::pem_slice_iter(&certificate_pem)
            .collect::<std::result::Result<Vec<_>, _>>()
            .map_err(|error| unusable(certificate, error))?;
        if chain.is_empty() {
            return Err(unusable(certificate, "it holds no certificate"));
        }
        let private =
            PrivateKeyDer::from_pem_slice(&key_pem).map_err(|error| unusable(key, error))?;
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let config = ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .map_err(|error| unusable(certificate, error))?
            .with_no_client_auth()
            .with_single_cert(chain, private)
            .map_err(|error| unusable(certificate, error))?;
        let acceptor = TlsAcceptor::from(Arc::new(config));
        Ok(Self { certificate_pem, key_pem, acceptor })
    }

    /// Performs the server's side of a handshake.
    ///
    /// # Errors
    /// When the client leaves or the two cannot agree.
    pub async fn accept(&self, stream: TcpStream) -> io::Result<ClientStream> {
        let stream = self.acceptor.accept(stream).await?;
        Ok(ClientStream::Tls(Box::new(stream)))
    }
}

fn read(path: &Path) -> Result<Vec<u8>> {
    std::fs::read(path).map_err(|source| Error::Io {
        action: format!("cannot read \"{}\" for TLS", path.display()),
        source,
    })
}

fn unusable(path: &Path, reason: impl std::fmt::Display) -> Error {
    Error::Config {
        message: format!("\"{}\" cannot be used for TLS: {reason}", path.display()),
        hint: Some("frontend.tls wants a certificate chain and its private key, both PEM".into()),
    }
}

/// A client's byte stream, encrypted or not.
pub enum ClientStream {
    /// As it came.
    Plain(TcpStream),
    /// Inside TLS.
    Tls(Box<TlsStream<TcpStream>>),
}

impl AsyncRead for ClientStream {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Plain(stream) => Pin::new(stream).poll_read(cx, buffer),
            Self::Tls(stream) => Pin::new(stream.as_mut()).poll_read(cx, buffer),
        }
    }
}

impl AsyncWrite for ClientStream {
    fn poll_write(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        match self.get_mut() {
            Self::Plain(stream) => Pin::new(stream).poll_write(cx, bytes),
            Self::Tls(stream) => Pin::new(stream.as_mut()).poll_write(cx, bytes),
        }
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Plain(stream) => Pin::new(stream).poll_flush(cx),
            Self::Tls(stream) => Pin::new(stream.as_mut()).poll_flush(cx),
        }
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Plain(stream) => Pin::new(stream).poll_shutdown(cx),
            Self::Tls(stream) => Pin::new(stream.as_mut()).poll_shutdown(cx),
        }
    }
}
