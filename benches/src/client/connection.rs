//! One keep-alive HTTP/1.1 connection: writes a request, reads one whole answer.

use std::net::SocketAddr;

use anyhow::{Context as _, bail, ensure};
use bytes::{Buf, BytesMut};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

/// A connection with its buffers, kept from call to call.
#[derive(Debug)]
pub(crate) struct Connection {
    stream: TcpStream,
    input: BytesMut,
    /// How much of `input` is the last answer's body, to be dropped before the next one.
    lent: usize,
    /// A chunked body, put together.
    body: Vec<u8>,
    /// Lines that stand in every request: host, content type, accept.
    lines: String,
    /// Lines of the protocol: revision, session, what is asked.
    session_lines: String,
    out: Vec<u8>,
}

/// What matters of an answer's head.
#[derive(Debug, Default)]
pub(crate) struct Head {
    /// HTTP status.
    pub(crate) status: u16,
    /// `Mcp-Session-Id`, if there is one.
    pub(crate) session: Option<String>,
    /// Whether the body is an event stream.
    pub(crate) event_stream: bool,
    length: Option<usize>,
    chunked: bool,
}

impl Connection {
    /// Connects, without delay for small segments.
    ///
    /// # Errors
    /// When nobody listens there.
    pub(crate) async fn open(address: SocketAddr) -> anyhow::Result<Self> {
        let stream = TcpStream::connect(address)
            .await
            .with_context(|| format!("cannot connect to {address}"))?;
        stream.set_nodelay(true)?;
        let lines = format!(
            "Host: {address}\r\nContent-Type: application/json\r\nAccept: application/json, text/event-stream\r\n\
             User-Agent: mcp-proxy-bench\r\n"
        );
        Ok(Self {
            stream,
            input: BytesMut::new(),
            lent: 0,
            body: Vec::new(),
            lines,
            session_lines: String::new(),
            out: Vec::new(),
        })
    }

    /// Sets the headers of the protocol for all later requests.
    pub(crate) fn set_headers(&mut self, headers: &[(&str, &str)]) {
        self.session_lines.clear();
        for (name, value) in headers {
            self.session_lines.push_str(&format!("{name}: {value}\r\n"));
        }
    }

    /// Sends one request and reads the whole answer; the body is lent until the next exchange.
    ///
    /// # Errors
    /// When the connection ends, or the answer is not HTTP or has no clear length.
    pub(crate) async fn exchange(&mut self, method: &str, path: &str, body: &[u8]) -> anyhow::Result<(Head, &[u8])> {
        self.send(method, path, body).await?;
        let head = self.read_head().await?;
        if head.chunked {
            self.read_chunks().await?;
            return Ok((head, &self.body));
        }
        if head.status == 202 || head.status == 204 || head.length == Some(0) {
            return Ok((head, &[]));
        }
        if let Some(length) = head.length {
            // Room for the whole body at once, so that few reads are needed.
            self.input.reserve(length.saturating_sub(self.input.len()));
            while self.input.len() < length {
                self.fill().await?;
            }
            self.lent = length;
            return Ok((head, &self.input[..length]));
        }
        bail!(
            "an answer (status {}) without Content-Length and not chunked",
            head.status
        )
    }

    /// Sends one request.
    ///
    /// # Errors
    /// When the connection is gone.
    pub(crate) async fn send(&mut self, method: &str, path: &str, body: &[u8]) -> anyhow::Result<()> {
        self.input.advance(std::mem::take(&mut self.lent));
        self.out.clear();
        for part in [
            method,
            " ",
            path,
            " HTTP/1.1\r\n",
            &self.lines,
            &self.session_lines,
            "Content-Length: ",
        ] {
            self.out.extend_from_slice(part.as_bytes());
        }
        self.out.extend_from_slice(body.len().to_string().as_bytes());
        self.out.extend_from_slice(b"\r\n\r\n");
        self.out.extend_from_slice(body);
        self.stream
            .write_all(&self.out)
            .await
            .context("the connection broke while a request was sent")
    }

    /// Reads an answer's head and leaves the body unread.
    ///
    /// # Errors
    /// When the connection ends or the head is not HTTP/1.1.
    pub(crate) async fn read_head(&mut self) -> anyhow::Result<Head> {
        loop {
            if let Some((head, used)) = parse_head(&self.input)? {
                self.input.advance(used);
                return Ok(head);
            }
            ensure!(
                self.input.len() < LONGEST_HEAD,
                "an answer's head is longer than {LONGEST_HEAD} bytes"
            );
            self.fill().await?;
        }
    }

    async fn read_chunks(&mut self) -> anyhow::Result<()> {
        self.body.clear();
        loop {
            match httparse::parse_chunk_size(&self.input) {
                Ok(httparse::Status::Complete((start, size))) => {
                    let size = usize::try_from(size)?;
                    ensure!(
                        self.body.len() + size <= LONGEST_BODY,
                        "a body above {LONGEST_BODY} bytes"
                    );
                    let end = start + size + 2;
                    while self.input.len() < end {
                        self.fill().await?;
                    }
                    self.body.extend_from_slice(&self.input[start..start + size]);
                    self.input.advance(end);
                    if size == 0 {
                        return Ok(());
                    }
                }
                Ok(httparse::Status::Partial) => self.fill().await?,
                Err(_) => bail!("an answer's chunk size is not a number"),
            }
        }
    }

    async fn fill(&mut self) -> anyhow::Result<()> {
        self.input.reserve(64 << 10);
        let read = self
            .stream
            .read_buf(&mut self.input)
            .await
            .context("the connection broke")?;
        ensure!(read > 0, "the connection was closed in the middle of an answer");
        Ok(())
    }
}

fn parse_head(input: &[u8]) -> anyhow::Result<Option<(Head, usize)>> {
    let mut headers = [httparse::EMPTY_HEADER; 32];
    let mut response = httparse::Response::new(&mut headers);
    let httparse::Status::Complete(used) = response.parse(input).context("an answer that is not HTTP/1.1")? else {
        return Ok(None);
    };
    let mut head = Head {
        status: response.code.unwrap_or(0),
        ..Head::default()
    };
    for header in response.headers.iter() {
        let value = std::str::from_utf8(header.value).unwrap_or_default();
        if header.name.eq_ignore_ascii_case("content-length") {
            let length = value.parse().with_context(|| format!("Content-Length is {value:?}"))?;
            ensure!(length <= LONGEST_BODY, "a body above {LONGEST_BODY} bytes");
            head.length = Some(length);
        } else if header.name.eq_ignore_ascii_case("transfer-encoding") {
            head.chunked = value.eq_ignore_ascii_case("chunked");
        } else if header.name.eq_ignore_ascii_case("mcp-session-id") {
            head.session = Some(value.to_owned());
        } else if header.name.eq_ignore_ascii_case("content-type") {
            head.event_stream = value.starts_with("text/event-stream");
        }
    }
    Ok(Some((head, used)))
}

const LONGEST_HEAD: usize = 64 << 10;
const LONGEST_BODY: usize = 64 << 20;
