//! The TLS stream of an HTTP/2 connection, which sends what one turn of the connection produced in one
//! write to the socket.
//!
//! The HTTP/2 library flushes after every frame, and a data frame is mostly limited to 16 KB by the peer. One
//! write each would be most of what sending costs. Here a flush is put off to the end of the task's turn;
//! until then records wait, encrypted, in the TLS session.

use std::{
    future::poll_fn,
    io::{self, IoSlice, Write},
    pin::{Pin, pin},
    sync::Arc,
    task::{Context, Poll, ready},
};

use parking_lot::Mutex;
use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    net::TcpStream,
};
use tokio_rustls::server::TlsStream;

/// What is sent at once, at most.
const GATHER_BYTES: usize = 128 * 1024;

/// Shared by the connection, which reads and writes, and its task, which sends. The lock is never waited for:
/// both run in one task.
#[derive(Debug, Clone)]
pub struct Gathered {
    stream: Arc<Mutex<TlsStream<TcpStream>>>,
    /// HTTP/1.1 flushes where it means to, also after an upgrade, when nobody takes turns any more.
    is_http2: bool,
}

impl Gathered {
    pub fn new(mut stream: TlsStream<TcpStream>) -> Self {
        let (_, session) = stream.get_mut();
        session.set_buffer_limit(Some(GATHER_BYTES));
        let is_http2 = session.alpn_protocol() == Some(b"h2");
        Self { stream: Arc::new(Mutex::new(stream)), is_http2 }
    }

    /// Runs what reads and writes the stream, and sends after each of its turns.
    pub async fn drive<T>(self, connection: impl Future<Output = io::Result<T>>) -> io::Result<T> {
        let mut connection = pin!(connection);
        poll_fn(|context| {
            let result = connection.as_mut().poll(context);
            match self.with(|stream| Pin::new(stream).poll_flush(context)) {
                Poll::Ready(Err(error)) if result.is_pending() => Poll::Ready(Err(error)),
                _ => result,
            }
        })
        .await
    }

    fn with<T>(&self, act: impl FnOnce(&mut TlsStream<TcpStream>) -> T) -> T {
        act(&mut self.stream.lock())
    }
}

impl AsyncRead for Gathered {
    fn poll_read(self: Pin<&mut Self>, context: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        self.with(|stream| Pin::new(stream).poll_read(context, buf))
    }
}

impl AsyncWrite for Gathered {
    fn poll_write(self: Pin<&mut Self>, context: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        self.poll_write_vectored(context, &[IoSlice::new(buf)])
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bufs: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        self.with(|stream| {
            loop {
                let taken = stream.get_mut().1.writer().write_vectored(bufs)?;
                if taken > 0 || bufs.iter().all(|buf| buf.is_empty()) {
                    return Poll::Ready(Ok(taken));
                }
                ready!(Pin::new(&mut *stream).poll_flush(context))?;
            }
        })
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    fn poll_flush(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        if self.is_http2 { Poll::Ready(Ok(())) } else { self.with(|stream| Pin::new(stream).poll_flush(context)) }
    }

    fn poll_shutdown(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.with(|stream| Pin::new(stream).poll_shutdown(context))
    }
}

#[cfg(test)]
mod tests {
    use std::mem::MaybeUninit;

    use tokio::{
        io::{AsyncReadExt, AsyncWriteExt},
        net::TcpListener,
    };
    use tokio_rustls::{TlsAcceptor, client};

    use super::*;
    use crate::http::loopback;

    async fn pair(protocol: &str) -> (Gathered, client::TlsStream<TcpStream>) {
        let (config, connector) = loopback::tls(protocol);
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let client = TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
        let (server, _) = listener.accept().await.unwrap();
        let (mut client, server) = tokio::join!(connector.connect(client), TlsAcceptor::from(config).accept(server));
        let mut server = server.unwrap();
        // Past what the TLS library sends of its own accord after the handshake.
        server.write_all(b"!").await.unwrap();
        assert_eq!(client.read_u8().await.unwrap(), b'!');
        (Gathered::new(server), client)
    }

    fn has_arrived(client: &client::TlsStream<TcpStream>) -> bool {
        socket2::SockRef::from(client.get_ref().0).peek(&mut [MaybeUninit::uninit()]).is_ok()
    }

    #[tokio::test]
    async fn over_http2_what_a_turn_writes_leaves_at_its_end() {
        for (protocol, at_once) in [("h2", false), ("http/1.1", true)] {
            let (gathered, mut client) = pair(protocol).await;
            let mut stream = gathered.clone();
            let connection = async {
                for part in ["one ", "two ", "three"] {
                    stream.write_all(part.as_bytes()).await?;
                    stream.flush().await?;
                }
                assert_eq!(has_arrived(&client), at_once, "{protocol}");
                tokio::task::yield_now().await;
                assert!(has_arrived(&client), "{protocol}");
                Ok(())
            };
            gathered.drive(connection).await.unwrap();
            let mut arrived = [0; 13];
            client.read_exact(&mut arrived).await.unwrap();
            assert_eq!(&arrived, b"one two three");
        }
    }

    #[tokio::test]
    async fn more_than_is_gathered_waits_for_the_peer() {
        let (gathered, mut client) = pair("h2").await;
        let sent: Vec<u8> = (0..20_000_000_u32).map(|i| (i % 251) as u8).collect();
        let mut stream = gathered.clone();
        let connection = async {
            stream.write_all(&sent).await?;
            stream.shutdown().await
        };
        let mut arrived = Vec::new();
        let (driven, read) = tokio::join!(gathered.drive(connection), client.read_to_end(&mut arrived));
        driven.unwrap();
        read.unwrap();
        assert!(arrived == sent);
    }
}
