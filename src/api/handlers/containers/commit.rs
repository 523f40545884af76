//! An image of a container over HTTP.

use crate::api::Call;
use crate::api::types::IdResponse;
use crate::base::Result;
use crate::engine::container::commit;
use crate::engine::model::config::Config;
use crate::http::{Request, Response};

/// `POST /commit`.
///
/// # Errors
/// As `commit::commit`; `NotFound` for an unknown container.
pub fn commit(
    call: &Call<'_>,
    request: &mut Request<'_>,
    response: &mut Response<'_>,
) -> Result<()> {
    let config: Option<Config> = request.json::<Option<Config>>()?.flatten();
    let query = &request.query;
    let container = call.engine.containers()?.find(query.text("container"))?;
    let asked = commit::Request {
        repository: query.text("repo").into(),
        tag: query.text("tag").into(),
        author: query.text("author").into(),
        comment: query.text("comment").into(),
        pause: query.flag_or("pause", true),
        changes: query.all("changes").map(String::from).collect(),
        // An object without members says no more than none.
        config: config.filter(|config| *config != Config::default()),
    };
    let id = commit::commit(call.engine, &container, &asked)?;
    response.json(201, &IdResponse { id: id.to_string() })
}
