//! A webhook in a pod of the checks, over HTTPS with the certificate and key of its environment. Of an object that is admitted it says no if it
//! has the label `refused`, else it adds the label `admitted`; one that is converted gets `spec.old` for `spec.new`, or the other way round.

use std::io::{self, Read, Write};
use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use clap::Parser;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::{ServerConfig, ServerConnection, StreamOwned};
use serde_json::{Value, json};

const PORT: u16 = 8080;
const MAX_REVIEW_BYTES: usize = 8 << 20;

#[derive(Parser)]
struct Options {
    /// Its certificate as PEM
    #[arg(long, env)]
    certificate: String,
    /// The certificate's key as PEM
    #[arg(long, env)]
    key: String,
}

fn main() -> io::Result<()> {
    let config = Arc::new(configuration(&Options::parse())?);
    let listener = TcpListener::bind((Ipv4Addr::UNSPECIFIED, PORT))?;
    for stream in listener.incoming() {
        let (stream, config) = (stream?, Arc::clone(&config));
        std::thread::spawn(move || serve(stream, config));
    }
    Ok(())
}

fn configuration(options: &Options) -> io::Result<ServerConfig> {
    let chain = CertificateDer::pem_slice_iter(options.certificate.as_bytes()).collect::<Result<Vec<_>, _>>();
    let key = PrivateKeyDer::from_pem_slice(options.key.as_bytes()).map_err(io::Error::other)?;
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let builder = ServerConfig::builder_with_provider(provider).with_safe_default_protocol_versions();
    let builder = builder.map_err(io::Error::other)?.with_no_client_auth();
    builder.with_single_cert(chain.map_err(io::Error::other)?, key).map_err(io::Error::other)
}

fn serve(stream: TcpStream, config: Arc<ServerConfig>) -> io::Result<()> {
    let connection = ServerConnection::new(config).map_err(io::Error::other)?;
    let mut stream = StreamOwned::new(connection, stream);
    let mut read = Vec::new();
    let (start, length) = loop {
        let mut chunk = [0; 16 << 10];
        let count = stream.read(&mut chunk)?;
        if count == 0 || read.len() > MAX_REVIEW_BYTES {
            return Ok(());
        }
        read.extend_from_slice(&chunk[..count]);
        match body(&read) {
            Some((start, length)) if read.len() >= start + length => break (start, length),
            _ => {}
        }
    };
    let review: Value = serde_json::from_slice(&read[start..start + length])?;
    let answer = answer(review).to_string();
    write!(stream, "HTTP/1.1 200 OK\r\nContent-Length: {}\r\nConnection: close\r\n\r\n{answer}", answer.len())?;
    stream.conn.send_close_notify();
    stream.flush()
}

/// Where a request's body begins, and how long it is; nothing while its head is not whole.
fn body(read: &[u8]) -> Option<(usize, usize)> {
    let mut headers = [httparse::EMPTY_HEADER; 32];
    let mut request = httparse::Request::new(&mut headers);
    let httparse::Status::Complete(start) = request.parse(read).ok()? else { return None };
    let length = request.headers.iter().find(|header| header.name.eq_ignore_ascii_case("content-length"))?;
    Some((start, std::str::from_utf8(length.value).ok()?.parse().ok()?))
}

fn answer(mut review: Value) -> Value {
    let request = review["request"].take();
    let response = match review["kind"].as_str() {
        Some("ConversionReview") => convert(&request),
        _ => admit(&request),
    };
    review["response"] = response;
    review["response"]["uid"] = request["uid"].clone();
    review
}

fn admit(request: &Value) -> Value {
    let labels = &request["object"]["metadata"]["labels"];
    if labels.get("refused").is_some() {
        return json!({"allowed": false, "status": {"code": 403, "message": "said the pod"}});
    }
    let patch = match labels {
        Value::Object(_) => json!([{"op": "add", "path": "/metadata/labels/admitted", "value": "yes"}]),
        _ => json!([{"op": "add", "path": "/metadata/labels", "value": {"admitted": "yes"}}]),
    };
    json!({"allowed": true, "patchType": "JSONPatch", "patch": STANDARD.encode(patch.to_string())})
}

fn convert(request: &Value) -> Value {
    let objects = request["objects"].as_array().cloned().unwrap_or_default();
    let converted = objects.into_iter().map(|mut object| {
        object["apiVersion"] = request["desiredAPIVersion"].clone();
        let spec = object["spec"].take();
        object["spec"] = match (spec.get("old"), spec.get("new")) {
            (Some(value), _) => json!({"new": value}),
            (_, Some(value)) => json!({"old": value}),
            _ => spec,
        };
        object
    });
    json!({"result": {"status": "Success"}, "convertedObjects": converted.collect::<Vec<_>>()})
}
