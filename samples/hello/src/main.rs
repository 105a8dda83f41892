//! The sample function: an HTTP/1.1 server of one file, as small and quick to start as a container can be.
//!
//! `GET /` answers `Hello TARGET!` and the name of the pod. `?ms=N` makes it wait N milliseconds first (at most a minute), `?exit=CODE`
//! ends the process, and `POST` answers the body's length. It listens on `PORT` (8080), logs a line per request, and ends at SIGTERM.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::time::Duration;

const MAX_DELAY_MS: u64 = 60_000;
const MAX_LINE_BYTES: u64 = 16 * 1024;

#[derive(Clone)]
struct Settings {
    target: String,
    pod: String,
}

fn main() -> std::io::Result<()> {
    let settings = Settings { target: env("TARGET", "World"), pod: env("HOSTNAME", "nowhere") };
    let address = format!("0.0.0.0:{}", env("PORT", "8080"));
    let listener = TcpListener::bind(&address)?;
    let mut signals = signal_hook::iterator::Signals::new([15])?;
    std::thread::spawn(move || signals.forever().next().map(|_| end(0)));
    log(&format!("listening on {address}"));
    for stream in listener.incoming() {
        let settings = settings.clone();
        std::thread::spawn(move || serve(stream?, &settings));
    }
    Ok(())
}

/// Answers the requests of one connection until it closes.
fn serve(stream: TcpStream, settings: &Settings) -> std::io::Result<()> {
    stream.set_nodelay(true)?;
    let mut reader = BufReader::new(stream.try_clone()?);
    let mut writer = stream;
    loop {
        let Some(request) = line(&mut reader)? else { return Ok(()) };
        let mut length = 0;
        let mut closing = false;
        while let Some(header) = line(&mut reader)?.filter(|header| !header.is_empty()) {
            let (name, value) = header.split_once(':').unwrap_or((&header, ""));
            match name.to_ascii_lowercase().as_str() {
                "content-length" => length = value.trim().parse().unwrap_or(0),
                "connection" => closing = value.trim().eq_ignore_ascii_case("close"),
                _ => {}
            }
        }
        let received = std::io::copy(&mut (&mut reader).take(length), &mut std::io::sink())?;
        let body = answer(&request, received, settings);
        let connection = if closing { "Connection: close\r\n" } else { "" };
        let head = format!(
            "HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nContent-Length: {}\r\n{connection}\r\n",
            body.len()
        );
        writer.write_all((head + &body).as_bytes())?;
        if closing {
            return Ok(());
        }
    }
}

fn answer(request: &str, received: u64, settings: &Settings) -> String {
    if let Some(code) = parameter(request, "exit") {
        end(i32::try_from(code).unwrap_or(1));
    }
    if let Some(delay_ms) = parameter(request, "ms") {
        std::thread::park_timeout(Duration::from_millis(delay_ms.min(MAX_DELAY_MS)));
    }
    log(request);
    if request.starts_with("POST ") {
        return format!("received {received} bytes\n");
    }
    format!("Hello {}! (from {})\n", settings.target, settings.pod)
}

/// The number behind `name=` in the query of a request line.
fn parameter(request: &str, name: &str) -> Option<u64> {
    let target = request.split(' ').nth(1)?;
    let (_, query) = target.split_once('?')?;
    query.split('&').find_map(|pair| pair.strip_prefix(name)?.strip_prefix('=')?.parse().ok())
}

/// The next line without its ending; nothing at the end of the stream.
fn line(reader: &mut BufReader<TcpStream>) -> std::io::Result<Option<String>> {
    let mut bytes = Vec::new();
    reader.take(MAX_LINE_BYTES).read_until(b'\n', &mut bytes)?;
    let text = String::from_utf8_lossy(&bytes);
    Ok((!bytes.is_empty()).then(|| text.trim_end_matches(['\r', '\n']).to_owned()))
}

/// Standard output may be closed; a function has nobody else to tell.
fn log(text: &str) {
    let _ = writeln!(std::io::stdout(), "{text}");
}

#[expect(clippy::disallowed_methods, reason = "a function's settings are its environment")]
fn env(name: &str, default: &str) -> String {
    std::env::var(name).unwrap_or_else(|_| default.to_owned())
}

#[expect(clippy::disallowed_methods, reason = "a function has nothing to shut down")]
fn end(code: i32) -> ! {
    std::process::exit(code)
}
