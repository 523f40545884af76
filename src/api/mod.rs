//! The Engine API: wire types, the route table and the handlers that translate to the engine.
//!
//! A request goes through [`Api::handle`]: version, common header fields, route, handler, and at the end
//! an error, if there is one, becomes the answer.
//!
//! Spec: Docker Engine API 1.24 to 1.51.

pub mod cors;
pub mod errors;
pub mod filters;
pub mod handlers;
pub mod routes;
pub mod stream;
pub mod types;
pub mod version;

use std::sync::Arc;

use crate::base::{Error, Result};
use crate::engine::Engine;
use crate::http::server::{Handler, panic_error};
use crate::http::{Request, Response};
use routes::Found;
use version::{MAX, Version};

/// Answers requests from the engine.
pub struct Api {
    engine: Arc<Engine>,
    /// Value of `--api-cors-header`; empty is off.
    cors: String,
}

/// What a handler gets beside the request.
pub struct Call<'a> {
    /// The engine.
    pub engine: &'a Arc<Engine>,
    /// The version that the client speaks.
    pub version: Version,
    parameter: Option<(&'static str, &'a str)>,
}

impl Call<'_> {
    /// The part of the path that the route calls `name`; empty if it has none.
    pub fn param(&self, name: &str) -> &str {
        self.parameter.filter(|(n, _)| *n == name).map(|(_, value)| value).unwrap_or_default()
    }
}

impl Api {
    /// An API of `engine`; `cors` is the value of `--api-cors-header`.
    pub fn new(engine: Arc<Engine>, cors: &str) -> Api {
        Api { engine, cors: cors.into() }
    }

    fn route(&self, request: &mut Request<'_>, response: &mut Response<'_>) -> Result<()> {
        // A copy, because the route's parameter borrows it while the handler has the request.
        let path = request.path.clone();
        let (version, rest) = Version::split(&path);
        let outcome = match routes::find(&request.method, rest) {
            None => {
                response.json(404, &types::ErrorResponse { message: errors::PAGE_NOT_FOUND.into() })
            }
            Some(Found { handler, parameter }) => {
                let headers = &mut response.headers;
                headers.set("Server", concat!("Docker/", env!("CARGO_PKG_VERSION"), " (linux)"));
                headers.set("Api-Version", &MAX.to_string());
                headers.set("Ostype", "linux");
                headers.set("Docker-Experimental", "false");
                cors::apply(&self.cors, headers);
                let call = Call { engine: &self.engine, version, parameter };
                version
                    .check()
                    .and_then(|()| request.defect.take().map_or(Ok(()), Err))
                    .and_then(|()| handler(&call, request, response))
            }
        };
        match outcome {
            Err(e) if response.is_fresh() => {
                if errors::status(e.kind()) >= 500 {
                    log::error!("Handler for {} {rest} returned error: {e}", request.method);
                }
                errors::answer(response, version, &e)
            }
            outcome => outcome,
        }
    }
}

impl Handler for Api {
    fn handle(&self, request: &mut Request<'_>, response: &mut Response<'_>) -> Result<()> {
        log::debug!("Calling {} {}", request.method, request.path);
        self.route(request, response)
    }

    fn panicked(&self, response: &mut Response<'_>) {
        // A client that is gone loses nothing.
        let _: std::result::Result<(), Error> = errors::answer(response, MAX, &panic_error());
    }
}
