//! What runs in a pod of the checks and calls others from there: `GET /HOST:PORT/PATH` asks `HOST:PORT` for `/PATH` and answers with the
//! status and the body that came, or why none did.

use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::time::Duration;

const PORT: u16 = 8080;
const PATIENCE: Duration = Duration::from_secs(60);
const MAX_ANSWER_BYTES: u64 = 1 << 20;

fn main() -> io::Result<()> {
    let listener = TcpListener::bind((Ipv4Addr::UNSPECIFIED, PORT))?;
    for stream in listener.incoming() {
        std::thread::spawn(move || serve(stream?));
    }
    Ok(())
}

fn serve(mut stream: TcpStream) -> io::Result<()> {
    let mut lines = BufReader::new(stream.try_clone()?).lines();
    let first = lines.next().unwrap_or_else(|| Ok(String::new()))?;
    for line in lines {
        if line?.is_empty() {
            break;
        }
    }
    let target = first.split(' ').nth(1).unwrap_or_default().trim_start_matches('/');
    let (host, path) = target.split_once('/').unwrap_or((target, ""));
    let body = call(host, path).unwrap_or_else(|error| format!("cannot call {host}: {error}"));
    write!(stream, "HTTP/1.1 200 OK\r\nContent-Length: {}\r\nConnection: close\r\n\r\n{body}", body.len())
}

/// `STATUS BODY` of an answer.
fn call(host: &str, path: &str) -> io::Result<String> {
    let mut stream = TcpStream::connect(host)?;
    stream.set_read_timeout(Some(PATIENCE))?;
    write!(stream, "GET /{path} HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n")?;
    let mut answer = String::new();
    stream.take(MAX_ANSWER_BYTES).read_to_string(&mut answer)?;
    let (head, body) = answer.split_once("\r\n\r\n").unwrap_or((&answer, ""));
    Ok(format!("{} {body}", head.split(' ').nth(1).unwrap_or_default()))
}
