//! A message in, a message out: what is asked, whom it concerns, and how much of the answer fits.

use hickory_proto::op::{Edns, Message, MessageType, Metadata, OpCode, Query, ResponseCode};
use hickory_proto::rr::{DNSClass, RecordType};

use super::forward::{Forwarder, Transport};
use super::metrics::Metrics;
use super::zone::{Answer, Directory, Zone};

/// The header of a message.
const HEADER_BYTES: usize = 12;
/// The largest UDP answer that we send: one that passes any link in one piece.
pub(super) const UDP_MAX_BYTES: u16 = 1232;
/// The largest UDP answer to a client that says nothing about it.
const UDP_PLAIN_BYTES: u16 = 512;

/// What becomes of a message.
pub(super) enum Step {
    /// It gets no answer.
    Ignore,
    /// It gets this one.
    Reply(Vec<u8>),
    /// Somebody else has to be asked, see [`Exchange::finish`].
    Ask(Box<Pending>),
}

/// A question that the zone alone cannot answer.
pub(super) struct Pending {
    request: Message,
    query: Query,
    transport: Transport,
    /// The CNAMEs that lead out of the domain, and where to; none if the question itself is to be asked.
    aliased: Option<Answer>,
}

/// Answers messages.
#[derive(Debug)]
pub(super) struct Exchange<D> {
    zone: Zone<D>,
    forwarder: Forwarder,
    pub(super) metrics: Metrics,
}

impl<D: Directory> Exchange<D> {
    pub(super) fn new(zone: Zone<D>, forwarder: Forwarder, metrics: Metrics) -> Self {
        Self { zone, forwarder, metrics }
    }

    /// Answers what can be answered at once.
    pub(super) fn begin(&self, bytes: &[u8], transport: Transport) -> Step {
        self.metrics.requests.inc();
        let Ok(request) = Message::from_vec(bytes) else { return malformed(bytes) };
        if request.metadata.message_type != MessageType::Query {
            return Step::Ignore;
        }
        let code = match request.queries.as_slice() {
            _ if request.metadata.op_code != OpCode::Query => ResponseCode::NotImp,
            [query] if query.query_class() != DNSClass::IN => ResponseCode::Refused,
            [query] if matches!(query.query_type(), RecordType::AXFR | RecordType::IXFR) => ResponseCode::Refused,
            [query] => {
                let query = query.clone();
                return self.begin_query(request, query, transport);
            }
            _ => ResponseCode::FormErr,
        };
        reply(&request, Answer { code, ..Answer::default() }, transport)
    }

    fn begin_query(&self, request: Message, query: Query, transport: Transport) -> Step {
        let aliased = match self.zone.answer(&query) {
            Some(answer) if answer.alias.is_none() => return reply(&request, answer, transport),
            aliased => aliased,
        };
        Step::Ask(Box::new(Pending { request, query, transport, aliased }))
    }

    /// Asks the other servers. An answer always comes, SERVFAIL if there is none.
    pub(super) async fn finish(&self, pending: Pending) -> Vec<u8> {
        let Pending { request, query, transport, aliased } = pending;
        self.metrics.forwarded.inc();
        let mut asked = query.clone();
        if let Some(name) = aliased.as_ref().and_then(|answer| answer.alias.clone()) {
            asked.set_name(name);
        }
        let mut reply = respond(&request);
        match self.forwarder.ask(&request, asked, transport).await {
            Some(found) => {
                reply.metadata.response_code = found.metadata.response_code;
                reply.metadata.truncation = found.metadata.truncation;
                reply.answers.extend(aliased.map(|answer| answer.answers).unwrap_or_default());
                reply.answers.extend(found.answers);
                reply.authorities = found.authorities;
                reply.additionals = found.additionals;
            }
            None => {
                self.metrics.failed.inc();
                reply.metadata.response_code = ResponseCode::ServFail;
            }
        }
        encode(reply, transport)
    }

    /// What a question gets that there is no room for.
    pub(super) fn refuse(&self, pending: &Pending) -> Vec<u8> {
        self.metrics.full.inc();
        let mut reply = respond(&pending.request);
        reply.metadata.response_code = ResponseCode::ServFail;
        encode(reply, pending.transport)
    }
}

/// The answer to what cannot be read: FORMERR, if it is a request at all.
fn malformed(bytes: &[u8]) -> Step {
    match bytes {
        [high, low, flags, ..] if bytes.len() >= HEADER_BYTES && flags & 0x80 == 0 => {
            let id = u16::from_be_bytes([*high, *low]);
            let message = Message::error_msg(id, OpCode::Query, ResponseCode::FormErr);
            message.to_vec().map_or(Step::Ignore, Step::Reply)
        }
        _ => Step::Ignore,
    }
}

fn reply(request: &Message, answer: Answer, transport: Transport) -> Step {
    let mut reply = respond(request);
    reply.metadata.authoritative = answer.code != ResponseCode::ServFail;
    reply.metadata.response_code = answer.code;
    reply.answers = answer.answers;
    reply.authorities = answer.authorities;
    reply.additionals = answer.additionals;
    Step::Reply(encode(reply, transport))
}

/// An empty response to `request`.
fn respond(request: &Message) -> Message {
    let mut reply = Message::response(request.metadata.id, request.metadata.op_code);
    reply.metadata = Metadata::response_from_request(&request.metadata);
    reply.metadata.recursion_available = true;
    reply.add_queries(request.queries.iter().cloned());
    reply.edns = request.edns.as_ref().map(|edns| {
        let mut own = Edns::new();
        // The client's own limit is kept here until the message is encoded.
        own.set_max_payload(edns.max_payload());
        own
    });
    reply
}

/// The message's bytes; what does not fit is left out and said to be: first the additional records, then everything.
fn encode(mut reply: Message, transport: Transport) -> Vec<u8> {
    let limit = match transport {
        Transport::Tcp => u16::MAX,
        Transport::Udp => {
            let asked = reply.edns.as_ref().map_or(UDP_PLAIN_BYTES, Edns::max_payload);
            asked.clamp(UDP_PLAIN_BYTES, UDP_MAX_BYTES)
        }
    };
    if let Some(edns) = &mut reply.edns {
        edns.set_max_payload(UDP_MAX_BYTES);
    }
    let fits = |bytes: &Vec<u8>| bytes.len() <= usize::from(limit);
    if let Some(bytes) = reply.to_vec().ok().filter(fits) {
        return bytes;
    }
    reply.additionals.clear();
    if let Some(bytes) = reply.to_vec().ok().filter(fits) {
        return bytes;
    }
    reply.truncate().to_vec().unwrap_or_default()
}
