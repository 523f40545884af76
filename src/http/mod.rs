//! HTTP/1.1 for the Engine API, both ends, over unix sockets, TCP and TLS, with threads that block.
//!
//! The server gives a connection its own thread with a small stack; a handler reads the body and
//! answers at once, in a stream, or takes the connection over. Clients hold on to their side of a
//! taken over connection after they have closed one direction (half-close), and so do we.
//!
//! Spec: RFC 9110, RFC 9112; Docker Engine API 1.51, "Hijacking".

pub mod address;
pub mod body;
pub mod client;
pub mod conn;
pub mod dns;
pub mod hangup;
pub mod head;
pub mod listen;
pub mod proxy;
pub mod query;
pub mod request;
pub mod resolve;
pub mod response;
pub mod server;
pub mod tls;
pub mod websocket;

pub use conn::Conn;
pub use head::Headers;
pub use request::Request;
pub use response::Response;
