//! `grpc.health.v1.Health` by hand: as much of HTTP/2 as one call to it needs. The service `well` serves, any other does not.

use std::io::{self, Read, Write};
use std::net::{Ipv4Addr, TcpListener, TcpStream};

const PREFACE_BYTES: usize = 24;
const DATA: u8 = 0;
const HEADERS: u8 = 1;
const SETTINGS: u8 = 4;
/// Of data and headers: the stream's last; of settings: they are acknowledged.
const END_OR_ACK: u8 = 1;
const END_HEADERS: u8 = 4;

/// Answers until it is killed.
pub(crate) fn serve(port: &str) -> io::Result<()> {
    let listener = TcpListener::bind((Ipv4Addr::UNSPECIFIED, port.parse().unwrap_or_default()))?;
    for connection in listener.incoming() {
        let connection = connection?;
        std::thread::spawn(move || answer(connection));
    }
    Ok(())
}

fn answer(mut connection: TcpStream) -> io::Result<()> {
    connection.read_exact(&mut [0; PREFACE_BYTES])?;
    write_frame(&mut connection, (SETTINGS, 0, 0), &[])?;
    loop {
        let mut head = [0; 9];
        connection.read_exact(&mut head)?;
        let [a, b, c, kind, flags, stream @ ..] = head;
        let mut payload = vec![0; u32::from_be_bytes([0, a, b, c]) as usize];
        connection.read_exact(&mut payload)?;
        match kind {
            SETTINGS if flags & END_OR_ACK == 0 => write_frame(&mut connection, (SETTINGS, END_OR_ACK, 0), &[])?,
            DATA => {
                let is_well = payload.ends_with(b"\x04well");
                say(&mut connection, u32::from_be_bytes(stream), if is_well { 1 } else { 2 })?;
            }
            _ => {}
        }
    }
}

/// A whole answer with a `ServingStatus`.
fn say(connection: &mut TcpStream, stream: u32, status: u8) -> io::Result<()> {
    // `:status: 200` of the static table, then `content-type` by its place there.
    let mut head = vec![0x88, 0x0f, 0x10, 16];
    head.extend(b"application/grpc");
    write_frame(connection, (HEADERS, END_HEADERS, stream), &head)?;
    write_frame(connection, (DATA, 0, stream), &[0, 0, 0, 0, 2, 0x08, status])?;
    let mut trailer = vec![0, 11];
    trailer.extend(b"grpc-status\x010");
    write_frame(connection, (HEADERS, END_HEADERS | END_OR_ACK, stream), &trailer)
}

fn write_frame(connection: &mut TcpStream, head: (u8, u8, u32), payload: &[u8]) -> io::Result<()> {
    let (kind, flags, stream) = head;
    let [_, length @ ..] = (payload.len() as u32).to_be_bytes();
    let mut frame = length.to_vec();
    frame.extend([kind, flags]);
    frame.extend(stream.to_be_bytes());
    frame.extend(payload);
    connection.write_all(&frame)
}
