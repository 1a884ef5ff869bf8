//! A server that answers one request with the bytes it is told to, and then does as it is told.

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;
use tokio::task::JoinSet;

/// What the server does after its bytes.
#[derive(Clone, Copy, Debug)]
pub(super) enum Ending {
    /// Closes in order.
    Close,
    /// Resets the connection.
    Reset,
    /// Keeps it open.
    Hang,
}

/// A running server. Ends when it is dropped.
pub(super) struct Server {
    pub(super) url: String,
    _task: JoinSet<()>,
}

/// Starts a server that answers every connection with `answer`.
pub(super) async fn serve(answer: Vec<u8>, ending: Ending) -> Server {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let mut task = JoinSet::new();
    task.spawn(async move {
        let mut open = Vec::new();
        loop {
            let (mut socket, _) = listener.accept().await.unwrap();
            let mut request = vec![0; 64 * 1024];
            let _ = socket.read(&mut request).await;
            let _ = socket.write_all(&answer).await;
            let _ = socket.flush().await;
            match ending {
                Ending::Close => {
                    let _ = socket.shutdown().await;
                }
                Ending::Reset => {
                    // Give the bytes time to be read: a reset drops what is in flight.
                    let _ = tokio::time::timeout(
                        std::time::Duration::from_millis(50),
                        socket.read(&mut request),
                    )
                    .await;
                    let _ = socket.set_zero_linger();
                }
                Ending::Hang => open.push(socket),
            }
        }
    });
    Server { url, _task: task }
}

/// An answer with a status line, headers and a body without a length.
pub(super) fn http(status: &str, headers: &[(&str, &str)], body: &[u8]) -> Vec<u8> {
    let mut answer = format!("HTTP/1.1 {status}\r\n");
    for (name, value) in headers {
        answer.push_str(&format!("{name}: {value}\r\n"));
    }
    answer.push_str("connection: close\r\n\r\n");
    let mut answer = answer.into_bytes();
    answer.extend_from_slice(body);
    answer
}
