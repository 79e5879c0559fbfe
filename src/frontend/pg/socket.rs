//! A client's socket: frames in, messages out, and a watch for its end.
//!
//! Output collects in one buffer and leaves when it holds [`FLUSH_BYTES`] or when `flush` is called; both wait for
//! the client to read, which is the back-pressure a query feels.
//! Input is bounded twice: a message by [`MAX_MESSAGE_BYTES`], what arrives while a query runs by
//! [`MAX_READ_AHEAD_BYTES`].

use super::failure::{Failure, Interrupt};
use crate::frontend::tls::{ClientStream, Tls};
use bytes::{Buf, BytesMut};
use pgwire::messages::{DecodeContext, Message, PgWireFrontendMessage, ProtocolVersion};
use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

/// Output above this leaves without being asked: large enough for few system calls, small enough to stream.
pub const FLUSH_BYTES: usize = 64 << 10;
/// Largest message a client may send; a statement with its parameters fits well.
const MAX_MESSAGE_BYTES: usize = 256 << 20;
/// Bytes of pipelined messages kept while a query runs; beyond it the socket is no longer watched.
const MAX_READ_AHEAD_BYTES: usize = 1 << 20;
/// A startup packet is small; PostgreSQL has the same limit.
const MAX_STARTUP_BYTES: usize = 10_000;
/// Length and code of a startup packet.
const STARTUP_HEADER_BYTES: usize = 8;

/// One client's connection, below the meaning of messages.
pub struct Socket {
    /// Taken only while a handshake replaces it.
    stream: Option<ClientStream>,
    input: BytesMut,
    output: BytesMut,
    context: DecodeContext,
}

impl Socket {
    /// Wraps an accepted stream.
    pub fn new(stream: TcpStream) -> Self {
        let mut context = DecodeContext::new(ProtocolVersion::PROTOCOL3_0);
        context.awaiting_frontend_ssl = false;
        context.awaiting_frontend_startup = true;
        let stream = Some(ClientStream::Plain(stream));
        Self { stream, input: BytesMut::new(), output: BytesMut::new(), context }
    }

    /// Returns whether the bytes travel inside TLS.
    pub fn is_encrypted(&self) -> bool {
        matches!(self.stream, Some(ClientStream::Tls(_)))
    }

    /// Goes on inside TLS; the client was told so.
    ///
    /// # Errors
    /// When the client sent something before the handshake, which nobody vouches for, or the handshake fails.
    pub async fn encrypt(&mut self, tls: &Tls) -> Result<(), Interrupt> {
        if !self.input.is_empty() {
            let message = "received unencrypted data after SSL request";
            return Err(Failure::protocol(message).into());
        }
        let Some(ClientStream::Plain(stream)) = self.stream.take() else {
            return Err(Failure::protocol("the connection is encrypted already").into());
        };
        self.stream = Some(tls.accept(stream).await?);
        Ok(())
    }

    /// Reads one packet of the startup phase: it has no type byte. `None` at the end of the stream.
    ///
    /// # Errors
    /// When the packet is malformed or the stream breaks.
    pub async fn read_startup(&mut self) -> Result<Option<BytesMut>, Interrupt> {
        loop {
            if self.input.len() >= STARTUP_HEADER_BYTES {
                let length = (&self.input[..4]).get_u32() as usize;
                if !(STARTUP_HEADER_BYTES..=MAX_STARTUP_BYTES).contains(&length) {
                    return Err(Failure::protocol("invalid length of startup packet").into());
                }
                if self.input.len() >= length {
                    return Ok(Some(self.input.split_to(length)));
                }
            }
            if self.fill().await? == 0 {
                return Ok(None);
            }
        }
    }

    /// Decodes a packet that is a startup or cancel message.
    ///
    /// # Errors
    /// When it is neither.
    pub fn decode_startup(&self, packet: BytesMut) -> Result<PgWireFrontendMessage, Interrupt> {
        decode(packet, &self.context)
    }

    /// Ends the startup phase: from now on messages carry a type byte.
    pub fn end_startup(&mut self) {
        self.context.awaiting_frontend_startup = false;
    }

