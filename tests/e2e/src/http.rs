//! A small blocking HTTP/1.1 client: one connection at a time, plain or TLS, streaming bodies.
//!
//! The checks need to see what is on the wire (statuses, ends of streams, the first byte's time) and to hold many connections from
//! threads; that is little, and this is all of it. Heads and lines are bounded.

use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use rustls::pki_types::ServerName;
use rustls::{ClientConfig, ClientConnection, StreamOwned};

const MAX_HEAD_BYTES: usize = 64 * 1024;
const MAX_HEADERS: usize = 64;
const MAX_BODY_BYTES: u64 = 64 << 20;
const CONNECT_WITHIN: Duration = Duration::from_secs(5);

/// Where requests go, and how.
#[derive(Clone)]
pub(crate) struct Target {
    /// The server's address.
    pub(crate) address: SocketAddr,
    /// For HTTPS: whom to trust.
    pub(crate) tls: Option<Arc<ClientConfig>>,
    /// For HTTPS: the name that it is asked by, if that is not its address.
    pub(crate) name: Option<String>,
    /// How long a read may wait.
    pub(crate) patience: Duration,
}

/// One request.
pub(crate) struct Request<'a> {
    /// GET, …
    pub(crate) method: &'a str,
    /// Path and query.
    pub(crate) path: &'a str,
    /// Names and values; Host is among them, Content-Length is not.
    pub(crate) headers: &'a [(&'a str, &'a str)],
    /// The body.
    pub(crate) body: &'a [u8],
}

enum Stream {
    Plain(TcpStream),
    Tls(Box<StreamOwned<ClientConnection, TcpStream>>),
}

/// An open connection between requests.
pub(crate) struct Connection(BufReader<Stream>);

/// An answer whose body is still to be read.
pub(crate) struct Answer {
    /// The status code.
    pub(crate) status: u16,
    connection: BufReader<Stream>,
    rest: Rest,
}

/// What of a body is still to come.
enum Rest {
    Length(u64),
    /// Bytes left of this chunk; nothing before the first.
    Chunked(Option<u64>),
    UntilClose,
    Nothing,
}

impl Target {
    /// Plain HTTP.
    pub(crate) fn plain(address: SocketAddr) -> Self {
        Self { address, tls: None, name: None, patience: Duration::from_secs(60) }
    }

    /// The same, asked by this name.
    pub(crate) fn named(self, name: &str) -> Self {
        Self { name: Some(name.to_owned()), ..self }
    }

    /// Opens a connection.
    pub(crate) fn connect(&self) -> Result<Connection> {
        let socket = TcpStream::connect_timeout(&self.address, CONNECT_WITHIN)
            .with_context(|| format!("cannot connect to {}", self.address))?;
        socket.set_nodelay(true)?;
        socket.set_read_timeout(Some(self.patience))?;
        socket.set_write_timeout(Some(self.patience))?;
        let stream = match &self.tls {
            None => Stream::Plain(socket),
            Some(config) => {
                let name = match &self.name {
                    None => ServerName::IpAddress(self.address.ip().into()),
                    Some(name) => ServerName::try_from(name.clone())?,
                };
                let tls = ClientConnection::new(Arc::clone(config), name)?;
                Stream::Tls(Box::new(StreamOwned::new(tls, socket)))
            }
        };
        Ok(Connection(BufReader::new(stream)))
    }

    /// One request on a connection of its own; status and whole body.
    pub(crate) fn ask(&self, request: &Request<'_>) -> Result<(u16, Vec<u8>)> {
        let answer = self.connect()?.send(request)?;
        let status = answer.status;
        Ok((status, answer.read()?.0))
    }
}

impl Connection {
    /// Sends the request and reads the answer's head.
    pub(crate) fn send(mut self, request: &Request<'_>) -> Result<Answer> {
        let mut bytes = format!("{} {} HTTP/1.1\r\n", request.method, request.path);
        for (name, value) in request.headers {
            bytes.push_str(&format!("{name}: {value}\r\n"));
        }
        if !request.body.is_empty() || matches!(request.method, "POST" | "PUT" | "PATCH") {
            bytes.push_str(&format!("Content-Length: {}\r\n", request.body.len()));
        }
        bytes.push_str("\r\n");
        let mut bytes = bytes.into_bytes();
        bytes.extend_from_slice(request.body);
        self.0.get_mut().write_all(&bytes).context("cannot send the request")?;
        self.0.get_mut().flush()?;
        self.head(request.method == "HEAD")
    }

    fn head(mut self, is_bodiless: bool) -> Result<Answer> {
        let mut head = Vec::new();
        loop {
            let line_begin = head.len();
            if (&mut self.0).take(MAX_HEAD_BYTES as u64).read_until(b'\n', &mut head).context("no answer came")? == 0 {
                bail!("the connection was closed before an answer");
            }
            if head.len() > MAX_HEAD_BYTES {
                bail!("the answer's head is longer than {MAX_HEAD_BYTES} bytes");
            }
            if head.get(line_begin..).is_some_and(|line| line == b"\r\n") {
                break;
            }
        }
        let mut headers = [httparse::EMPTY_HEADER; MAX_HEADERS];
        let mut parsed = httparse::Response::new(&mut headers);
        parsed.parse(&head).context("the answer is not HTTP")?;
        let status = parsed.code.context("an answer without a status")?;
        let headers: Vec<(String, String)> = parsed
            .headers
            .iter()
            .map(|header| (header.name.to_ascii_lowercase(), String::from_utf8_lossy(header.value).into_owned()))
            .collect();
        let rest = if is_bodiless || status == 204 || status == 304 { Rest::Nothing } else { rest(&headers)? };
        Ok(Answer { status, connection: self.0, rest })
    }
}

