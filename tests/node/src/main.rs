//! The program of the node's tests: the spawner, and what runs in containers. It is static, so an image with nothing but it can run it.

mod health;

use std::io::{self, BufRead, BufReader, Write};
use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::os::unix::fs::MetadataExt;
use std::process::ExitCode;

use cluster_sandbox::spawner;

fn main() -> ExitCode {
    if spawner::is_spawner(std::env::args_os()) {
        return spawner::run(std::env::args_os());
    }
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let words: Vec<&str> = arguments.iter().map(String::as_str).collect();
    match words.as_slice() {
        ["exit", code] => ExitCode::from(code.parse().unwrap_or(99)),
        ["say", text, code] => {
            let _ = std::fs::write("/dev/termination-log", text);
            let _ = writeln!(io::stdout(), "{text}");
            ExitCode::from(code.parse().unwrap_or(99))
        }
        ["fill", path] => match std::fs::write(path, vec![1; 2 << 20]).and_then(|()| stay()) {
            Ok(()) => ExitCode::SUCCESS,
            Err(_) => ExitCode::from(98),
        },
        ["eat", megabytes] => eat(megabytes.parse().unwrap_or_default()),
        ["burn"] => loop {
            std::hint::spin_loop();
        },
        ["stay"] => match stay() {
            Ok(()) => ExitCode::SUCCESS,
            Err(_) => ExitCode::from(98),
        },
        ["serve", port] => match serve(Ipv4Addr::UNSPECIFIED, port) {
            Ok(()) => ExitCode::SUCCESS,
            Err(_) => ExitCode::from(98),
        },
        ["serve-itself", port] => match serve(Ipv4Addr::LOCALHOST, port) {
            Ok(()) => ExitCode::SUCCESS,
            Err(_) => ExitCode::from(98),
        },
        ["health", port] => match health::serve(port) {
            Ok(()) => ExitCode::SUCCESS,
            Err(_) => ExitCode::from(98),
        },
        ["processes"] => {
            let names = std::fs::read_dir("/proc").into_iter().flatten().flatten();
            let count = names.filter(|entry| entry.file_name().to_string_lossy().parse::<u32>().is_ok()).count();
            let _ = writeln!(io::stdout(), "{count}");
            ExitCode::SUCCESS
        }
        ["converse", code] => match converse() {
            Ok(()) => ExitCode::from(code.parse().unwrap_or(99)),
            Err(_) => ExitCode::from(98),
        },
        _ => ExitCode::from(97),
    }
}

/// Takes memory and touches it.
fn eat(megabytes: usize) -> ExitCode {
    let taken = vec![1_u8; megabytes << 20];
    ExitCode::from(std::hint::black_box(&taken).last().copied().unwrap_or_default())
}

/// Hears SIGTERM and stays.
fn stay() -> io::Result<()> {
    let mut signals = signal_hook::iterator::Signals::new([15])?;
    writeln!(io::stdout(), "here")?;
    for _ in signals.forever() {
        writeln!(io::stdout(), "asked to end")?;
    }
    Ok(())
}

/// Answers each line of its input, on both outputs, until that ends.
fn converse() -> io::Result<()> {
    for line in io::stdin().lines() {
        let line = line?;
        writeln!(io::stderr(), "complains of {line}")?;
        writeln!(io::stdout(), "heard {line}")?;
    }
    writeln!(io::stdout(), "end of input")
}

/// Answers `GET /env/NAME` with a variable, `GET /file/PATH` with a file, `GET /stat/PATH` with its mode and whose it is, `GET /write/PATH`
/// once it has written one, until SIGTERM.
fn serve(ip: Ipv4Addr, port: &str) -> io::Result<()> {
    let listener = TcpListener::bind((ip, port.parse().unwrap_or_default()))?;
    writeln!(io::stdout(), "listening on {port}")?;
    let mut signals = signal_hook::iterator::Signals::new([15])?;
    std::thread::spawn(move || {
        for connection in listener.incoming().flatten() {
            std::thread::spawn(move || answer(connection));
        }
    });
    signals.forever().next();
    writeln!(io::stdout(), "asked to end")
}

fn answer(mut connection: TcpStream) -> io::Result<()> {
    let mut reader = BufReader::new(connection.try_clone()?);
    let mut first = String::new();
    reader.read_line(&mut first)?;
    let mut header = String::new();
    while reader.read_line(&mut header)? > 2 {
        header.clear();
    }
    let path = first.split(' ').nth(1).unwrap_or_default();
    #[expect(clippy::disallowed_methods, reason = "the test asks for the container's environment")]
    let body = if let Some(name) = path.strip_prefix("/env/") {
        std::env::var(name).unwrap_or_default()
    } else if let Some(file) = path.strip_prefix("/file") {
        std::fs::read_to_string(file).unwrap_or_else(|error| error.to_string())
    } else if let Some(file) = path.strip_prefix("/stat") {
        let found =
            std::fs::metadata(file).map(|found| format!("{:o} {} {}", found.mode() & 0o7777, found.uid(), found.gid()));
        found.unwrap_or_else(|error| error.to_string())
    } else if let Some(file) = path.strip_prefix("/write") {
        std::fs::write(file, "mine").map_or_else(|error| error.to_string(), |()| "written".to_owned())
    } else {
        "hello".to_owned()
    };
    write!(connection, "HTTP/1.1 200 OK\r\ncontent-length: {}\r\nconnection: close\r\n\r\n{body}", body.len())
}