    /// Reads the next message; `None` when the client closed the connection. Safe to drop while waiting.
    ///
    /// # Errors
    /// When the message is malformed or the stream breaks.
    pub async fn read_message(&mut self) -> Result<Option<PgWireFrontendMessage>, Interrupt> {
        loop {
            if let Some(frame) = self.take_frame()? {
                return decode(frame, &self.context).map(Some);
            }
            if self.fill().await? == 0 {
                return Ok(None);
            }
        }
    }

    fn take_frame(&mut self) -> Result<Option<BytesMut>, Interrupt> {
        if self.input.len() < 5 {
            return Ok(None);
        }
        let length = (&self.input[1..5]).get_u32() as usize;
        if !(4..=MAX_MESSAGE_BYTES).contains(&length) {
            return Err(Failure::protocol("invalid message length").into());
        }
        let complete = self.input.len() > length;
        Ok(complete.then(|| self.input.split_to(length + 1)))
    }

    async fn fill(&mut self) -> io::Result<usize> {
        let Some(stream) = &mut self.stream else { return Ok(0) };
        stream.read_buf(&mut self.input).await
    }

    /// Waits until the client is gone, keeping what it sends meanwhile. Safe to drop while waiting.
    ///
    /// A client that pipelines more than the read-ahead bound is not watched further; writing finds out then.
    pub async fn closed(&mut self) -> io::Error {
        while self.input.len() < MAX_READ_AHEAD_BYTES {
            match self.fill().await {
                Ok(0) => return io::ErrorKind::UnexpectedEof.into(),
                Ok(_) => {}
                Err(error) => return error,
            }
        }
        std::future::pending().await
    }

    /// Appends a message to the output.
    ///
    /// # Errors
    /// When the message is larger than the protocol allows.
    pub fn put(&mut self, message: &impl Message) -> Result<(), Interrupt> {
        let start = self.output.len();
        message.encode(&mut self.output).map_err(|error| {
            self.output.truncate(start);
            Failure::protocol(error.to_string()).into()
        })
    }

    /// Returns the output buffer, for rows that are encoded in place.
    pub fn output(&mut self) -> &mut BytesMut {
        &mut self.output
    }

    /// Writes the output once it is large enough.
    ///
    /// # Errors
    /// When the client is gone.
    pub async fn flush_if_full(&mut self) -> io::Result<()> {
        if self.output.len() >= FLUSH_BYTES { self.flush().await } else { Ok(()) }
    }

    /// Writes all output, waiting for the client to take it.
    ///
    /// # Errors
    /// When the client is gone.
    pub async fn flush(&mut self) -> io::Result<()> {
        let Some(stream) = &mut self.stream else {
            return Err(io::ErrorKind::NotConnected.into());
        };
        stream.write_all_buf(&mut self.output).await?;
        stream.flush().await?;
        // A single huge value must not keep its memory for the connection's life.
        if self.output.capacity() > 4 * FLUSH_BYTES {
            self.output = BytesMut::with_capacity(FLUSH_BYTES);
        }
        Ok(())
    }

    /// Writes what is left and closes.
    pub async fn close(mut self) {
        // The client may be gone already; there is nobody left to tell.
        if self.flush().await.is_ok()
            && let Some(stream) = &mut self.stream
        {
            let _ = stream.shutdown().await;
        }
    }
}

/// Decodes one whole frame.
///
/// pgwire indexes into a message's body without checking its length, so a body shorter than it claims panics;
/// the frame is cut off beforehand, which confines the damage to this message.
fn decode(
    mut frame: BytesMut,
    context: &DecodeContext,
) -> Result<PgWireFrontendMessage, Interrupt> {
    let decoded =
        catch_unwind(AssertUnwindSafe(|| PgWireFrontendMessage::decode(&mut frame, context)));
    match decoded {
        Ok(Ok(Some(message))) => Ok(message),
        Ok(Err(error)) => Err(Failure::protocol(error.to_string()).into()),
        Ok(Ok(None)) | Err(_) => Err(Failure::protocol("invalid message format").into()),
    }
}
