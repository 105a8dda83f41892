//! Port numbers and names of the request path.

use crate::networking::Protocol;

/// Where queue-proxy and the activator serve HTTP/1.
pub const BACKEND_HTTP: i32 = 8012;
/// Where queue-proxy and the activator serve HTTP/2 without TLS.
pub const BACKEND_HTTP2: i32 = 8013;
/// Where queue-proxy and the activator serve TLS.
pub const BACKEND_HTTPS: i32 = 8112;
/// The administration port of queue-proxy.
pub const QUEUE_ADMIN: i32 = 8022;
/// Where queue-proxy shows the autoscaler its statistics.
pub const QUEUE_AUTOSCALING_METRICS: i32 = 9090;
/// Where queue-proxy shows its own metrics.
pub const QUEUE_USER_METRICS: i32 = 9091;
/// Where profiles are served, when they are.
pub const PROFILING: i32 = 8008;
/// The port a user's container listens on when it names none.
pub const DEFAULT_USER: i32 = 8080;

/// The HTTP/1 port of a revision's public Service.
pub const SERVICE_HTTP: i32 = 80;
/// The HTTP/2 port of a revision's public Service.
pub const SERVICE_HTTP2: i32 = 81;
/// The TLS port of a revision's public Service.
pub const SERVICE_HTTPS: i32 = 443;

/// The name of the single port of the serving container.
pub const USER_PORT_NAME: &str = "user-port";
/// The name of [`QUEUE_ADMIN`].
pub const QUEUE_ADMIN_NAME: &str = "http-queueadm";
/// The name of [`QUEUE_AUTOSCALING_METRICS`].
pub const QUEUE_AUTOSCALING_METRICS_NAME: &str = "http-autometric";
/// The name of [`QUEUE_USER_METRICS`].
pub const QUEUE_USER_METRICS_NAME: &str = "http-usermetric";
/// The name of queue-proxy's HTTP/1 container port.
pub const QUEUE_PORT_NAME: &str = "queue-port";
/// The name of a Service's HTTP/1 port.
pub const SERVICE_HTTP_NAME: &str = "http";
/// The name of a Service's HTTP/2 port.
pub const SERVICE_HTTP2_NAME: &str = "http2";
/// The name of a Service's TLS port.
pub const SERVICE_HTTPS_NAME: &str = "https";
/// The `appProtocol` of a port that speaks HTTP/2 without TLS.
pub const APP_PROTOCOL_H2C: &str = "kubernetes.io/h2c";

/// The port of a revision's public Service that speaks `protocol`.
pub fn service_port(protocol: &Protocol) -> i32 {
    match protocol {
        Protocol::H2c => SERVICE_HTTP2,
        _ => SERVICE_HTTP,
    }
}

/// The name of the Service port that speaks `protocol`.
pub fn service_port_name(protocol: &Protocol) -> &'static str {
    match protocol {
        Protocol::H2c => SERVICE_HTTP2_NAME,
        _ => SERVICE_HTTP_NAME,
    }
}

/// The `appProtocol` of a Service port that speaks `protocol`, if it needs one.
pub fn app_protocol(protocol: &Protocol) -> Option<&'static str> {
    matches!(protocol, Protocol::H2c).then_some(APP_PROTOCOL_H2C)
}