fn rest(headers: &[(String, String)]) -> Result<Rest> {
    let value = |wanted: &str| headers.iter().find(|(name, _)| name == wanted).map(|(_, value)| value.as_str());
    if value("transfer-encoding").is_some_and(|value| value.eq_ignore_ascii_case("chunked")) {
        return Ok(Rest::Chunked(None));
    }
    match value("content-length") {
        Some(length) => Ok(Rest::Length(length.trim().parse().context("a Content-Length that is no number")?)),
        None => Ok(Rest::UntilClose),
    }
}

impl Answer {
    /// Reads the body to its end; the connection can be used again if there was an end.
    pub(crate) fn read(mut self) -> Result<(Vec<u8>, Connection)> {
        let mut body = Vec::new();
        (&mut self).take(MAX_BODY_BYTES).read_to_end(&mut body).context("the body broke off")?;
        Ok((body, Connection(self.connection)))
    }

    /// The next line of a streamed body; nothing at its end.
    pub(crate) fn line(&mut self) -> io::Result<Option<Vec<u8>>> {
        let mut line = Vec::new();
        let mut byte = [0];
        // The connection is buffered beneath.
        while self.read_one(&mut byte)? {
            if byte == *b"\n" {
                return Ok(Some(line));
            }
            line.extend(byte);
        }
        Ok((!line.is_empty()).then_some(line))
    }

    fn read_one(&mut self, byte: &mut [u8; 1]) -> io::Result<bool> {
        Ok(Read::read(self, byte)? == 1)
    }

    /// Reads the line that begins a chunk (after the end of the one before); its length.
    fn next_chunk(&mut self, is_first: bool) -> io::Result<u64> {
        let mut line = String::new();
        if !is_first {
            (&mut self.connection).take(2).read_line(&mut line)?;
            line.clear();
        }
        (&mut self.connection).take(1024).read_line(&mut line)?;
        let digits = line.split([';', '\r', '\n']).next().unwrap_or_default().trim();
        let length = u64::from_str_radix(digits, 16)
            .map_err(|_| io::Error::new(io::ErrorKind::UnexpectedEof, "the stream broke off between chunks"))?;
        if length == 0 {
            line.clear();
            (&mut self.connection).take(1024).read_line(&mut line)?;
        }
        Ok(length)
    }
}

impl Read for Answer {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if let Rest::Chunked(left) = self.rest
            && left.unwrap_or(0) == 0
        {
            let length = self.next_chunk(left.is_none())?;
            self.rest = if length == 0 { Rest::Nothing } else { Rest::Chunked(Some(length)) };
        }
        let limit = match self.rest {
            Rest::Nothing => return Ok(0),
            Rest::UntilClose => u64::MAX,
            Rest::Length(left) => left,
            Rest::Chunked(left) => left.unwrap_or(0),
        };
        let read = (&mut self.connection).take(limit).read(buffer)?;
        let left = limit - read as u64;
        match &mut self.rest {
            Rest::Length(rest) => *rest = left,
            Rest::Chunked(rest) => *rest = Some(left),
            Rest::UntilClose | Rest::Nothing => return Ok(read),
        }
        if read == 0 && left > 0 && !buffer.is_empty() {
            return Err(io::Error::new(io::ErrorKind::UnexpectedEof, "the body broke off"));
        }
        Ok(read)
    }
}

impl Read for Stream {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        match self {
            Self::Plain(stream) => stream.read(buffer),
            Self::Tls(stream) => stream.read(buffer),
        }
    }
}

impl Write for Stream {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        match self {
            Self::Plain(stream) => stream.write(bytes),
            Self::Tls(stream) => stream.write(bytes),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        match self {
            Self::Plain(stream) => stream.flush(),
            Self::Tls(stream) => stream.flush(),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::net::TcpListener;

    use super::*;

    /// What the client makes of an answer.
    fn answered(bytes: &'static [u8]) -> Result<(u16, Vec<u8>)> {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let target = Target::plain(listener.local_addr().unwrap());
        let server = std::thread::spawn(move || {
            let (mut socket, _) = listener.accept().unwrap();
            let mut request = [0; 1024];
            let _ = socket.read(&mut request).unwrap();
            socket.write_all(bytes).unwrap();
        });
        let result = target.ask(&Request { method: "GET", path: "/", headers: &[("Host", "x")], body: b"" });
        server.join().unwrap();
        result
    }

    #[test]
    fn bodies_by_length_by_chunks_and_by_close() {
        let length = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nhi";
        let chunks = b"HTTP/1.1 503 No\r\nTransfer-Encoding: chunked\r\n\r\n1\r\nh\r\n1;x=y\r\ni\r\n0\r\n\r\n";
        let close = b"HTTP/1.1 200 OK\r\n\r\nhi";
        assert_eq!(answered(length).unwrap(), (200, b"hi".to_vec()));
        assert_eq!(answered(chunks).unwrap(), (503, b"hi".to_vec()));
        assert_eq!(answered(close).unwrap(), (200, b"hi".to_vec()));
    }

    #[test]
    fn a_body_that_breaks_off_is_an_error() {
        assert!(answered(b"HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\nhi").is_err());
        assert!(answered(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhi").is_err());
        assert!(answered(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nhi\r\n").is_err());
        assert!(answered(b"").is_err());
    }
}
